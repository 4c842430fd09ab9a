package history

import (
	"fmt"
	"math"
	"slices"
)

// run is one run of a handler.
type run struct {
	begin, end int64
	event      Event
	killed     bool
}

// runs returns the runs of handlers by token, in the order in which they began. One that a kill has cut off ends with its
// process, one that never ended with time.
func runs(events []Event) map[string][]run {
	type id struct {
		actor, token string
		n            int
	}
	open := map[id]int{}
	byToken := map[string][]run{}
	for _, e := range events {
		i := id{e.Actor, e.Token, e.Run}
		switch {
		case e.Op == Handle && e.Kind == Call:
			open[i] = len(byToken[e.Token])
			byToken[e.Token] = append(byToken[e.Token], run{begin: e.T, end: math.MaxInt64, event: e})
		case e.Op == Handle && e.Kind == Return:
			if at, ok := open[i]; ok {
				byToken[e.Token][at].end = e.T
				delete(open, i)
			}
		case e.Op == Kill:
			for i, at := range open {
				if i.actor == e.Actor {
					byToken[i.token][at].end, byToken[i.token][at].killed = e.T, true
					delete(open, i)
				}
			}
		}
	}
	return byToken
}

// checkRuns: no two runs of one token go on at the same time.
func checkRuns(events []Event) []*Violation {
	var found []*Violation
	byToken := runs(events)
	sorted(by(events, []Op{Handle}, tokenOf), func(token string, _ []Event) {
		all := byToken[token]
		for n := 1; n < len(all); n++ {
			if all[n].begin < all[n-1].end {
				found = append(found, &Violation{
					NoOverlap, fmt.Sprintf("token %s ran twice at the same time", token), []Event{all[n-1].event, all[n].event},
				})
				return
			}
		}
	})
	return found
}

// Summary counts what a history has.
type Summary struct {
	// Operations were begun, Finished have an outcome, Fulfilled the good one; Unknown were given up by their sender
	// without knowing whether they were accepted.
	Operations, Finished, Fulfilled, Unknown int
	// Runs of handlers were begun; CutOff were ended by a kill.
	Runs, CutOff int
	// Kills came; Overlapping while an operation was open.
	Kills, Overlapping int
}

// String tells the counts in one line.
func (s Summary) String() string {
	return fmt.Sprintf("%d operations (%d finished, %d fulfilled, %d unknown), %d handler runs (%d cut off), %d kills (%d during an operation)",
		s.Operations, s.Finished, s.Fulfilled, s.Unknown, s.Runs, s.CutOff, s.Kills, s.Overlapping)
}

// Summarize counts.
func Summarize(events []Event) Summary {
	var s Summary
	type span struct{ begin, end int64 }
	var spans []span
	for _, events := range by(events, []Op{Send, Finish}, keyOf) {
		v := span{begin: math.MaxInt64, end: math.MaxInt64}
		unknown, ok := false, false
		for _, e := range events {
			switch {
			case e.Op == Send && e.Kind == Call:
				v.begin = min(v.begin, e.T)
			case e.Op == Send && e.Kind == Unknown:
				unknown = true
			case e.Op == Finish:
				v.end = min(v.end, e.T)
				ok = ok || e.Stage == fulfilled
			}
		}
		if v.begin != math.MaxInt64 {
			s.Operations++
		}
		switch {
		case v.end != math.MaxInt64:
			s.Finished++
			spans = append(spans, v)
		case unknown:
			s.Unknown++
		default:
			spans = append(spans, v)
		}
		if ok {
			s.Fulfilled++
		}
	}
	for _, all := range runs(events) {
		for _, r := range all {
			s.Runs++
			if r.killed {
				s.CutOff++
			}
		}
	}
	for _, e := range events {
		if e.Op != Kill {
			continue
		}
		s.Kills++
		if slices.ContainsFunc(spans, func(v span) bool { return v.begin < e.T && e.T < v.end }) {
			s.Overlapping++
		}
	}
	return s
}

// Floor is the least that a history must have for its checks to mean something.
type Floor struct {
	// Operations is how many must have finished.
	Operations int
	// Kills is how many kills must have come while an operation was open.
	Kills int
}

func (f Floor) check(events []Event) []*Violation {
	var found []*Violation
	s := Summarize(events)
	if s.Finished < f.Operations {
		found = append(found, &Violation{Check: NotVacuous, Text: fmt.Sprintf("%d operations finished, %d are asked for", s.Finished, f.Operations)})
	}
	if s.Overlapping < f.Kills {
		found = append(found, &Violation{Check: NotVacuous, Text: fmt.Sprintf("%d kills came during an operation, %d are asked for", s.Overlapping, f.Kills)})
	}
	return found
}

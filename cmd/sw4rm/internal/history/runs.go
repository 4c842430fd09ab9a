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
	// result is how it ended by itself, the zero event when it did not.
	result Event
	killed bool
}

// open tells whether the run has not ended.
func (r run) open() bool { return r.end == math.MaxInt64 }

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
				byToken[e.Token][at].end, byToken[e.Token][at].result = e.T, e
				delete(open, i)
			}
		case e.Op == Kill, e.Op == Down:
			for i, at := range open {
				if i.actor == e.Actor {
					byToken[i.token][at].end, byToken[i.token][at].killed = e.T, e.Op == Kill
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
	// Kills and Faults of other kinds came; Overlapping and OverlappingFaults while an operation was open.
	Kills, Overlapping        int
	Faults, OverlappingFaults int
	// AtWork counts kills and other faults that hit a process while a handler was at work in it: what that handled was
	// certainly in its custody.
	AtWork int
	// Accepted attempts, custodies, lanes with more than one operation, and operations with a time to live were seen.
	Accepted, Custodies, Lanes, Limited int
	// Examinations were made in the middle of the run. At each of them LeastOpen operations at least had begun and not ended;
	// so many of all of them were found in outboxes, queues and custody.
	Examinations, LeastOpen         int
	InOutboxes, InQueues, InCustody int
	// Peak is the most memory that a process was seen to use.
	Peak int64
}

// String tells the counts in one line.
func (s Summary) String() string {
	text := fmt.Sprintf("%d operations (%d finished, %d fulfilled, %d unknown), %d handler runs (%d cut off), %d kills (%d during an operation)",
		s.Operations, s.Finished, s.Fulfilled, s.Unknown, s.Runs, s.CutOff, s.Kills, s.Overlapping)
	for _, part := range []struct {
		n    int
		text string
	}{
		{s.Faults, fmt.Sprintf("%d other faults (%d during an operation)", s.Faults, s.OverlappingFaults)},
		{s.AtWork, fmt.Sprintf("%d faults of a handler at work", s.AtWork)},
		{s.Accepted, fmt.Sprintf("%d messages accepted on the wire", s.Accepted)},
		{s.Custodies, fmt.Sprintf("%d custodies", s.Custodies)},
		{s.Lanes, fmt.Sprintf("%d lanes", s.Lanes)},
		{s.Limited, fmt.Sprintf("%d with a time to live", s.Limited)},
		{s.Examinations, fmt.Sprintf("%d examinations with at least %d open (%d found in outboxes, %d in queues, %d in custody)",
			s.Examinations, s.LeastOpen, s.InOutboxes, s.InQueues, s.InCustody)},
		{int(s.Peak >> 20), fmt.Sprintf("at most %d MiB a process", s.Peak>>20)},
	} {
		if part.n > 0 {
			text += ", " + part.text
		}
	}
	return text
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
	byToken := runs(events)
	s.AtWork = atWork(events, byToken)
	for _, all := range byToken {
		for _, r := range all {
			s.Runs++
			if r.killed {
				s.CutOff++
			}
		}
	}
	during := func(e Event) int {
		if slices.ContainsFunc(spans, func(v span) bool { return v.begin < e.T && e.T < v.end }) {
			return 1
		}
		return 0
	}
	s.countExaminations(events)
	lanes := map[string]int{}
	for _, e := range events {
		switch {
		case e.Op == Kill:
			s.Kills++
			s.Overlapping += during(e)
		case e.Op == Fault:
			s.Faults++
			s.OverlappingFaults += during(e)
		case e.Op == Accept:
			s.Accepted++
		case e.Op == Custody && e.Kind == Call:
			s.Custodies++
		case e.Op == Memory:
			s.Peak = max(s.Peak, e.Bytes)
		case e.Op == Send && e.Kind == Call:
			if e.TTL > 0 {
				s.Limited++
			}
			if e.Lane != "" {
				lanes[e.Lane]++
			}
		}
	}
	for _, n := range lanes {
		if n > 1 {
			s.Lanes++
		}
	}
	return s
}

// Floor is the least that a history must have for its checks to mean something, and the most that they allow.
type Floor struct {
	// Operations is how many must have finished.
	Operations int
	// Kills and Faults are how many must have come while an operation was open.
	Kills, Faults int
	// AtWork, Accepted, Custodies, Lanes and Limited are how much must have been seen of what Summary has under these names.
	AtWork, Accepted, Custodies, Lanes, Limited int
	// Orderly says that processes were only stopped as they should be, so that nothing is cut off or repeated.
	Orderly bool
	// Open is how many operations must have been open at each examination in the middle of the run, of which there must be
	// Examinations.
	Examinations, Open int
	// InOutboxes, InQueues and InCustody are how many must have been found there then.
	InOutboxes, InQueues, InCustody int
	// Memory is the most bytes that a process may use; 0 for any number.
	Memory int64
	// Slack is by how many nanoseconds a handler's first note may come after its begin: processes stand still.
	Slack int64
	// Idle is for how many nanoseconds at most nothing may happen to an operation between faults, unless a handler works on
	// it, its receiver does not run, or one before it in its lane has not ended; 0 for any number.
	Idle int64
}

func (f Floor) check(events []Event) []*Violation {
	var found []*Violation
	s := Summarize(events)
	for _, least := range []struct {
		has, asked int
		text       string
	}{
		{s.Finished, f.Operations, "operations finished"},
		{s.Overlapping, f.Kills, "kills came during an operation"},
		{s.OverlappingFaults, f.Faults, "other faults came during an operation"},
		{s.AtWork, f.AtWork, "faults hit a handler at work"},
		{s.Accepted, f.Accepted, "messages were accepted on the wire"},
		{s.Custodies, f.Custodies, "custodies were seen"},
		{s.Lanes, f.Lanes, "lanes had more than one operation"},
		{s.Limited, f.Limited, "operations had a time to live"},
		{s.Examinations, f.Examinations, "examinations were made in the middle of the run"},
		{s.LeastOpen, f.Open, "operations were open at one of the examinations"},
		{s.InOutboxes, f.InOutboxes, "were found in outboxes"},
		{s.InQueues, f.InQueues, "were found in queues"},
		{s.InCustody, f.InCustody, "were found in custody"},
	} {
		if least.has < least.asked {
			found = append(found, &Violation{Check: NotVacuous, Text: fmt.Sprintf("%d %s, %d are asked for", least.has, least.text, least.asked)})
		}
	}
	return found
}

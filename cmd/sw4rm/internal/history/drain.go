package history

import (
	"fmt"
	"math"
	"slices"
)

// checkDrained: where processes are only stopped as they should be, each handler that has begun ends, an attempt begins once
// at one process, and ends as its handler did. A handler that waits for a silent reader of its frames runs again instead.
func (f Floor) checkDrained(events []Event) []*Violation {
	if !f.Orderly {
		return nil
	}
	var found []*Violation
	fail := func(events []Event, format string, args ...any) {
		found = append(found, &Violation{Drained, fmt.Sprintf(format, args...), events})
	}
	d := drained{runs: runs(events), known: map[string]int64{}}
	for _, e := range events {
		if now, _ := rank(e.Stage); e.Op == Stage && now == finalRank && d.known[e.Message] == 0 {
			d.known[e.Message] = e.T
		}
	}
	for _, token := range sortedKeys(d.runs) {
		var last run
		for i, r := range d.runs[token] {
			switch {
			case r.result.Stage == "" && r.result.Note != ReaderSilent:
				fail([]Event{r.event}, "a handler of token %s was cut off", token)
			case i == 0:
			case last.result.Note == ReaderSilent && r.event.Actor != last.event.Actor:
			case r.event.Attempt != last.event.Attempt && last.result.Stage == fulfilled:
				fail([]Event{last.event, r.event}, "token %s was handled, and then another attempt", token)
			case r.event.Attempt == last.event.Attempt && !d.void(last, r):
				fail([]Event{last.event, r.event}, "attempt %d of token %s was handled twice", r.event.Attempt, token)
			}
			last = r
		}
	}
	seen := map[string]bool{}
	for _, e := range events {
		if now, _ := rank(e.Stage); e.Op != Stage || now != finalRank || e.Code == ttlExpired || seen[e.Message] {
			continue
		}
		seen[e.Message] = true
		if !slices.ContainsFunc(d.runs[e.Token], func(r run) bool {
			return r.event.Message == e.Message && r.result.Stage == e.Stage && (e.Stage == fulfilled || r.result.Code == e.Code)
		}) {
			fail([]Event{e}, "attempt %s ended as no run of its handler did", e.Message)
		}
	}
	return found
}

type drained struct {
	runs  map[string][]run
	known map[string]int64 // by attempt, when its end was first seen
}

// void tells whether a run may have met another one of its process in what both write, so that the next had to be made.
func (d drained) void(r, next run) bool {
	if r.event.Actor != next.event.Actor || r.event.Writes == "" || r.result.Stage != fulfilled {
		return false
	}
	for token, all := range d.runs {
		for _, other := range all {
			known := d.known[other.event.Message]
			if known == 0 {
				known = math.MaxInt64
			}
			if token != r.event.Token && other.event.Actor == r.event.Actor && other.event.Writes == r.event.Writes &&
				other.end <= next.begin && known >= r.begin {
				return true
			}
		}
	}
	return false
}

// atWork counts the kills and faults of processes in which a handler was at work.
func atWork(events []Event, byToken map[string][]run) int {
	byActor := map[string][]run{}
	for _, all := range byToken {
		for _, r := range all {
			byActor[r.event.Actor] = append(byActor[r.event.Actor], r)
		}
	}
	n := 0
	for _, e := range events {
		actor := e.Actor
		switch e.Op {
		case Fault:
			actor = e.To
		case Kill:
		default:
			continue
		}
		if slices.ContainsFunc(byActor[actor], func(r run) bool { return r.begin < e.T && e.T <= r.end }) {
			n++
		}
	}
	return n
}

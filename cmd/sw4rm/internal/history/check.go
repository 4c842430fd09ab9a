package history

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Violation is a broken promise, with the events that show it.
type Violation struct {
	// Check names the promise.
	Check string
	Text  string
	// Events are what shows it, oldest first.
	Events []Event
}

// Error implements error.
func (v *Violation) Error() string {
	text := v.Check + ": " + v.Text
	for _, e := range v.Events {
		text += "\n\t" + e.String()
	}
	return text
}

// The checks, by the names that violations carry.
const (
	Lost       = "nothing accepted is lost"
	Handed     = "what the router has taken is with it or beyond"
	OneOutcome = "one outcome"
	Forward    = "stages only move forward"
	Once       = "fulfilled at most once"
	NoOverlap  = "runs of one token do not overlap"
	OneHolder  = "one custodian at a time"
	InOrder    = "lanes keep their order"
	InTime     = "nothing begins after its time to live"
	Moves      = "nothing stands still without a cause"
	TrueCause  = "what does not move has a true cause"
	Poisoned   = "only what was cut off again and again is given up"
	Drained    = "a stop cuts nothing off and repeats nothing"
	Bounded    = "memory stays bounded"
	NotVacuous = "the run means something"
)

// Check returns every violation in the history of a run that has settled, joined, nil when there is none. Each is a
// *Violation.
func Check(events []Event, floor Floor) error {
	events = slices.Clone(events)
	slices.SortStableFunc(events, inTime)
	nameAll(events)
	var errs []error
	run := func(events []Event, checks ...func([]Event) []*Violation) {
		for _, check := range checks {
			for _, v := range check(events) {
				errs = append(errs, v)
			}
		}
	}
	for _, until := range examinations(events) {
		run(until, checkLost, checkHanded, checkHolders, checkCauses)
	}
	run(events, checkOutcomes, checkStages, checkFulfilled, checkRuns, checkCustody, checkOrder, floor.checkTTL, checkPoison,
		floor.checkDrained, floor.checkProgress, floor.checkMemory, floor.check)
	return errors.Join(errs...)
}

// inTime orders events by time.
func inTime(a, b Event) int { return cmp.Compare(a.T, b.T) }

// nameAll gives the events of an operation the token that some of them know.
func nameAll(events []Event) {
	tokens := map[string]string{}
	for _, e := range events {
		if e.Key != "" && e.Token != "" && tokens[e.Key] == "" {
			tokens[e.Key] = e.Token
		}
	}
	for i, e := range events {
		if e.Token == "" && e.Op != Send {
			events[i].Token = tokens[e.Key]
		}
	}
}

// by groups events by what key says of them, leaving out those for which it is empty.
func by(events []Event, ops []Op, key func(Event) string) map[string][]Event {
	groups := map[string][]Event{}
	for _, e := range events {
		if k := key(e); k != "" && slices.Contains(ops, e.Op) {
			groups[k] = append(groups[k], e)
		}
	}
	return groups
}

func keyOf(e Event) string     { return e.Key }
func tokenOf(e Event) string   { return e.Token }
func messageOf(e Event) string { return e.Message }

// sorted calls fn for each group in the order of their names, so that reports are the same each time.
func sorted(groups map[string][]Event, fn func(name string, events []Event)) {
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		fn(name, groups[name])
	}
}

// checkLost: what a sender or the router has accepted has an outcome by the end, or is found somewhere.
func checkLost(events []Event) []*Violation {
	var found []*Violation
	sorted(by(events, []Op{Send, Accept, Finish, Hold}, keyOf), func(key string, events []Event) {
		var accepted []Event
		for _, e := range events {
			switch {
			case e.Op == Finish, e.Op == Hold:
				return
			case e.Op == Accept, e.Kind == Return:
				accepted = append(accepted, e)
			}
		}
		if len(accepted) > 0 {
			found = append(found, &Violation{Lost, fmt.Sprintf("%s was accepted, has no outcome and is nowhere", key), accepted})
		}
	})
	return found
}

// checkOutcomes: whoever says how an operation ended says the same.
func checkOutcomes(events []Event) []*Violation {
	var found []*Violation
	fail := func(events []Event, format string, args ...any) {
		found = append(found, &Violation{OneOutcome, fmt.Sprintf(format, args...), events})
	}
	sorted(by(events, []Op{Finish}, keyOf), func(key string, told []Event) {
		for _, e := range told[1:] {
			if e.Stage != told[0].Stage || e.Stage != fulfilled && e.Code != told[0].Code {
				fail([]Event{told[0], e}, "%s has two outcomes", key)
				return
			}
		}
	})
	names := by(events, []Op{Send, Finish, Handle, Record}, tokenOf)
	sorted(names, func(token string, events []Event) {
		for _, e := range events[1:] {
			if e.Key != events[0].Key {
				fail([]Event{events[0], e}, "token %s names two operations", token)
				return
			}
		}
	})
	sorted(by(events, []Op{Send, Finish, Handle, Record}, keyOf), func(key string, events []Event) {
		var named []Event
		for _, e := range events {
			if e.Token != "" && (len(named) == 0 || e.Token != named[0].Token) {
				named = append(named, e)
			}
		}
		if len(named) > 1 {
			fail(named, "%s has two tokens", key)
		}
	})
	recorded := len(by(events, []Op{Record}, tokenOf)) > 0
	ran := len(by(events, []Op{Handle}, tokenOf)) > 0
	sorted(names, func(token string, events []Event) {
		checkTold(token, events, recorded, ran, fail)
	})
	return found
}

// checkTold compares what the sender was told of one token with what its receivers did and recorded.
func checkTold(token string, events []Event, recorded, ran bool, fail func([]Event, string, ...any)) {
	var told *Event
	ended, done := false, false
	var contrary []Event
	for _, e := range events {
		switch {
		case e.Op == Finish && told == nil:
			told = &e
		case e.Op == Handle && e.Kind == Return && e.Stage == fulfilled:
			ended = true
		case e.Op == Record && e.Stage == fulfilled:
			done = true
			contrary = append(contrary, e)
		}
	}
	switch {
	case told == nil, told.Stage == "TIMED_OUT":
		// A sender that gave up has not been told how it ended.
	case told.Stage != fulfilled && done:
		fail(append([]Event{*told}, contrary...), "token %s was recorded as FULFILLED, and its sender was told otherwise", token)
	case told.Stage == fulfilled && recorded && !done:
		fail([]Event{*told}, "token %s is FULFILLED to its sender, and no receiver has recorded that", token)
	case told.Stage == fulfilled && ran && !ended:
		fail([]Event{*told}, "token %s is FULFILLED to its sender, and no run of its handler has ended so", token)
	}
}

// checkStages: what one process sees of an attempt only moves forward, and a final stage is the same for all. Stages
// before the final one need not survive their process.
func checkStages(events []Event) []*Violation {
	var found []*Violation
	sorted(by(events, []Op{Stage}, messageOf), func(message string, events []Event) {
		var final *Event
		last := map[string]Event{}
		for _, e := range events {
			now, ok := rank(e.Stage)
			if !ok {
				found = append(found, &Violation{Forward, fmt.Sprintf("attempt %s has the stage %q, which is none", message, e.Stage), []Event{e}})
				return
			}
			before := last[e.Actor]
			if was, _ := rank(before.Stage); now < was {
				found = append(found, &Violation{Forward, fmt.Sprintf("attempt %s went back", message), []Event{before, e}})
				return
			}
			if final != nil && e.Stage != final.Stage {
				found = append(found, &Violation{Forward, fmt.Sprintf("attempt %s left its final stage", message), []Event{*final, e}})
				return
			}
			if now == finalRank && final == nil {
				final = &e
			}
			last[e.Actor] = e
		}
	})
	return found
}

// checkFulfilled: one receiver has recorded success, once, and nobody works on it again. What it has recorded is seen at every
// later examination.
func checkFulfilled(events []Event) []*Violation {
	during := periods(events)
	var found []*Violation
	sorted(by(events, []Op{Record, Hold}, tokenOf), func(token string, events []Event) {
		first := slices.IndexFunc(events, func(e Event) bool { return e.Op == Record && e.Stage == fulfilled })
		if first < 0 {
			return
		}
		for _, e := range events[first+1:] {
			later := during(e) > during(events[first])
			text := ""
			switch {
			case e.Op == Hold && e.Place == InCustody:
				text = "is in custody again"
			case e.Op == Hold:
			case e.Stage == fulfilled && (e.Actor != events[first].Actor || !later):
				text = "was fulfilled once more"
			case e.Stage != fulfilled && e.Actor == events[first].Actor && later:
				text = "was not any more"
			}
			if text != "" {
				found = append(found, &Violation{Once, fmt.Sprintf("token %s was fulfilled, and %s", token, text), []Event{events[first], e}})
				return
			}
		}
	})
	return found
}

package storagecheck

import (
	"errors"
	"fmt"
	"strings"
)

// The promises, by the names that violations carry.
const (
	Durable    = "what was vouched for is on the disk"
	Known      = "the disk holds nothing that nobody wrote"
	InOrder    = "what is durable is everything up to some moment"
	OneOutcome = "one outcome, which stays"
	Forward    = "stages, attempts and runs only move forward"
	OnceGiven  = "no number is given twice"
	Recognised = "what was recorded is known again"
	Totals     = "totals are right"
	Sound      = "the directory is consistent"
)

// Violation is a broken promise.
type Violation struct {
	// Promise names it.
	Promise string
	Object  string
	Text    string
}

// Error implements error.
func (v *Violation) Error() string {
	if v.Object == "" {
		return v.Promise + ": " + v.Text
	}
	return v.Promise + ": " + v.Object + ": " + v.Text
}

func broken(promise, object, format string, args ...any) error {
	return &Violation{Promise: promise, Object: object, Text: fmt.Sprintf(format, args...)}
}

// version is one state of an object: it could be from the call on, and was from the return on.
type version struct {
	began, ended int
	durable      bool
	state        State
	print        string
}

// Run is the history of one directory without faults: all that it can hold at some moment. Its methods may be called
// from any goroutine.
type Run struct {
	events []Event
	chains map[string][]version
	// open has the objects of calls whose result is unknown, and when they began.
	open map[string]int
	// settled has for each place until when everything is durable: the last call of a durable event before it.
	settled []int
	// underWay has for each place how many calls have begun before it and not ended.
	underWay []int
	given    map[Given]int
}

// NewRun reads a history, and checks it by itself: every violation, joined.
func NewRun(events []Event) (*Run, error) {
	r := &Run{
		events: events, chains: map[string][]version{}, open: map[string]int{},
		settled: make([]int, len(events)+1), underWay: make([]int, len(events)+1), given: map[Given]int{},
	}
	var errs []error
	holders := map[Given]string{} // without To
	for at, e := range events {
		r.settled[at+1], r.underWay[at+1] = r.settled[at], r.underWay[at]-1
		switch e.Kind {
		case Call:
			r.underWay[at+1] += 2
			continue
		case Unknown:
			if _, known := r.open[e.Object]; !known {
				r.open[e.Object] = e.Began
			}
			continue
		}
		if e.Durable {
			r.settled[at+1] = max(r.settled[at+1], e.Began)
		}
		for _, saw := range e.Saw {
			errs = append(errs, r.add(at, e, saw))
		}
		if e.Answer != "" {
			errs = append(errs, r.answered(e))
		}
		for _, g := range e.Given {
			holder := Given{Space: g.Space, Number: g.Number}
			if was, taken := holders[holder]; taken && was != g.To {
				errs = append(errs, broken(OnceGiven, g.To, "%s %d was given to %s before", g.Space, g.Number, was))
			}
			holders[holder] = g.To
			if _, known := r.given[holder]; !known {
				r.given[holder] = at
			}
		}
	}
	return r, errors.Join(errs...)
}

func (r *Run) add(at int, e Event, saw Version) error {
	chain := r.chains[saw.Object]
	if chain == nil {
		chain = []version{{began: -1, ended: -1, print: State{}.print()}}
	}
	v := version{began: e.Began, ended: at, durable: e.Durable, state: saw.State, print: saw.State.print()}
	err := follows(saw.Object, chain[len(chain)-1].state, saw.State, saw.Again)
	r.chains[saw.Object] = append(chain, v)
	return err
}

func (r *Run) answered(e Event) error {
	chain := r.chains[e.Object]
	if len(chain) == 0 {
		return broken(Recognised, e.Object, "%s was answered %q before it was there", e.Op, e.Answer)
	}
	if want := chain[len(chain)-1].state.Answer; want != e.Answer {
		return broken(Recognised, e.Object, "%s was answered %q, not %q", e.Op, e.Answer, want)
	}
	return nil
}

// follows tells what is wrong with a state that comes after another one.
func follows(object string, was, is State, again bool) error {
	if was.gone() || is.gone() {
		return nil
	}
	switch {
	case is.Number != was.Number && was.Number != 0:
		return broken(OnceGiven, object, "number %d became %d", was.Number, is.Number)
	case is.Outcome != was.Outcome && was.Outcome != "" && (!again || strings.HasPrefix(was.Outcome, fulfilled)):
		return broken(OneOutcome, object, "%q became %q", was.Outcome, is.Outcome)
	case is.Runs < was.Runs:
		return broken(Forward, object, "%d runs became %d", was.Runs, is.Runs)
	case !again && rank(is.Stage) < rank(was.Stage):
		return broken(Forward, object, "stage %s became %s", was.Stage, is.Stage)
	case len(is.Late) < len(was.Late):
		return broken(OneOutcome, object, "of %d late results %d are left", len(was.Late), len(is.Late))
	}
	for i, a := range was.Attempts {
		if i >= len(is.Attempts) || is.Attempts[i].ID != a.ID {
			return broken(Forward, object, "attempt %s is gone", a.ID)
		}
		if now := is.Attempts[i].Stage; rank(now) < rank(a.Stage) || rank(a.Stage) == lastRank && now != a.Stage {
			return broken(Forward, object, "attempt %s went from %s to %s", a.ID, a.Stage, now)
		}
	}
	return nil
}

const (
	fulfilled = "FULFILLED"
	lastRank  = 4
)

// rank is how far a stage has come. The last ones are final.
func rank(stage string) int {
	switch stage {
	case "", "NONE":
		return 0
	case "QUEUED", "RECEIVED":
		return 1
	case "DELIVERED", "READ":
		return 2
	default:
		return lastRank
	}
}

// Events returns how long the history is.
func (r *Run) Events() int { return len(r.events) }

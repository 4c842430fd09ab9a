package agent

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// maxObstacle bounds, in bytes, what the note of an operation's end says of what kept it.
const maxObstacle = maxNote / 2

// behindError is what keeps a message that waits behind another of its conversation.
type behindError struct{ err *ack.Error }

func (e *behindError) Error() string {
	return fmt.Sprintf("it waits behind one of its conversation, which the router last refused with %v", e.err)
}

func (e *behindError) Unwrap() error { return e.err }

// obstacle returns what keeps the operation from getting on, nil when nothing does that this agent knows of.
func (o *operation) obstacle() error {
	if err := o.a.unreachable(); err != nil {
		return err
	}
	o.mu.Lock()
	rec, refused := o.rec, o.pace.obstacle
	o.mu.Unlock()
	if refused != nil {
		return refused
	}
	if before := o.a.refusals.obstacle(refusedKey(rec), o); before != nil {
		return &behindError{before}
	}
	return nil
}

// withReasons adds to the note of an end what kept the message last, and how the last attempt has failed.
func (o *operation) withReasons(text string) string {
	rec, _ := o.current()
	if err := o.obstacle(); err != nil {
		text += "; " + clip(hindrance(err), maxObstacle)
	}
	return withFailure(text, rec)
}

// hindrance words an obstacle for a message that has ended.
func hindrance(err error) string {
	var away *UnreachableError
	var behind *behindError
	var refused *ack.Error
	switch {
	case errors.As(err, &away):
		return fmt.Sprintf("no router was reached at %s: %v", away.Addr, away.Err)
	case errors.As(err, &behind):
		return fmt.Sprintf("it waited behind one of its conversation, which the router last refused with %v: %s", behind.err.Code, behind.err.Note)
	case errors.As(err, &refused):
		return fmt.Sprintf("the router last refused it with %v: %s", refused.Code, refused.Note)
	default:
		return err.Error()
	}
}

const (
	// maxRefusing bounds of how many addresses the log has said that the router refuses their messages.
	maxRefusing = 1000
	// refusingAgain is how soon it says so again of an address whose messages were accepted meanwhile: where there is room
	// for one at a time, every other answer is a refusal.
	refusingAgain = time.Minute
)

// refusing are the addresses whose messages the router refuses for now, as far as the log has said so.
type refusing struct {
	mu   sync.Mutex
	said map[string]*refusingTo
}

type refusingTo struct {
	codes []ack.Code
	since time.Time
	// over tells that a message was accepted since.
	over bool
}

// news tells whether the log has still to say that messages to an address are refused with a code.
func (r *refusing) news(to string, code ack.Code, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.said[to]
	switch {
	case t == nil && len(r.said) >= maxRefusing && !r.forget(now):
		return false // operations say it themselves
	case t == nil || t.stale(now):
		r.said[to] = &refusingTo{codes: []ack.Code{code}, since: now}
		return true
	case slices.Contains(t.codes, code):
		return false
	}
	t.codes = append(t.codes, code) // one of few, since only temporary ones come here
	return true
}

func (t *refusingTo) stale(now time.Time) bool { return t.over && now.Sub(t.since) >= refusingAgain }

// forget makes room, and tells whether there is some.
func (r *refusing) forget(now time.Time) bool {
	for to, t := range r.said {
		if t.stale(now) {
			delete(r.said, to)
		}
	}
	return len(r.said) < maxRefusing
}

// accepted notes that the router has taken a message to an address.
func (r *refusing) accepted(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.said[to]; t != nil {
		t.over = true
	}
}

package exchange

import (
	"errors"
	"fmt"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

var (
	// ErrDeferred is returned by a handler that leaves the answer to a later Reply or Fail with the message's Ref.
	ErrDeferred = errors.New("the answer is deferred")
	// ErrUnknownRef says that no record has the Ref, or not any more.
	ErrUnknownRef = errors.New("no record has this reference. Fix: give it to the agent that made it, as long as that keeps the record (Config.KeepAge)")
	// ErrAnswered says that a deferred message has its answer already, or has ended.
	ErrAnswered = errors.New("the message has been answered")
	// ErrNotDeferred says that the handler of a stream has not left its end to others: it is still to run, or runs again.
	ErrNotDeferred = errors.New("the handler has not deferred the answer")
	// ErrRestarted comes out of a stream's iterator when its handler runs again and begins with the first frame: what
	// came before is void. The frames of the new run follow.
	ErrRestarted = errors.New("the stream has begun again")
	// ErrIteratorUsed comes out of an iterator of frames that is used a second time.
	ErrIteratorUsed = errors.New("the iterator of frames was used already. Fix: ask the handle for another one")
)

// Unfinished says that waiting for an operation ended before the operation did. The message lives on; Ref finds it.
type Unfinished struct {
	status Status
	err    error
}

// NewUnfinished returns the error for waiting that ended with err, for an operation with this status. Runtimes call it.
func NewUnfinished(s Status, err error) *Unfinished { return &Unfinished{status: s, err: err} }

// Ref names the operation.
func (e *Unfinished) Ref() Ref { return e.status.Ref }

// Stage is the furthest that any attempt had come when waiting ended.
func (e *Unfinished) Stage() ack.Stage { return e.status.Stage }

// Error implements error.
func (e *Unfinished) Error() string {
	return fmt.Sprintf("the message is stored as %s and not finished: %s. Fix: wait longer, or find it again by Resume with this reference. Waiting ended: %v",
		e.status.Ref, e.status.reached(), e.err)
}

// reached says in words how far an operation has come.
func (s Status) reached() string {
	words := ""
	switch {
	case s.Stage == ack.Received:
		words = "RECEIVED, and it waits for its handler"
	case s.Stage == ack.Read:
		words = "READ, and its handler has it"
	case s.Stage == ack.Fulfilled && !s.Done:
		words = "FULFILLED, and its reply is still to come"
	case s.Done:
		words = s.Stage.String() + ", which came at the same moment"
	case len(s.Attempts) > 0 && s.Attempts[len(s.Attempts)-1].AcceptedAt.IsZero():
		words = "no router has taken it yet"
	default:
		words = "it is not RECEIVED yet"
	}
	if n := len(s.Attempts); n > 1 {
		words += fmt.Sprintf(", attempt %d", n)
	}
	return words
}

// Unwrap returns why waiting ended.
func (e *Unfinished) Unwrap() error { return e.err }

// RegistrationError is a wrong registration.
type RegistrationError struct {
	// Exchange is the exchange or service that was registered.
	Exchange     string
	Problem, Fix string
}

// Error implements error.
func (e *RegistrationError) Error() string {
	return fmt.Sprintf("register %s: %s. Fix: %s", e.Exchange, e.Problem, e.Fix)
}

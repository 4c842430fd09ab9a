package exchange

import (
	"errors"
	"fmt"
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
	ref Ref
	err error
}

// NewUnfinished returns the error for waiting that ended with err. Runtimes call it.
func NewUnfinished(ref Ref, err error) *Unfinished { return &Unfinished{ref: ref, err: err} }

// Ref names the operation.
func (e *Unfinished) Ref() Ref { return e.ref }

// Error implements error.
func (e *Unfinished) Error() string {
	return fmt.Sprintf("the message is stored as %s and not finished: %v", e.ref, e.err)
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

package ack

import (
	"errors"
	"fmt"
	"time"
)

// Error is a message's end other than FULFILLED. A handler returns one to choose stage and code; a sender gets one as
// its operation's outcome.
type Error struct {
	// Stage is REJECTED, FAILED or TIMED_OUT.
	Stage Stage
	Code  Code
	// Note is text for people. Codes that the protocol's enumeration lacks stand in its first word.
	Note string
	// From is the agent that said so; empty where this agent decided.
	From string
}

// Error implements error.
func (e *Error) Error() string {
	text := e.Stage.String()
	if e.Code != NoCode {
		text += " " + e.Code.String()
	}
	if e.From != "" {
		text += " by " + e.From
	}
	if e.Note != "" {
		text += ": " + e.Note
	}
	return text
}

// Is tells whether target is an *Error with the same content, so that errors.Is(err, &ack.Error{Stage: …, Code: …})
// works. A zero Stage or Code, and an empty Note or From, in target match any.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	if !ok {
		return false
	}
	return (t.Stage == None || t.Stage == e.Stage) && (t.Code == NoCode || t.Code == e.Code) &&
		(t.Note == "" || t.Note == e.Note) && (t.From == "" || t.From == e.From)
}

// Rejectf refuses a message for good: its outcome is REJECTED with code and the formatted note.
func Rejectf(code Code, format string, args ...any) error {
	return &Error{Stage: Rejected, Code: code, Note: fmt.Sprintf(format, args...)}
}

// Failf ends a message as FAILED with code and the formatted note. Whether the sender tries again depends on the code.
func Failf(code Code, format string, args ...any) error {
	return &Error{Stage: Failed, Code: code, Note: fmt.Sprintf(format, args...)}
}

// RetryAfter asks that the handler run again here after d, without a new message. The wait survives a restart, and counts
// neither as an attempt nor as a crash. A negative d is 0.
func RetryAfter(err error, d time.Duration) error {
	return &RetryError{Err: err, After: max(d, 0)}
}

// RetryError asks that a handler run again. RetryAfter makes it.
type RetryError struct {
	Err   error
	After time.Duration
}

// Error implements error.
func (e *RetryError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("run again after %v", e.After)
	}
	return fmt.Sprintf("run again after %v: %v", e.After, e.Err)
}

// Unwrap returns the cause.
func (e *RetryError) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in err's chain, NoCode for nil and InternalError for every other error.
func CodeOf(err error) Code {
	if err == nil {
		return NoCode
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return InternalError
}

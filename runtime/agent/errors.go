package agent

import (
	"errors"
	"fmt"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

var (
	// ErrNotStarted says that a call cannot wait for a reply before the agent runs. A sender only stores and may be used.
	ErrNotStarted = errors.New("the agent is not started. Fix: call Start, or use the sender, which stores the message")
	// ErrClosed says that the agent was closed.
	ErrClosed = errors.New("the agent is closed. Fix: make another one on the same directory")
	// ErrUnreachable says that there is no router. What was sent is stored and goes out when there is one.
	ErrUnreachable = errors.New("no router is reachable")
	// ErrStoreFailed says that the data directory could not be read or written, or is damaged: then it comes with a
	// *store.DamagedError. The agent has stopped; what it vouched for before is on disk.
	ErrStoreFailed = errors.New("the activity buffer has failed")
	// ErrSuperseded says that a newer instance of this agent's store runs elsewhere.
	ErrSuperseded = errors.New("a newer instance of this agent has taken over")
	// ErrStoreRolledBack says that the router has seen a later state of this agent's store, or its replacement.
	ErrStoreRolledBack = errors.New("the data directory is older than one that the router has seen")
)

// storeFailed is the ErrStoreFailed with this cause.
func storeFailed(cause error) error {
	var damage *store.DamagedError
	if errors.As(cause, &damage) {
		return fmt.Errorf("%w: %w", ErrStoreFailed, cause) // which says what to do
	}
	return fmt.Errorf("%w: %w. Fix: see to the disk of its directory, and start the program again", ErrStoreFailed, cause)
}

// errDrain is the cause of handler contexts that end because the agent closes.
var errDrain = errors.New("the agent is closing")

// UnreachableError says which router cannot be reached, or does not admit the agent, and what to do.
type UnreachableError struct {
	Addr string
	Err  error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	var bye *goodbyeError
	if errors.As(e.Err, &bye) && bye.reason != transportpb.Goodbye_REASON_DRAINING {
		return fmt.Sprintf("router %s does not admit this agent, and the message stays stored: %s", e.Addr, bye.note)
	}
	return fmt.Sprintf("router %s is not reachable; the message is stored and will be sent when it is. Start one with: sw4rm up", e.Addr)
}

// Unwrap makes the error an ErrUnreachable, and returns the connection's error.
func (e *UnreachableError) Unwrap() []error { return []error{ErrUnreachable, e.Err} }

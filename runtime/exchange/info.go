package exchange

import (
	"context"
	"time"
)

// Info tells a handler about the message it handles.
type Info struct {
	// From is the agent that sent it.
	From string
	// To is the address as the sender gave it, agent:ID or capability:NAME.
	To            string
	Exchange      string
	MessageID     string
	CorrelationID string
	// ParentCorrelationID is the conversation out of which this one was opened across a swarm boundary, "" without one.
	ParentCorrelationID string
	// MessageType is the type that the message came with, which peers of other makes choose freely.
	MessageType MessageType
	// RepoID and WorktreeID are what the message is about, as its sender gave them with WithWorktree.
	RepoID, WorktreeID string
	// Token names the operation; the same for all attempts. Use it to make side effects idempotent.
	Token string
	// Attempt counts the sender's transmissions of the operation from 1.
	Attempt int
	// Run counts the runs of the handler for this message from 1, over restarts.
	Run int
	// Deadline is when the message's time to live ends; zero without one.
	Deadline time.Time
	// Late tells a reply handler that the result came after the operation had ended.
	Late bool

	ref Ref
}

// Ref names the message for a deferred answer.
func (i Info) Ref() Ref { return i.ref }

// WithRef returns i with its Ref set. Runtimes call it.
func (i Info) WithRef(ref Ref) Info {
	i.ref = ref
	return i
}

type infoKey struct{}

// NewContext returns a context for the handler of the message that info describes. Runtimes call it.
func NewContext(ctx context.Context, info Info) context.Context {
	return context.WithValue(ctx, infoKey{}, info)
}

// InfoFrom returns what is known of the message that is being handled, false outside handlers.
func InfoFrom(ctx context.Context) (Info, bool) {
	info, ok := ctx.Value(infoKey{}).(Info)
	return info, ok
}

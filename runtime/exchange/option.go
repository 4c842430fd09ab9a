package exchange

import (
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// Option sets how an exchange travels. Generated code passes what the schema says.
type Option interface{ applyExchange(*Descriptor) }

// SendOption overrides an exchange's settings for one call.
type SendOption interface{ applySend(*Outgoing) }

// PolicyOption is an Option of an exchange and a SendOption of one call.
type PolicyOption struct{ apply func(*Policy) }

func (o PolicyOption) applyExchange(d *Descriptor) {
	if o.apply != nil {
		o.apply(&d.policy)
	}
}

func (o PolicyOption) applySend(out *Outgoing) {
	if o.apply != nil {
		o.apply(&out.Policy)
	}
}

func (t MessageType) applyExchange(d *Descriptor) { d.policy.MessageType = t }
func (t MessageType) applySend(out *Outgoing)     { out.Policy.MessageType = t }
func (o Order) applyExchange(d *Descriptor)       { d.policy.Order = o }
func (o Order) applySend(out *Outgoing)           { out.Policy.Order = o }
func (f Format) applyExchange(d *Descriptor)      { d.policy.Format = f }
func (f Format) applySend(out *Outgoing)          { out.Policy.Format = f }

// AckTimeout sets how long after an attempt was accepted RECEIVED is awaited before the sender asks. Default:
// DefaultAckTimeout.
func AckTimeout(d time.Duration) PolicyOption {
	return PolicyOption{func(p *Policy) { p.AckTimeout = d }}
}

// ReplyTimeout sets how long a caller waits for the reply; of a stream, for the first frame and from each frame to the next,
// as long as it is the caller who waits. Default, and 0: until the deadline.
func ReplyTimeout(d time.Duration) PolicyOption {
	return PolicyOption{func(p *Policy) { p.ReplyTimeout = d }}
}

// Deadline sets when the operation ends as TIMED_OUT, counted from the send. Default: DefaultDeadline.
func Deadline(d time.Duration) PolicyOption {
	return PolicyOption{func(p *Policy) { p.Deadline = d }}
}

// TTL sets how long the message may wait for a handler to start. Default, and 0: no limit.
func TTL(d time.Duration) PolicyOption { return PolicyOption{func(p *Policy) { p.TTL = d }} }

// HandlerTimeout sets how long a handler may run. The receiver's setting counts, which one call can only shorten. Default,
// and 0: no limit.
func HandlerTimeout(d time.Duration) PolicyOption {
	return PolicyOption{func(p *Policy) { p.HandlerTimeout = d }}
}

// MaxAttempts sets the attempts in all, the first included. Default: DefaultMaxAttempts.
func MaxAttempts(n int) PolicyOption {
	return PolicyOption{func(p *Policy) { p.Retry.MaxAttempts = n }}
}

// Backoff sets the first and the largest wait between attempts and the factor from one to the next. Defaults:
// DefaultInitialBackoff, DefaultMaxBackoff, DefaultMultiplier.
func Backoff(initial, largest time.Duration, multiplier float64) PolicyOption {
	return PolicyOption{func(p *Policy) {
		p.Retry.InitialBackoff, p.Retry.MaxBackoff, p.Retry.Multiplier = initial, largest, multiplier
	}}
}

// RetryOn sets the codes that are worth another attempt, in place of the default ones; without codes none is.
func RetryOn(codes ...ack.Code) PolicyOption {
	return PolicyOption{func(p *Policy) { p.Retry.Codes = append([]ack.Code(nil), codes...) }}
}

type sendOption func(*Outgoing)

func (o sendOption) applySend(out *Outgoing) { o(out) }

// WithKey names the operation: within the deduplication window a call with the same key to the same address is the same
// operation, and gets its recorded outcome: the first, for the whole window, also where it is TIMED_OUT and does not tell
// whether the message was handled. A success that comes later goes to HandleReply with Info.Late, and changes nothing of
// what a repeated key gets. The same key with another payload is refused as VALIDATION_ERROR.
func WithKey(key string) SendOption { return sendOption(func(o *Outgoing) { o.Key = key }) }

// WithCorrelation puts the message into the conversation with this id, a UUIDv4. Default: that of the message being
// handled, else a new one.
func WithCorrelation(id string) SendOption {
	return sendOption(func(o *Outgoing) { o.CorrelationID = id })
}

// WithParentCorrelation names the conversation out of which this one was opened across a swarm boundary.
func WithParentCorrelation(id string) SendOption {
	return sendOption(func(o *Outgoing) { o.ParentCorrelationID = id })
}

// WithWorktree tells which repository and worktree the message is about.
func WithWorktree(repoID, worktreeID string) SendOption {
	return sendOption(func(o *Outgoing) { o.RepoID, o.WorktreeID = repoID, worktreeID })
}

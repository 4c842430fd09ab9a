package exchange

import (
	"fmt"
	"slices"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// Defaults of an exchange for which the schema says nothing else (SW4RM spec 11 for the acknowledgement timeout).
const (
	DefaultAckTimeout     = 10 * time.Second
	DefaultDeadline       = 24 * time.Hour
	DefaultMaxAttempts    = 5
	DefaultInitialBackoff = time.Second
	DefaultMaxBackoff     = 30 * time.Second
	DefaultMultiplier     = 2.0
)

// MessageType is the protocol's type of an exchange's message. As an option it sets the type.
type MessageType int32

// The message types that an exchange may have, with the protocol's numbers.
const (
	Control         MessageType = 1
	Data            MessageType = 2
	Notification    MessageType = 4
	HITLInvocation  MessageType = 6
	WorktreeControl MessageType = 7
	Negotiation     MessageType = 8
	ToolCall        MessageType = 9
)

// Order says in what order an agent starts the handlers of messages. As an option it sets the order.
type Order int

// The orders. OrderCorrelation is the default of one-way exchanges, OrderNone of those with a reply.
const (
	// OrderNone starts handlers in any order.
	OrderNone Order = iota + 1
	// OrderCorrelation starts them as sent, for one producer and correlation id.
	OrderCorrelation
	// OrderAgent starts them as sent, for one producer.
	OrderAgent
)

// Format is how payloads are encoded. As an option it sets the format.
type Format int

// The formats. Both are always understood.
const (
	// Protobuf is application/protobuf, the default.
	Protobuf Format = iota
	// JSON is application/json in protobuf's JSON mapping.
	JSON
)

// Resume says where the frames of a stream go on when its handler runs again. As an option it sets that, for one call too:
// ContinueOnResume is then of use where the handler heeds Frames.Recorded.
type Resume int

// The ways to resume.
const (
	// RestartOnResume begins with the first frame again; the reader gets ErrRestarted before it. The default.
	RestartOnResume Resume = iota
	// ContinueOnResume goes on after the last stored frame; Frames.Recorded tells how many there are. Only a handler of
	// another agent, which has none of them, begins again.
	ContinueOnResume
)

func (r Resume) applyExchange(d *Descriptor) { d.policy.Resume = r }
func (r Resume) applySend(out *Outgoing)     { out.Policy.Resume = r }

// RetryPolicy says when and how often a failed attempt is made again.
type RetryPolicy struct {
	// MaxAttempts counts the first attempt too; at least 1.
	MaxAttempts int
	// The n-th wait is InitialBackoff × Multiplier^(n-1), at most MaxBackoff, jittered between half and full.
	InitialBackoff, MaxBackoff time.Duration
	Multiplier                 float64
	// Codes are worth another attempt.
	Codes []ack.Code
}

// Retryable tells whether a failure with this code is worth another attempt.
func (p RetryPolicy) Retryable(c ack.Code) bool { return slices.Contains(p.Codes, c) }

// Policy is how an exchange's messages travel.
type Policy struct {
	MessageType MessageType
	// AckTimeout is how long after an attempt was accepted RECEIVED is awaited before the sender asks.
	AckTimeout time.Duration
	// ReplyTimeout is how long a caller waits for the reply, for the first frame of a stream and from each frame to the
	// next; 0 is until the deadline.
	ReplyTimeout time.Duration
	// Deadline ends the operation, counted from the send.
	Deadline time.Duration
	// TTL is how long the message may wait for a handler to start; 0 is no limit.
	TTL   time.Duration
	Retry RetryPolicy
	// Idempotency is EachCall or ByContent.
	Idempotency Idempotency
	Order       Order
	Format      Format
	// ContentType, when set, is sent exactly as it is and names no exchange; see the option of that name.
	ContentType string
	// HandlerTimeout is how long a handler may run; 0 is no limit.
	HandlerTimeout time.Duration
	// Resume says where a stream goes on when its handler runs again; the receiver's setting counts, unless a call has
	// another.
	Resume Resume
}

func defaultPolicy(k Kind) Policy {
	order := OrderNone
	if k == KindOneWay {
		order = OrderCorrelation
	}
	return Policy{
		MessageType: Data,
		AckTimeout:  DefaultAckTimeout,
		Deadline:    DefaultDeadline,
		Retry: RetryPolicy{
			MaxAttempts:    DefaultMaxAttempts,
			InitialBackoff: DefaultInitialBackoff,
			MaxBackoff:     DefaultMaxBackoff,
			Multiplier:     DefaultMultiplier,
			Codes: []ack.Code{
				ack.BufferFull, ack.AgentUnavailable, ack.AgentShutdown, ack.Overloaded, ack.ForcedPreemption, ack.InternalError,
			},
		},
		Order: order,
	}
}

// Validate names the first setting that is out of range.
func (p Policy) Validate() error {
	for _, d := range []struct {
		name string
		d    time.Duration
		min  time.Duration
	}{
		{"acknowledgement timeout", p.AckTimeout, time.Millisecond},
		{"reply timeout", p.ReplyTimeout, 0},
		{"deadline", p.Deadline, time.Millisecond},
		{"TTL", p.TTL, 0},
		{"handler timeout", p.HandlerTimeout, 0},
		{"initial backoff", p.Retry.InitialBackoff, time.Millisecond},
		{"largest backoff", p.Retry.MaxBackoff, p.Retry.InitialBackoff},
	} {
		if d.d < d.min {
			return fmt.Errorf("%s %v is below %v. Fix: use at least that", d.name, d.d, d.min)
		}
	}
	if p.Retry.MaxAttempts < 1 {
		return fmt.Errorf("%d attempts are below 1. Fix: use at least 1, which is no retry", p.Retry.MaxAttempts)
	}
	if !(p.Retry.Multiplier >= 1 && p.Retry.Multiplier <= 1000) {
		return fmt.Errorf("backoff multiplier %v is not between 1 and 1000. Fix: use one that is", p.Retry.Multiplier)
	}
	switch p.MessageType {
	case Control, Data, Notification, HITLInvocation, WorktreeControl, Negotiation, ToolCall:
	default:
		return fmt.Errorf("message type %d is not one that an exchange may have. Fix: use a constant of package exchange", p.MessageType)
	}
	for _, choice := range []struct {
		name            string
		is, first, last int
	}{
		{"order", int(p.Order), int(OrderNone), int(OrderAgent)},
		{"resume", int(p.Resume), int(RestartOnResume), int(ContinueOnResume)},
		{"format", int(p.Format), int(Protobuf), int(JSON)},
		{"idempotency", int(p.Idempotency), int(EachCall), int(ByContent)},
	} {
		if choice.is < choice.first || choice.is > choice.last {
			return fmt.Errorf("%s %d is unknown. Fix: use a constant of package exchange", choice.name, choice.is)
		}
	}
	return p.validateContentType()
}

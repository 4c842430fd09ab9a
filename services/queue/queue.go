// Package queue says what a message queue engine does for the router. An engine holds messages by the address to which
// they were sent, knows what became of every token, and changes only by the transitions of Engine, each of them atomic
// and fenced by the instance that asks for it. Package queuetest is the conformance suite.
package queue

import (
	"context"
	"time"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// Defaults of Limits.
const (
	DefaultMaxWork        = 10_000
	DefaultMaxWaiting     = 500_000
	DefaultMaxAgents      = 100_000
	DefaultKeepAgents     = 30 * 24 * time.Hour
	DefaultDeliveryBudget = 10
	DefaultWindow         = time.Hour
	DefaultKeepUnknown    = 25 * time.Hour
	DefaultKeepUnfetched  = 24 * time.Hour
	DefaultKeepDead       = 7 * 24 * time.Hour
	DefaultMaxDead        = 10_000
	DefaultMaxDeadBytes   = 256 << 20
)

// Limits bound an engine. Zero fields are the defaults.
type Limits struct {
	// MaxWork is the largest number of work messages that wait or are leased at one address. Signals and answers have
	// bounds ten times as large, each their own.
	MaxWork int
	// MaxWaiting is how many messages of all classes may wait or be leased at all addresses together when more work is
	// taken. Signals and answers are taken up to twice as many, so that what is under way can end. Each takes some 500
	// bytes of memory, and its envelope lies on disk.
	MaxWaiting int
	// MaxAgents is how many agents are known. A further one is refused.
	MaxAgents int
	// KeepAgents is how long an agent is known that neither connects nor sends, and for which nothing waits. With it goes
	// the memory of which stores and epochs it had.
	KeepAgents time.Duration
	// DeliveryBudget is how many deliveries of one message may fail before it becomes a dead letter. A delivery fails when
	// its lease runs out, and when the stream ends in which a holder without a store of its own had it: such a peer may
	// have died of the message, and nobody else counts how often. That the stream of a named store ended does not count:
	// connections break, and what a named store's process dies of, the store counts itself. Nor does the router's restart,
	// nor the lease of a holder that is heard (LeaseRequest.Audible) and said nothing meanwhile: its connection may be dead
	// without anybody's knowing. What does not count is handed out again at the next stream, or once a lease.
	DeliveryBudget int
	// Window is how long a finished token is kept beyond its operation's deadline.
	Window time.Duration
	// KeepUnknown is how long a token is kept whose sender told neither deadline nor lowest open sequence.
	KeepUnknown time.Duration
	// KeepUnfetched is how long signals and answers wait to be fetched before they become dead letters.
	KeepUnfetched time.Duration
	// KeepDead is how long dead letters are kept. MaxDead and MaxDeadBytes bound how many, and the encoded size of their
	// envelopes together: beyond them the oldest go.
	KeepDead     time.Duration
	MaxDead      int
	MaxDeadBytes int64
}

// Engine holds the queues of a router. Its methods may be called from any goroutine. A returned answer is durable unless
// the method says otherwise. Errors are those of the storage below; what concerns one message is an answer, not an error.
type Engine interface {
	// ID identifies the engine's store, and stays over restarts.
	ID() string

	// Admit decides whether an instance of an agent may connect, and records it before it returns. A higher epoch of the
	// known store takes over; the same epoch reconnects; another store is admitted only when live is false, and with it
	// everything in the former store's custody is lost, which Expire tells the senders of; a lower epoch and a former store
	// are refused. A holder without Store is one unnamed store and always admitted where no named store is live; it
	// replaces a named one, and is replaced, like any other store, only that it is never a former one. Leases of the
	// instance before end. Beyond Limits.MaxAgents an agent that is not known is refused.
	Admit(ctx context.Context, h Holder, live bool) (Admission, error)

	// Accept takes a message, or answers for one that it knows by its token or message id. With m.Ends set it applies that
	// outcome in the same transition, unless the message is known. From a named instance that was superseded nothing is
	// taken. Accept applies the transition before it returns, so that messages of one address are queued in the order of
	// the calls, but does not wait until it is durable: nobody may be told the answer before the receipt gives it.
	Accept(ctx context.Context, m Message) (Receipt, error)

	// Lease hands out the oldest messages that wait at the addresses, within r's limits, until r.Until. A lease is not
	// durable: after a restart every message is free again. The same message keeps its Seq over all leases. What has run
	// out at r.Now is ended first, as by Expire; a superseded instance gets nothing.
	Lease(ctx context.Context, r LeaseRequest) ([]Delivery, error)

	// Custody moves a leased message into the holder's custody. It is false unless the holder's store has the message
	// leased, had it leased last and nobody else has it, or has custody already. Custody of a message that was sent to a
	// capability, or has a time to live, is durable when Custody returns; that of another message to the agent itself need
	// not be: that it comes again does no harm.
	Custody(ctx context.Context, h Holder, seq int64, messageID string) (bool, error)

	// Heard notes that something came from the holder at now. It is not durable, and counts until the holder's Release.
	Heard(h Holder, now time.Time)

	// Release gives the holder's leases back to their queues, because its stream has ended. Those of a holder without a
	// store count as failed deliveries.
	Release(ctx context.Context, h Holder) error

	// Dead moves a message that the holder has leased to the dead letters, and owes its producer a FAILED signal where
	// it is work.
	Dead(ctx context.Context, h Holder, seq int64, messageID string, reason string) (bool, error)

	// Withdraw takes a message back that waits in its queue. Only its producer can. One that waits again after an agent
	// had it is removed too, and the answer is that it is too late.
	Withdraw(ctx context.Context, w Withdrawal) (transportpb.WithdrawAnswer_State, error)

	// Lookup finds the message with this id, or the one that an earlier attempt with this id became. What it says need
	// not be durable yet, but becomes so before anything that is accepted later.
	Lookup(ctx context.Context, messageID string) (Origin, bool, error)

	// Expire ends what has run out at now: leases, times to live, unfetched signals and answers, and custody that was lost
	// with its store, for which it owes each producer a FAILED signal. It returns when it has something to do next, which
	// is now when it leaves some of many lost custodies for the next call, and the zero time for never.
	Expire(ctx context.Context, now time.Time) (time.Time, error)

	// Prune forgets finished tokens whose time has passed at now, and agents that have been gone for Limits.KeepAgents.
	// connected tells whether an agent is there; it is called with the engine locked and must not call it.
	Prune(ctx context.Context, now time.Time, connected func(agent string) bool) error

	// Scan calls fn for every address that holds something, until fn returns an error, and returns that error.
	Scan(ctx context.Context, fn func(Depth) error) error

	// DeadLetters returns up to max dead letters, oldest first.
	DeadLetters(ctx context.Context, max int) ([]DeadLetter, error)
}

// Holder is who holds a lease or custody: one stream of one instance of an agent.
type Holder struct {
	Agent string
	// Store and Epoch name the instance of the agent's data directory; empty for canonical peers.
	Store string
	Epoch uint64
	// Stream tells the streams of one instance apart; unique in the process.
	Stream uint64
}

// Admission is the answer to a hello.
type Admission int

// The admissions.
const (
	Admitted Admission = iota + 1
	// RefusedDuplicate says that another store is live under the agent's id.
	RefusedDuplicate
	// RefusedRolledBack says that the epoch is lower than one that was seen, or that the store was replaced.
	RefusedRolledBack
	// RefusedFull says that as many agents are known as may be.
	RefusedFull
)

// Message is an envelope on its way to an address.
type Message struct {
	Envelope *commonpb.Envelope
	// To is the address as sent, agent:ID or capability:NAME.
	To    string
	Class transportpb.Class
	// From is the instance that submits it. Work is deduplicated by (From.Agent, To, token), else by message id; signals
	// and answers by message id.
	From Holder
	// DeadlineLeft is what is left of the operation's deadline, 0 when unknown; LowestOpen is the sender's lowest open
	// sequence number, 0 when unknown.
	DeadlineLeft time.Duration
	LowestOpen   uint64
	// At is when it was submitted.
	At time.Time
	// Ends is the outcome that a terminal acknowledgement brings to the message that it names.
	Ends *Outcome
}

// Receipt is an answer on its way to the disk. Whoever gets one asks for the answer, once.
type Receipt interface {
	// Answer blocks until the answer is durable.
	Answer(ctx context.Context) (Answer, error)
	// Refusal returns the answer at once when the message was not taken, and false otherwise.
	Refusal() (Answer, bool)
}

// Submit is Accept that waits for the answer.
func Submit(ctx context.Context, e Engine, m Message) (Answer, error) {
	r, err := e.Accept(ctx, m)
	if err != nil {
		return Answer{}, err
	}
	return r.Answer(ctx)
}

// Outcome ends the message with this id. It counts only from the agent that has, or last had, the message, and with
// that agent's current instance.
type Outcome struct {
	MessageID string
	Stage     ack.Stage
	Code      ack.Code
	Note      string
}

// Answer is what became of an accepted or known message.
type Answer struct {
	State transportpb.Answer_State
	// Stage, Code and Note are the outcome with STATE_DONE, and the refusal's code and text with STATE_REFUSED.
	Stage ack.Stage
	Code  ack.Code
	Note  string
}

// LeaseRequest asks for messages.
type LeaseRequest struct {
	Holder Holder
	// Addresses are agent:ID and the capabilities for which the holder is live.
	Addresses []string
	Class     transportpb.Class
	// MaxMessages bounds the number of messages, 0 hands out none. MaxBytes bounds their encoded sizes together; the
	// first one is handed out whatever its size, and the first that does not fit ends the lease.
	MaxMessages int
	MaxBytes    int64
	Now, Until  time.Time
	// Audible says that Heard is called for this holder, and that it has something to say during every lease.
	Audible bool
}

// Delivery is a leased message.
type Delivery struct {
	// Seq is positive, unique in the engine and never reused.
	Seq   int64
	To    string
	Class transportpb.Class
	// Envelope has its ttl_ms reduced to what is left, at least 1.
	Envelope *commonpb.Envelope
	// Bytes is the encoded size.
	Bytes int64
	// Deliveries counts the leases of this message, this one included, whether or not they failed.
	Deliveries int
}

// Withdrawal names a message that its sender takes back.
type Withdrawal struct {
	From                 Holder
	To, Token, MessageID string
}

// Origin is what the engine knows of a message by its id.
type Origin struct {
	Producer      string
	To            string
	Token         string
	CorrelationID string
	// Custodian is the agent that has, or last had, the message.
	Custodian string
}

// Depth tells how much an address holds. Work, Answers and Signals count what waits and what is leased, Leased only the
// latter; Oldest is when the oldest of them was accepted.
type Depth struct {
	To                     string
	Work, Answers, Signals int
	Leased                 int
	Oldest                 time.Time
}

// DeadLetter is a message that was given up.
type DeadLetter struct {
	Seq      int64
	To       string
	Class    transportpb.Class
	Envelope *commonpb.Envelope
	Kind     DeadKind
	// Code is what its producer was told, Reason the text for it.
	Code   ack.Code
	Reason string
	// Bytes is the encoded size of the envelope.
	Bytes int64
	// Deliveries counts how often it was handed out; Handouts are the first of these and the latest.
	Deliveries int
	Handouts   []Handout
	AcceptedAt time.Time
	DiedAt     time.Time
}

// DeadKind says why a message was given up, and so whether it is of use to let it wait again.
type DeadKind string

// The kinds. A letter of an engine that did not note it has none.
const (
	// Retryable: no agent has stored it, however often it was handed out.
	Retryable DeadKind = "retryable"
	// Permanent: an agent has refused it for good.
	Permanent DeadKind = "permanent"
	// Expired: its time to live was over.
	Expired DeadKind = "expired"
	// Unanswerable: an acknowledgement or answer that nobody has fetched.
	Unanswerable DeadKind = "unanswerable"
)

// Handout is one time that a message was handed out.
type Handout struct {
	Agent string
	At    time.Time
	// EndedAt and End tell how it ended; zero and "" when that is unknown.
	EndedAt time.Time
	End     string
}

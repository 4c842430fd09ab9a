package activity

import (
	"context"
	"errors"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

var errTODO = errors.New("not implemented yet")

// Buffer is an agent's activity buffer. Its methods may be called from any goroutine.
type Buffer struct{}

// Open reads a buffer's active records from s; it reads nothing else, however much is stored. A record that is not what
// was written is a *store.DamagedError.
func Open(ctx context.Context, s store.Store, cfg Config) (*Buffer, error) { return nil, errTODO }

// Settle waits until everything that reading methods have returned so far is durable.
func (b *Buffer) Settle(ctx context.Context) error { return errTODO }

// RecordOut records an operation with its first attempt, durably. When an operation with the same key exists, it returns
// that one, and existed: one with the same token and address that is active, that ended within the deduplication window,
// or, for a derived token, that is still there. A caller's key with another payload is refused as VALIDATION_ERROR, note
// token_reused.
func (b *Buffer) RecordOut(ctx context.Context, d Draft) (rec *storagepb.OutRecord, existed bool, err error) {
	return nil, false, errTODO
}

// AttemptOut adds an attempt with a new message id, durably, and takes back the wait for it. ErrFinished when the
// operation has its outcome.
func (b *Buffer) AttemptOut(ctx context.Context, seq uint64, messageID string) (*storagepb.OutRecord, error) {
	return nil, errTODO
}

// AcceptedOut notes that the router vouched for an attempt.
func (b *Buffer) AcceptedOut(seq uint64, messageID string) (*storagepb.OutRecord, error) {
	return nil, errTODO
}

// AckOut applies an acknowledgement that came from an agent. Terminal stages are durable when it returns.
func (b *Buffer) AckOut(ctx context.Context, a ack.Ack, from string) (OutChange, error) {
	return OutChange{}, errTODO
}

// ReplyOut stores a reply, durably, as the end of its operation: the one with the reply's token, else the only open one of
// its correlation if that wants a reply, else ErrUnknown.
func (b *Buffer) ReplyOut(ctx context.Context, r Reply) (OutChange, error) {
	return OutChange{}, errTODO
}

// FinishOut ends an operation by a local decision, durably. The first outcome wins: when there is one, o is kept beside
// it. A request that was FULFILLED and still waits for its reply ends as FULFILLED with note reply_missing; FULFILLED
// itself does not end a request without a reply.
func (b *Buffer) FinishOut(ctx context.Context, seq uint64, o *storagepb.Outcome) (OutChange, error) {
	return OutChange{}, errTODO
}

// FailAttemptOut closes an attempt by a local decision as AckOut does for an acknowledgement.
func (b *Buffer) FailAttemptOut(ctx context.Context, seq uint64, messageID string, e *ack.Error) (OutChange, error) {
	return OutChange{}, errTODO
}

// HandledOut notes that a finished operation's result was handed over. ErrOpen while it is active. A late reply to an
// operation without one makes it unhandled again.
func (b *Buffer) HandledOut(seq uint64) error { return errTODO }

// Out returns an operation.
func (b *Buffer) Out(seq uint64) (*storagepb.OutRecord, error) { return nil, errTODO }

// OutBody returns an operation's payload.
func (b *Buffer) OutBody(seq uint64) (*storagepb.Body, error) { return nil, errTODO }

// OutReply returns an operation's reply, ErrUnknown when it has none.
func (b *Buffer) OutReply(seq uint64) (*storagepb.Body, error) { return nil, errTODO }

// OutByMessageID returns the operation with an attempt of this id.
func (b *Buffer) OutByMessageID(id string) (*storagepb.OutRecord, error) { return nil, errTODO }

// OutByToken returns all operations with a token, oldest first.
func (b *Buffer) OutByToken(token string) ([]*storagepb.OutRecord, error) { return nil, errTODO }

// OutByCorrelation returns all operations of a conversation, oldest first.
func (b *Buffer) OutByCorrelation(id string) ([]*storagepb.OutRecord, error) { return nil, errTODO }

// OpenOut returns the active operations in the order in which they were recorded.
func (b *Buffer) OpenOut() []*storagepb.OutRecord { return nil }

// LowestOpenOut returns the lowest sequence number of an active operation, that of the next operation when none is.
func (b *Buffer) LowestOpenOut() uint64 { return 0 }

// UnhandledOut calls fn for each finished operation of an exchange that is not handled, oldest first, durable, until fn
// returns an error, or store.Stop, which it does not return. fn may use the buffer.
func (b *Buffer) UnhandledOut(exchange string, fn func(*storagepb.OutRecord) error) error {
	return errTODO
}

// RecordIn records a delivered message, durably, and tells what it is. For Repeated and Finished the record says what to
// answer.
func (b *Buffer) RecordIn(ctx context.Context, a Arrival) (Verdict, *storagepb.InRecord, error) {
	return 0, nil, errTODO
}

// CustodyIn notes that the router has recorded this agent's custody, so that the message may run.
func (b *Buffer) CustodyIn(seq uint64) error { return errTODO }

// DropIn removes a message that awaits custody and that the router has given to somebody else, durably. ErrFinished when
// it has its outcome.
func (b *Buffer) DropIn(ctx context.Context, seq uint64) error { return errTODO }

// ReadIn notes that a message was decoded and checked.
func (b *Buffer) ReadIn(seq uint64) error { return errTODO }

// StartIn counts a run of the handler and returns its number, from 1. With sync the count is durable before it returns: a
// message that was started before must not run again otherwise. Runs less forgiven_runs of the record are those that
// ended with the process.
func (b *Buffer) StartIn(ctx context.Context, seq uint64, sync bool) (run uint32, err error) {
	return 0, errTODO
}

// RetryIn notes, durably, that the handler asked to run again, and when. The run counts neither as attempt nor crash.
func (b *Buffer) RetryIn(ctx context.Context, seq uint64, next time.Time) error { return errTODO }

// DeferIn notes, durably, that the handler left the answer to a later call.
func (b *Buffer) DeferIn(ctx context.Context, seq uint64) error { return errTODO }

// FinishIn records, durably and at once, a message's outcome, its reply if there is one, and what it owes: the reply, and
// an acknowledgement for each message id that it came under and that was not answered yet. newID makes their message ids.
// ErrFinished when it has its outcome.
func (b *Buffer) FinishIn(ctx context.Context, seq uint64, o *storagepb.Outcome, reply *storagepb.Body, replyMessageID string, newID func() string) (*storagepb.InRecord, error) {
	return nil, errTODO
}

// OwedSentIn notes that the router has taken an owed envelope.
func (b *Buffer) OwedSentIn(seq uint64, messageID string) error { return errTODO }

// In returns a received message.
func (b *Buffer) In(seq uint64) (*storagepb.InRecord, error) { return nil, errTODO }

// InBody returns a received message's payload.
func (b *Buffer) InBody(seq uint64) (*storagepb.Body, error) { return nil, errTODO }

// InReply returns the reply to a received message, ErrUnknown when it has none.
func (b *Buffer) InReply(seq uint64) (*storagepb.Body, error) { return nil, errTODO }

// InByToken returns the received message with a producer, address and token.
func (b *Buffer) InByToken(from, to, token string) (*storagepb.InRecord, error) { return nil, errTODO }

// InByMessageID returns the received message that came under this id.
func (b *Buffer) InByMessageID(id string) (*storagepb.InRecord, error) { return nil, errTODO }

// OpenIn returns the active received messages in the order in which they came.
func (b *Buffer) OpenIn() []*storagepb.InRecord { return nil }

// OwingIn returns the received messages that still owe envelopes, in the order in which they ended. One that was finished
// and runs again may be among them.
func (b *Buffer) OwingIn() []*storagepb.InRecord { return nil }

// Recent returns the newest n records of both directions, oldest first.
func (b *Buffer) Recent(n int) ([]Record, error) { return nil, errTODO }

// Stats counts the records.
func (b *Buffer) Stats() Stats { return Stats{} }

// Prune removes what need not be kept any more, a little at a time.
func (b *Buffer) Prune(ctx context.Context) (PruneResult, error) { return PruneResult{}, errTODO }

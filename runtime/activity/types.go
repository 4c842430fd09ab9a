package activity

import (
	"errors"
	"time"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// Errors of a Buffer, besides those of its store, which it wraps, and *ack.Error: REJECTED with BUFFER_FULL where a limit
// is reached, REJECTED with VALIDATION_ERROR for what may not be recorded.
var (
	// ErrUnknown says that no record has the number, id or token, or not any more.
	ErrUnknown = errors.New("no such record in the activity buffer")
	// ErrFinished says that the record has its outcome already.
	ErrFinished = errors.New("the record has its outcome already")
	// ErrOpen says that the record has no outcome yet.
	ErrOpen = errors.New("the record is still open")
)

// Draft is an operation that is to be recorded.
type Draft struct {
	// Record describes the operation. Sequence, attempts, payload_bytes and what only its progress sets are ignored;
	// created_at is now unless it is given. It belongs to the buffer from then on: whoever drafts it neither uses nor
	// changes it any more.
	Record *storagepb.OutRecord
	// Body is the payload.
	Body *storagepb.Body
	// MessageID is the id of the first attempt.
	MessageID string
}

// Reply is a reply that came.
type Reply struct {
	// Token is the request's token as the reply names it; empty when it names none.
	Token         string
	CorrelationID string
	// From is the agent that replied.
	From string
	// MessageID is the reply's own.
	MessageID string
	Body      *storagepb.Body
}

// OutChange tells what an acknowledgement, reply or local decision did to an operation.
type OutChange struct {
	// Record is the operation after the change.
	Record *storagepb.OutRecord
	// OutcomeSet tells that this was the operation's outcome. A request that is FULFILLED without its reply is not yet
	// finished.
	OutcomeSet bool
	// Finished tells that this ended the operation: it is no longer active.
	Finished bool
	// Retry tells that this closed the last open attempt, and that the next one is due at Record.NextAttemptAt.
	Retry bool
	// Late tells that it came after the outcome, contradicts or adds to it, and is kept beside it.
	Late bool
	// Duplicate tells that it says nothing new.
	Duplicate bool
}

// Arrival is a message that was delivered.
type Arrival struct {
	Envelope *commonpb.Envelope
	// To is the address as the sender gave it, agent:ID or capability:NAME.
	To    string
	Class transportpb.Class
	// At is when it came, from when its time to live is counted; zero is now.
	At time.Time
	// RouterStoreID and RouterSeq name the delivery.
	RouterStoreID string
	RouterSeq     int64
	// Exchange is "package.Service/Method"; empty for foreign content types.
	Exchange string
	// AwaitsCustody says that the message must not run before CustodyIn.
	AwaitsCustody bool
	Traceparent   string
	// Retryable tells which codes of a recorded failure let a further attempt run. Default: ack.Code.RetryableByDefault.
	Retryable func(ack.Code) bool
}

// Verdict tells what a delivered message is.
type Verdict int

// The verdicts.
const (
	// New: never seen; it is to run.
	New Verdict = iota + 1
	// Repeated: the same message id was received before, and is active or finished.
	Repeated
	// Running: another attempt of an active message; it will share its outcome.
	Running
	// Finished: another attempt of a finished message; the recorded outcome holds.
	Finished
	// Rerun: a further attempt of a message whose outcome was a retryable failure, or, after the deduplication window,
	// another operation with the same key; the record is active again, its number unchanged, and it is to run.
	Rerun
)

// String returns the verdict's name.
func (v Verdict) String() string {
	switch v {
	case New:
		return "new"
	case Repeated:
		return "repeated"
	case Running:
		return "running"
	case Finished:
		return "finished"
	case Rerun:
		return "rerun"
	default:
		return "none"
	}
}

// Record is an operation or a received message: one of the two is set.
type Record struct {
	Out *storagepb.OutRecord
	In  *storagepb.InRecord
}

// Stats counts a buffer's records.
type Stats struct {
	// OutActive and InActive count what has not ended, MaxOut and MaxIn are their limits.
	OutActive, MaxOut int
	InActive, MaxIn   int
	// InOwing counts received messages that still owe envelopes.
	InOwing int
	// OutFinished, OutUnhandled and InFinished count what has ended and is kept; OutFinished includes OutUnhandled.
	OutFinished, OutUnhandled, InFinished int
	// DedupBytes is what is kept to recognise repeated messages, MaxDedupBytes its limit.
	DedupBytes, MaxDedupBytes int64
	// DataKeys counts the agent's own data, DataBytes is its size, MaxDataBytes its limit.
	DataKeys                int
	DataBytes, MaxDataBytes int64
	// Warning tells that a limit is 80 % used or more.
	Warning bool
}

// Usage is how much of a limit is used.
type Usage struct {
	// What is limited, in words, and Field of Config its limit.
	What, Field string
	// Percent is how much of the limit is used.
	Percent int
}

// Fullest returns the limit of which most is used. Warning is 80 % of any.
func (s Stats) Fullest() Usage {
	var fullest Usage
	for _, l := range []struct {
		what, field string
		n, most     int64
	}{
		{"operations", "MaxOut", int64(s.OutActive), int64(s.MaxOut)},
		{"received messages", "MaxIn", int64(s.InActive), int64(s.MaxIn)},
		{"received messages with unsent answers", "MaxIn", int64(s.InOwing), int64(s.MaxIn)},
		{"bytes kept for deduplication", "MaxDedupBytes", s.DedupBytes, s.MaxDedupBytes},
		{"bytes of handlers' data", "MaxDataBytes", s.DataBytes, s.MaxDataBytes},
	} {
		if l.most <= 0 {
			continue
		}
		if p := int(min(l.n, 1000*l.most) * 100 / l.most); fullest.What == "" || p > fullest.Percent {
			fullest = Usage{What: l.what, Field: l.field, Percent: p}
		}
	}
	return fullest
}

// PruneResult counts what Prune removed.
type PruneResult struct {
	// Out and In count records, Bodies the payloads of received messages whose records stay.
	Out, In, Bodies int
	// Unhandled counts those of Out whose result nobody had handled.
	Unhandled int
}

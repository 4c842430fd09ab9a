package offline

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// item is a line of a listing.
type item struct {
	// Kind is operation, received, waiting or dead_letter.
	Kind   string `json:"kind"`
	Number uint64 `json:"number"`
	// State is open or finished; Stage, Code and Note are the outcome's, or how far an open one has come.
	State string `json:"state"`
	Stage string `json:"stage"`
	Code  string `json:"code,omitempty"`
	Note  string `json:"note,omitempty"`
	// Peer is the address that it was sent to, or the agent that it came from.
	Peer          string        `json:"peer"`
	To            string        `json:"to,omitempty"`
	Exchange      string        `json:"exchange,omitempty"`
	Type          string        `json:"message_type,omitempty"`
	Token         string        `json:"token,omitempty"`
	CorrelationID string        `json:"correlation_id,omitempty"`
	MessageID     string        `json:"message_id"`
	Attempts      []itemAttempt `json:"attempts,omitempty"`
	// Tries counts attempts, the handler's runs or deliveries.
	Tries     int        `json:"tries"`
	Bytes     int64      `json:"payload_bytes"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Deadline  *time.Time `json:"deadline,omitempty"`
	// Handled tells that an operation's result was taken, Unhandled that it failed and nobody took that.
	Handled   bool `json:"handled,omitempty"`
	Unhandled bool `json:"failed_unhandled,omitempty"`
	Owes      int  `json:"owed_answers,omitempty"`
	// LastAgent had a message of a queue last, and Excerpt is the beginning of a dead letter's payload if that is text.
	LastAgent string `json:"last_agent,omitempty"`
	Content   string `json:"content_type,omitempty"`
	Excerpt   string `json:"excerpt,omitempty"`
	// Class says why a dead letter was given up: retryable, permanent, expired or unanswerable. Handouts are the first of its
	// deliveries and the latest; EnvelopeBytes is what it takes on disk.
	Class         string        `json:"classification,omitempty"`
	Handouts      []itemHandout `json:"deliveries,omitempty"`
	EnvelopeBytes int64         `json:"envelope_bytes,omitempty"`
}

// itemHandout is one time that the router handed a message out.
type itemHandout struct {
	Agent   string     `json:"agent"`
	At      *time.Time `json:"at,omitempty"`
	EndedAt *time.Time `json:"ended_at,omitempty"`
	End     string     `json:"end,omitempty"`
}

type itemAttempt struct {
	MessageID  string     `json:"message_id"`
	RetryCount uint32     `json:"retry_count"`
	Stage      string     `json:"stage"`
	Code       string     `json:"code,omitempty"`
	Note       string     `json:"note,omitempty"`
	CreatedAt  *time.Time `json:"created_at,omitempty"`
	AcceptedAt *time.Time `json:"accepted_at,omitempty"`
	ReceivedAt *time.Time `json:"received_at,omitempty"`
	ReadAt     *time.Time `json:"read_at,omitempty"`
	EndedAt    *time.Time `json:"ended_at,omitempty"`
}

func stamp(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}

func moment(t time.Time) *time.Time {
	if t.IsZero() || t.UnixNano() <= 0 {
		return nil
	}
	t = t.UTC()
	return &t
}

func codeName(c ack.Code) string {
	if c == ack.NoCode {
		return ""
	}
	return c.String()
}

func itemOf(r activity.Record) item {
	if r.Out != nil {
		return operationItem(r)
	}
	rec := r.In
	i := item{
		Kind: "received", Number: rec.GetSequence(), State: "open", Stage: ack.Stage(rec.GetStage()).String(), Peer: rec.GetFrom(), To: rec.GetTo(),
		Exchange: rec.GetExchange(), Type: rec.GetMessageType().String(), Token: rec.GetToken(), CorrelationID: rec.GetCorrelationId(),
		MessageID: rec.GetAliases()[len(rec.GetAliases())-1].GetMessageId(), Tries: int(rec.GetRuns()), Bytes: rec.GetPayloadBytes(),
		CreatedAt: stamp(rec.GetReceivedAt()), Owes: len(rec.GetOwed()), Content: rec.GetContentType(),
	}
	i.end(rec.GetOutcome(), r.Finished())
	return i
}

func operationItem(r activity.Record) item {
	rec := r.Out
	i := item{
		Kind: "operation", Number: rec.GetSequence(), State: "open", Peer: rec.GetTo(), Exchange: rec.GetExchange(),
		Type: rec.GetMessageType().String(), Token: rec.GetToken(), CorrelationID: rec.GetCorrelationId(), Tries: len(rec.GetAttempts()),
		Bytes: rec.GetPayloadBytes(), CreatedAt: stamp(rec.GetCreatedAt()), Deadline: stamp(rec.GetDeadline()), Handled: rec.GetHandled(),
		Unhandled: r.FailedUnhandled(),
	}
	for _, a := range rec.GetAttempts() {
		i.MessageID, i.Stage = a.GetMessageId(), progress(a)
		i.Attempts = append(i.Attempts, itemAttempt{
			MessageID: a.GetMessageId(), RetryCount: a.GetRetryCount(), Stage: progress(a), Code: codeName(ack.Code(a.GetCode())), Note: a.GetNote(),
			CreatedAt: stamp(a.GetCreatedAt()), AcceptedAt: stamp(a.GetAcceptedAt()), ReceivedAt: stamp(a.GetReceivedAt()),
			ReadAt: stamp(a.GetReadAt()), EndedAt: stamp(a.GetEndedAt()),
		})
	}
	i.end(rec.GetOutcome(), r.Finished())
	if i.Unhandled && i.Stage == ack.Fulfilled.String() && i.Note == "" {
		i.Note = "its reply is missing"
	}
	return i
}

// progress is how far an attempt has come; before its first stage, whether the router vouches for it.
func progress(a *storagepb.Attempt) string {
	switch {
	case a.GetStage() != 0:
		return ack.Stage(a.GetStage()).String()
	case a.GetAcceptedAt() != nil:
		return "ACCEPTED"
	default:
		return "STORED"
	}
}

func (i *item) end(o *storagepb.Outcome, finished bool) {
	if o != nil {
		i.Stage, i.Code, i.Note, i.EndedAt = ack.Stage(o.GetStage()).String(), codeName(ack.Code(o.GetCode())), o.GetNote(), stamp(o.GetAt())
	}
	if finished {
		i.State = "finished"
	}
}

func waitingItem(w kv.Waiting) item {
	return item{
		Kind: "waiting", Number: uint64(w.Seq), State: "open", Stage: "QUEUED", Peer: w.Producer, To: w.To, Type: w.Envelope.GetMessageType().String(),
		Token: w.Envelope.GetIdempotencyToken(), CorrelationID: w.Envelope.GetCorrelationId(), MessageID: w.MessageID, Tries: w.Deliveries,
		Bytes: int64(len(w.Envelope.GetPayload())), CreatedAt: moment(w.AcceptedAt), LastAgent: w.LastAgent, Content: w.Envelope.GetContentType(),
	}
}

// maxExcerpt is how many bytes of a dead letter's payload are shown.
const maxExcerpt = 256

func deadItem(d queue.DeadLetter) item {
	payload := d.Envelope.GetPayload()
	var handouts []itemHandout
	for _, h := range d.Handouts {
		handouts = append(handouts, itemHandout{h.Agent, moment(h.At), moment(h.EndedAt), h.End})
	}
	return item{
		Kind: "dead_letter", Number: uint64(d.Seq), State: "finished", Stage: "DEAD", Code: codeName(d.Code), Note: d.Reason,
		Class: string(d.Kind), Handouts: handouts, EnvelopeBytes: d.Bytes, Peer: d.Envelope.GetProducerId(), To: d.To,
		Type: d.Envelope.GetMessageType().String(), Token: d.Envelope.GetIdempotencyToken(), CorrelationID: d.Envelope.GetCorrelationId(),
		MessageID: d.Envelope.GetMessageId(), Tries: d.Deliveries, Bytes: int64(len(payload)), CreatedAt: moment(d.AcceptedAt),
		EndedAt: moment(d.DiedAt), Content: d.Envelope.GetContentType(), Excerpt: excerpt(payload),
	}
}

package router

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// maxNote is the largest length of a refusal's text in bytes.
const maxNote = 1 << 10

// submission is an envelope that somebody hands over.
type submission struct {
	envelope *commonpb.Envelope
	// named are the recipients that stand beside the envelope.
	named []string
	// class is what the sender says, CLASS_UNSPECIFIED where it says nothing.
	class        transportpb.Class
	from         queue.Holder
	deadlineLeft time.Duration
	lowestOpen   uint64
}

// prepare checks a submission and finds its recipient. A refusal is an *ack.Error; other errors are the engine's.
func (r *Router) prepare(ctx context.Context, s submission) (queue.Message, error) {
	e := s.envelope
	if err := envelope.Validate(e, envelope.Limits{MaxBytes: r.maxBytes}); err != nil {
		return queue.Message{}, err
	}
	if e.GetProducerId() == address.RouterID {
		return queue.Message{}, ack.Rejectf(ack.PermissionDenied, "producer_id %q is reserved", address.RouterID)
	}
	if e.GetProducerId() != s.from.Agent {
		return queue.Message{}, ack.Rejectf(ack.PermissionDenied, "producer_id %q is not %q, which sends it", e.GetProducerId(), s.from.Agent)
	}
	l := letter{envelope: e, named: s.named}
	var err error
	if e.GetContentType() != "" {
		if l.contentType, err = envelope.ParseContentType(e.GetContentType()); err != nil {
			return queue.Message{}, ack.Rejectf(ack.ValidationError, "%v", err)
		}
	}
	if l.class, err = checkClass(s.class, e, l.contentType); err != nil {
		return queue.Message{}, err
	}
	var acked ack.Ack
	if l.class == transportpb.Class_CLASS_SIGNAL {
		if acked, l.acked, l.known, err = r.acknowledged(ctx, e); err != nil {
			return queue.Message{}, err
		}
	}
	to, err := r.recipient(l)
	if err != nil {
		return queue.Message{}, err
	}
	m := queue.Message{
		Envelope: e, To: to.String(), Class: l.class, From: s.from,
		DeadlineLeft: s.deadlineLeft, LowestOpen: s.lowestOpen, At: time.Now(),
	}
	if l.known && acked.Stage.Terminal() {
		m.Ends = &queue.Outcome{MessageID: acked.ForMessageID, Stage: acked.Stage, Code: acked.Code, Note: acked.Note}
	}
	return m, nil
}

// accept hands a prepared message to the engine.
func (r *Router) accept(ctx context.Context, m queue.Message) (queue.Receipt, error) {
	receipt, err := r.engine.Accept(ctx, m)
	if err != nil {
		return nil, r.failure(ctx, "accept", err)
	}
	return receipt, nil
}

// settle waits until the answer for an accepted message is durable.
func (r *Router) settle(ctx context.Context, m queue.Message, receipt queue.Receipt) (queue.Answer, error) {
	answer, err := receipt.Answer(ctx)
	if err != nil {
		return queue.Answer{}, r.failure(ctx, "accept", err)
	}
	if ttl := m.Envelope.GetTtlMs(); ttl > 0 && answer.State == transportpb.Answer_STATE_NEW {
		r.house.by(m.At.Add(milliseconds(ttl)))
	}
	return answer, nil
}

// milliseconds is n ms, or the longest duration when n is beyond it.
func milliseconds(n uint64) time.Duration {
	if n > uint64(math.MaxInt64/int64(time.Millisecond)) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Millisecond
}

// refusalOf returns the answer that a refused submission gets, false when err is no refusal.
func refusalOf(err error) (queue.Answer, bool) {
	var e *ack.Error
	if !errors.As(err, &e) {
		return queue.Answer{}, false
	}
	// The note may quote what a peer wrote; frames hold valid text only.
	note := strings.ToValidUTF8(e.Note[:min(len(e.Note), maxNote)], "")
	return queue.Answer{State: transportpb.Answer_STATE_REFUSED, Stage: e.Stage, Code: e.Code, Note: note}, true
}

package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// maxKeyBytes bounds a caller's key.
const maxKeyBytes = 1 << 10

// Send implements exchange.Sender. Refusals are *ack.Error.
func (a *Agent) Send(ctx context.Context, out *exchange.Outgoing) (exchange.Operation, error) {
	if a == nil {
		return nil, ErrClosed
	}
	if out == nil || out.Exchange == nil {
		return nil, ack.Rejectf(ack.ValidationError, "there is no message to send")
	}
	op, err := a.sendFn(ctx, out)
	if err != nil {
		return nil, fmt.Errorf("send %s to %s: %w", out.Exchange.Name(), out.To, err)
	}
	return op, nil
}

// Resume implements exchange.Sender.
func (a *Agent) Resume(_ context.Context, d *exchange.Descriptor, ref exchange.Ref) (exchange.Operation, error) {
	if a == nil {
		return nil, ErrClosed
	}
	seq, err := a.parseRef("out", ref)
	if err != nil {
		return nil, err
	}
	rec, err := a.buf.Out(seq)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", ref, unknownRef(err))
	}
	if rec.GetExchange() != d.Name() {
		return nil, fmt.Errorf("%q is an operation of %s, not of %s: %w", ref, rec.GetExchange(), d.Name(), exchange.ErrUnknownRef)
	}
	if endOf(rec) > 0 { // it may have ended a moment ago
		if err := a.buf.Settle(a.base); err != nil {
			return nil, storeFailed(err)
		}
	}
	a.reg.learn(d)
	return a.handle(rec, d, nil), nil
}

// send stores one message; it is the innermost of the send chain.
func (a *Agent) send(ctx context.Context, out *exchange.Outgoing) (exchange.Operation, error) {
	if err := a.maySend(ctx, out); err != nil {
		return nil, err
	}
	draft, err := a.draft(ctx, out)
	if err != nil {
		return nil, err
	}
	a.reg.learn(out.Exchange)
	rec, existed, err := a.buf.RecordOut(ctx, draft)
	if errors.Is(err, store.ErrFailed) {
		a.failure("store a message", err)
		return nil, storeFailed(err)
	}
	if errors.Is(err, store.ErrClosed) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, err
	}
	if existed {
		return a.streaming(a.handle(rec, out.Exchange, nil), out), nil
	}
	return a.streaming(a.handle(rec, out.Exchange, draft.Body), out), nil
}

func (a *Agent) maySend(ctx context.Context, out *exchange.Outgoing) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := a.Err(); err != nil {
		return err
	}
	switch a.phase() {
	case closed:
		return ErrClosed
	case created:
		if out.Caller {
			return ErrNotStarted
		}
	}
	if err := out.Exchange.Validate(); err != nil {
		return ack.Rejectf(ack.ValidationError, "%v", err)
	}
	if err := out.Policy.Validate(); err != nil {
		return ack.Rejectf(ack.ValidationError, "%v", err)
	}
	if err := tellable(out); err != nil {
		return ack.Rejectf(ack.ValidationError, "%v", err)
	}
	if err := out.To.Validate(); err != nil {
		return ack.Rejectf(ack.ValidationError, "%v", err)
	}
	if len(out.Key) > maxKeyBytes {
		return ack.Rejectf(ack.ValidationError, "the key has %d bytes. Fix: use at most %d", len(out.Key), maxKeyBytes)
	}
	for what, id := range map[string]string{"correlation id": out.CorrelationID, "parent correlation id": out.ParentCorrelationID} {
		if id == "" {
			continue
		}
		if err := envelope.CheckID(what, id); err != nil {
			return ack.Rejectf(ack.ValidationError, "%v", err)
		}
	}
	return nil
}

// draft makes the record of a new operation.
func (a *Agent) draft(ctx context.Context, out *exchange.Outgoing) (activity.Draft, error) {
	payload, err := envelope.Encode(out.Message, out.Policy.Format)
	if err != nil {
		return activity.Draft{}, err
	}
	body := &storagepb.Body{ContentType: contentType(out, requestParams(out)), Payload: payload}
	now := time.Now()
	rec := &storagepb.OutRecord{
		To:                  out.To.String(),
		Class:               transportpb.Class_CLASS_WORK,
		Exchange:            out.Exchange.Name(),
		MessageType:         commonpb.MessageType(out.Policy.MessageType),
		CorrelationId:       out.CorrelationID,
		ParentCorrelationId: out.ParentCorrelationID,
		RepoId:              out.RepoID,
		WorktreeId:          out.WorktreeID,
		CreatedAt:           timestamppb.New(now),
		Deadline:            timestamppb.New(now.Add(patience(out))),
		TtlMs:               milliseconds(out.Policy.TTL),
		WantsReply:          out.Exchange.Kind() != exchange.KindOneWay,
		Streams:             out.Exchange.Kind() == exchange.KindStream,
		Window:              announcedWindow(out),
		AckTimeoutNs:        int64(out.Policy.AckTimeout),
		Retry:               storedRetry(out.Policy.Retry),
	}
	info, handling := exchange.InfoFrom(ctx)
	if rec.CorrelationId == "" && handling {
		rec.CorrelationId = info.CorrelationID
	}
	if rec.CorrelationId == "" {
		rec.CorrelationId = envelope.NewID()
	}
	d := activity.Draft{Record: rec, Body: body, MessageID: envelope.NewID()}
	if err := a.name(ctx, out, &d); err != nil {
		return activity.Draft{}, err
	}
	probe := a.envelope(rec, &storagepb.Attempt{MessageId: d.MessageID}, body, now)
	if err := envelope.Validate(probe, a.limits); err != nil {
		return activity.Draft{}, err
	}
	return d, nil
}

// name gives the operation its token: from the caller's own key, from the payload where the exchange says so, inside a
// handler from the message that it handles, else from the id of the first attempt.
func (a *Agent) name(ctx context.Context, out *exchange.Outgoing, d *activity.Draft) error {
	var key []byte
	task := taskFrom(ctx)
	switch {
	case out.Key != "":
		d.Record.KeyKind, key = storagepb.KeyKind_KEY_KIND_CALLER, []byte(out.Key)
		hash := sha256.Sum256(append([]byte(contentType(out, nil)+"\n"), d.Body.GetPayload()...))
		d.Record.PayloadHash = hash[:]
	case out.Policy.Idempotency == exchange.ByContent:
		content, err := out.ContentKey()
		if err != nil {
			return ack.Rejectf(ack.ValidationError, "%v", err)
		}
		d.Record.KeyKind, key = storagepb.KeyKind_KEY_KIND_CONTENT, content
	case task != nil:
		d.Record.KeyKind, key = storagepb.KeyKind_KEY_KIND_DERIVED, task.deriveKey(out)
		d.Record.ParentToken = task.rec.GetToken()
	default:
		d.Record.KeyKind, key = storagepb.KeyKind_KEY_KIND_CALL, []byte(d.MessageID)
	}
	token, err := envelope.Token(a.cfg.ID, out.Exchange.Name(), key)
	if err != nil {
		return ack.Rejectf(ack.ValidationError, "%v", err)
	}
	d.Record.Token = token
	return nil
}

// patience is how long the operation may take: a caller that waits ends it with the reply timeout, but for a stream, which
// has the timeout for each frame.
func patience(out *exchange.Outgoing) time.Duration {
	if out.Caller && out.Policy.ReplyTimeout > 0 && out.Exchange.Kind() != exchange.KindStream {
		return min(out.Policy.ReplyTimeout, out.Policy.Deadline)
	}
	return out.Policy.Deadline
}

// contentType names the exchange, unless the call has a content type of its own.
func contentType(out *exchange.Outgoing, params []envelope.Param) string {
	if out.Policy.ContentType != "" {
		return out.Policy.ContentType
	}
	ct := envelope.ContentType{Media: envelope.Media(out.Policy.Format), Message: out.Exchange.RequestName(), Extra: params}
	if !out.Exchange.Standalone() {
		ct.Method = out.Exchange.Name()
	}
	return ct.String()
}

// milliseconds rounds up, so that what has time left is never sent as unlimited.
func milliseconds(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}

func storedRetry(p exchange.RetryPolicy) *storagepb.RetryPolicy {
	r := &storagepb.RetryPolicy{
		MaxAttempts:      int32(min(p.MaxAttempts, 1<<30)),
		InitialBackoffNs: int64(p.InitialBackoff),
		MaxBackoffNs:     int64(p.MaxBackoff),
		Multiplier:       p.Multiplier,
	}
	for _, c := range p.Codes {
		r.Codes = append(r.Codes, commonpb.ErrorCode(c))
	}
	return r
}

// envelope makes the transmission of one attempt.
func (a *Agent) envelope(rec *storagepb.OutRecord, at *storagepb.Attempt, body *storagepb.Body, now time.Time) *commonpb.Envelope {
	return &commonpb.Envelope{
		MessageId:           at.GetMessageId(),
		IdempotencyToken:    rec.GetToken(),
		ProducerId:          a.cfg.ID,
		CorrelationId:       rec.GetCorrelationId(),
		SequenceNumber:      rec.GetSequence(),
		RetryCount:          at.GetRetryCount(),
		MessageType:         rec.GetMessageType(),
		ContentType:         body.GetContentType(),
		ContentLength:       uint64(len(body.GetPayload())),
		RepoId:              rec.GetRepoId(),
		WorktreeId:          rec.GetWorktreeId(),
		HlcTimestamp:        a.clock.Now(),
		TtlMs:               ttlLeft(rec, now),
		Timestamp:           timestamppb.New(now),
		Payload:             body.GetPayload(),
		State:               commonpb.EnvelopeState_ENVELOPE_STATE_SENT,
		ParentCorrelationId: rec.GetParentCorrelationId(),
	}
}

// ttlLeft is what is left of the time to live, at least 1 where there is one, and never more than there was: a clock that was
// set back gives none.
func ttlLeft(rec *storagepb.OutRecord, now time.Time) uint64 {
	if rec.GetTtlMs() == 0 {
		return 0
	}
	return min(max(1, milliseconds(ttlEnd(rec).Sub(now))), rec.GetTtlMs())
}

func ttlEnd(rec *storagepb.OutRecord) time.Time {
	return rec.GetCreatedAt().AsTime().Add(time.Duration(rec.GetTtlMs()) * time.Millisecond)
}

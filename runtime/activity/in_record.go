package activity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// maxAliases bounds the message ids that one record answers to; beyond it the oldest is forgotten.
const maxAliases = 64

// RecordIn records a delivered message, durably, and tells what it is; for a repeated one it waits until what was recorded
// before is durable. A message is known by producer, address and token, or by producer and message id when it has no
// token. For Repeated and Finished the record says what to answer. Beyond MaxIn, and when MaxDedupBytes is used up
// or the disk is nearly full, new messages are refused as BUFFER_FULL.
func (b *Buffer) RecordIn(ctx context.Context, a Arrival) (Verdict, *storagepb.InRecord, error) {
	if a.Envelope.GetMessageId() == "" || a.Envelope.GetProducerId() == "" {
		return 0, nil, ack.Rejectf(ack.ValidationError, "the envelope has no message_id or no producer_id")
	}
	if a.Retryable == nil {
		a.Retryable = ack.Code.RetryableByDefault
	}
	// A large payload is not copied under the lock.
	body, err := encode(&storagepb.Body{ContentType: a.Envelope.GetContentType(), Payload: a.Envelope.GetPayload()})
	if err != nil {
		return 0, nil, fmt.Errorf("record a received message: %w", err)
	}
	b.mu.Lock()
	v, rec, mark, err := b.recordIn(a, body)
	b.mu.Unlock()
	if err != nil {
		return 0, nil, fmt.Errorf("record a received message: %w", err)
	}
	return v, rec, b.wait(ctx, mark)
}

func (b *Buffer) recordIn(a Arrival, body []byte) (Verdict, *storagepb.InRecord, store.Mark, error) {
	e := a.Envelope
	key := dedupKey(e.GetProducerId(), a.To, e.GetIdempotencyToken(), e.GetMessageId())
	was, _, err := b.inByKey(key)
	switch {
	case errors.Is(err, ErrUnknown):
		rec, mark, err := b.recordNew(a, body)
		return New, rec, mark, err
	case err != nil:
		return 0, nil, 0, err
	case aliasOf(was, e.GetMessageId()) != nil:
		return b.repeated(was, a)
	case was.GetFinished() == 0:
		t := b.begin()
		rec := t.withAlias(was, e, false)
		if Awaited(rec) == e.GetMessageId() {
			rec.RouterStoreId, rec.RouterSeq = a.RouterStoreID, a.RouterSeq
		}
		mark, err := b.replaceIn(t, rec, true, "add a message id")
		return Running, rec, mark, err
	case b.renewed(was, a):
		renewed := copyIn(was)
		for _, known := range renewed.GetAliases() {
			known.Earlier = true
		}
		rec, mark, err := b.reopen(renewed, a, body)
		return Rerun, rec, mark, err
	case mayRerun(was, a):
		rec, mark, err := b.reopen(was, a, body)
		return Rerun, rec, mark, err
	default:
		t := b.begin()
		rec := t.withAlias(was, e, true)
		t.batch.Set(textKey(keyInMessage, e.GetMessageId(), e.GetProducerId()), encodeNumber(rec.GetSequence()))
		mark, err := b.replaceIn(t, rec, true, "add a message id")
		return Finished, rec, mark, err
	}
}

// repeated deals with a message id that is known. The router may name its delivery otherwise than before; that of another
// attempt than the awaited one says nothing of who has this one.
func (b *Buffer) repeated(was *storagepb.InRecord, a Arrival) (Verdict, *storagepb.InRecord, store.Mark, error) {
	mark := b.markOfIn(was.GetSequence())
	same := was.GetRouterStoreId() == a.RouterStoreID && was.GetRouterSeq() == a.RouterSeq
	if was.GetFinished() != 0 || same || Awaited(was) != a.Envelope.GetMessageId() {
		return Repeated, was, mark, nil
	}
	rec := copyIn(was)
	rec.RouterStoreId, rec.RouterSeq = a.RouterStoreID, a.RouterSeq
	_, err := b.replaceIn(b.begin(), rec, false, "note a redelivery")
	return Repeated, rec, mark, err
}

// Awaited returns the id of the attempt that an unfinished message is active for: the latest one that is not answered.
func Awaited(rec *storagepb.InRecord) string {
	var latest *storagepb.Alias
	for _, known := range rec.GetAliases() {
		if !known.GetAnswered() && (latest == nil || known.GetRetryCount() >= latest.GetRetryCount()) {
			latest = known
		}
	}
	return latest.GetMessageId()
}

// room returns an error when no message can become active.
func (b *Buffer) room() error {
	if err := store.Room(b.store); err != nil {
		return ack.Rejectf(ack.BufferFull, "%v", err)
	}
	switch n := b.meta.totals.dedupBytes(); {
	case b.in.active >= b.cfg.MaxIn:
		return ack.Rejectf(ack.BufferFull, "%d received messages are open, the limit is %d. Fix: try again later, or raise the receiver's Config.MaxIn",
			b.in.active, b.cfg.MaxIn)
	case len(b.in.owing) >= b.cfg.MaxIn:
		return ack.Rejectf(ack.BufferFull, "%d received messages wait for their answers to be sent, the limit is %d. "+
			"Fix: try again later, or raise the receiver's Config.MaxIn", len(b.in.owing), b.cfg.MaxIn)
	case n >= b.cfg.MaxDedupBytes:
		return ack.Rejectf(ack.BufferFull, "%d bytes are kept for deduplication, the limit is %d. "+
			"Fix: try again later, or raise the receiver's Config.MaxDedupBytes", n, b.cfg.MaxDedupBytes)
	default:
		return nil
	}
}

func (b *Buffer) recordNew(a Arrival, body []byte) (*storagepb.InRecord, store.Mark, error) {
	if err := b.room(); err != nil {
		return nil, 0, err
	}
	t := b.begin()
	rec := &storagepb.InRecord{
		Sequence: t.meta.in.take(),
		Token:    a.Envelope.GetIdempotencyToken(),
		From:     a.Envelope.GetProducerId(),
		To:       a.To,
		Aliases:  []*storagepb.Alias{{MessageId: a.Envelope.GetMessageId(), RetryCount: a.Envelope.GetRetryCount()}},
	}
	b.arrived(rec, a)
	mark, err := b.activate(t, rec, body)
	return rec, mark, err
}

// arrived fills in what each arrival says anew.
func (b *Buffer) arrived(rec *storagepb.InRecord, a Arrival) {
	e := a.Envelope
	rec.RouterStoreId, rec.RouterSeq, rec.AwaitsCustody = a.RouterStoreID, a.RouterSeq, a.AwaitsCustody
	rec.Class, rec.Exchange, rec.Traceparent = a.Class, a.Exchange, a.Traceparent
	rec.MessageType = e.GetMessageType()
	rec.CorrelationId, rec.ParentCorrelationId = e.GetCorrelationId(), e.GetParentCorrelationId()
	rec.RepoId, rec.WorktreeId = e.GetRepoId(), e.GetWorktreeId()
	rec.ProducerSequence = e.GetSequenceNumber()
	rec.Stage = commonpb.AckStage_RECEIVED
	if rec.ReceivedAt = b.stamp(); !a.At.IsZero() {
		rec.ReceivedAt = timestamppb.New(a.At)
	}
	rec.TtlMs = e.GetTtlMs()
	rec.PayloadBytes = int64(len(e.GetPayload()))
	rec.ContentType = e.GetContentType()
}

// activate commits a message that becomes active, with its payload.
func (b *Buffer) activate(t *tx, rec *storagepb.InRecord, body []byte) (store.Mark, error) {
	seq := rec.GetSequence()
	if _, err := t.set(numberKey(keyInActive, seq), rec); err != nil {
		return 0, err
	}
	t.batch.Set(numberKey(keyInBody, seq), body)
	mark, err := b.commit(t, true, "write it")
	if err != nil {
		return 0, err
	}
	b.in.activate(rec, mark)
	return mark, nil
}

// withAlias returns a copy of a record with one more message id.
func (t *tx) withAlias(was *storagepb.InRecord, e *commonpb.Envelope, answered bool) *storagepb.InRecord {
	rec := copyIn(was)
	if len(rec.GetAliases()) >= maxAliases {
		t.batch.Delete(textKey(keyInMessage, rec.GetAliases()[0].GetMessageId(), rec.GetFrom()))
		rec.Aliases = slices.Delete(rec.Aliases, 0, 1)
	}
	rec.Aliases = append(rec.Aliases, &storagepb.Alias{
		MessageId: e.GetMessageId(), RetryCount: e.GetRetryCount(), Answered: answered,
	})
	return rec
}

// mayRerun tells whether a further attempt of a message that has ended is to run.
func mayRerun(rec *storagepb.InRecord, a Arrival) bool {
	o := rec.GetOutcome()
	if o.GetStage() == commonpb.AckStage_FULFILLED || strings.HasPrefix(o.GetNote(), notePoison) || !a.Retryable(ack.Code(o.GetCode())) {
		return false
	}
	for _, known := range rec.GetAliases() {
		if !known.GetEarlier() && known.GetRetryCount() >= a.Envelope.GetRetryCount() {
			return false
		}
	}
	return true
}

// renewed tells whether a message that has ended comes again as another operation: its producer has forgotten the outcome
// of a content key or caller's key, since the window is over, and has numbered the message anew.
func (b *Buffer) renewed(rec *storagepb.InRecord, a Arrival) bool {
	return a.Envelope.GetRetryCount() == 0 && a.Envelope.GetSequenceNumber() != rec.GetProducerSequence() &&
		b.cfg.Now().Sub(rec.GetOutcome().GetAt().AsTime()) >= b.cfg.DedupWindow
}

// reopen makes a message that has ended active again for a further attempt.
func (b *Buffer) reopen(was *storagepb.InRecord, a Arrival, body []byte) (*storagepb.InRecord, store.Mark, error) {
	if err := b.room(); err != nil {
		return nil, 0, err
	}
	c, k, err := b.keptIn(was)
	if err != nil {
		return nil, 0, err
	}
	t := b.begin()
	seq := was.GetSequence()
	t.drop(c, k)
	t.batch.Delete(numberKey(keyInDone, seq))
	if was.GetHasReply() {
		t.batch.Delete(numberKey(keyInReply, seq))
	}
	// The indexes by message id and token stay: they name the same record once it has ended again.
	rec := t.withAlias(was, a.Envelope, false)
	b.arrived(rec, a)
	rec.Outcome, rec.HasReply, rec.Finished, rec.NextRunAt, rec.Deferred = nil, false, 0, nil, false
	rec.ForgivenRuns = rec.GetRuns()
	// What tells of the earlier end besides its acknowledgements would tell of this one now.
	rec.Owed = slices.DeleteFunc(rec.Owed, func(o *storagepb.Owed) bool { return o.GetAckFor() == "" })
	stream, err := t.reopenInStream(rec)
	if err != nil {
		return nil, 0, err
	}
	t.meta.lowIn = min(t.meta.lowIn, seq)
	mark, err := b.activate(t, rec, body)
	if err == nil {
		b.in.entries[seq].stream = stream
		b.frameBytes += stream.GetBytes()
	}
	return rec, mark, err
}

// DropIn removes a message that awaits custody and that the router has given to somebody else, durably. ErrFinished when
// it does not await custody.
func (b *Buffer) DropIn(ctx context.Context, seq uint64) error {
	b.mu.Lock()
	mark, err := b.dropIn(seq)
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("drop a received message: %w", err)
	}
	return b.wait(ctx, mark)
}

func (b *Buffer) dropIn(seq uint64) (store.Mark, error) {
	e, err := b.activeIn(seq)
	if err != nil {
		return 0, err
	}
	rec := e.rec
	if !rec.GetAwaitsCustody() {
		return 0, fmt.Errorf("received message %d does not await custody: %w", seq, ErrFinished)
	}
	t := b.begin()
	t.batch.Delete(numberKey(keyInActive, seq))
	t.batch.Delete(numberKey(keyInBody, seq))
	t.forgetIn(rec) // of an earlier end
	if e.stream != nil {
		t.removeFrames(keyInFrame, seq)
		t.batch.Delete(numberKey(keyInStream, seq))
	}
	if e.owed != 0 {
		t.batch.Delete(numberKey(keyInOwing, e.owed))
	}
	mark, err := b.commit(t, true, "remove it")
	if err != nil {
		return 0, err
	}
	b.in.deactivate(rec)
	b.in.settled(e)
	b.frameBytes -= e.stream.GetBytes()
	delete(b.in.entries, seq)
	return mark, nil
}

// forgetIn removes the indexes of a finished message.
func (t *tx) forgetIn(rec *storagepb.InRecord) {
	t.batch.Delete([]byte(dedupKeyOf(rec)))
	for _, a := range rec.GetAliases() {
		t.batch.Delete(textKey(keyInMessage, a.GetMessageId(), rec.GetFrom()))
	}
}

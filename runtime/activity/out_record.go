package activity

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// RecordOut records an operation with its first attempt, durably. When an operation with the same key exists, it returns
// that one, and existed: one with the same token and address that is active, that ended within the deduplication window,
// or, for a derived token, that is still there. A caller's key with another payload is refused as VALIDATION_ERROR, note
// token_reused; beyond MaxOut, and when the disk is nearly full, the operation is refused as BUFFER_FULL.
func (b *Buffer) RecordOut(ctx context.Context, d Draft) (rec *storagepb.OutRecord, existed bool, err error) {
	switch {
	case d.Record == nil:
		return nil, false, ack.Rejectf(ack.ValidationError, "there is no operation to record")
	case d.MessageID == "":
		return nil, false, ack.Rejectf(ack.ValidationError, "the operation's first attempt has no message_id")
	case d.Record.GetToken() == "":
		return nil, false, ack.Rejectf(ack.ValidationError, "the operation has no token")
	}
	body := d.Body
	if body == nil {
		body = &storagepb.Body{}
	}
	// What takes long is done before the lock is taken, so that many senders get into one sync.
	n := b.drafts.Get().(*newOut)
	defer func() {
		n.rec, n.entry = nil, nil
		b.drafts.Put(n)
	}()
	if err := n.draw(d, body, b.stamp()); err != nil {
		return nil, false, fmt.Errorf("record an operation: %w", err)
	}
	b.mu.Lock()
	rec, existed, mark, err := b.recordOut(n)
	b.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	return rec, existed, b.wait(ctx, mark)
}

// newOut is an operation that is about to be recorded: all of it but its sequence. It is used again, with its memory.
type newOut struct {
	rec           *storagepb.OutRecord
	entry         *outEntry
	encoded, body []byte
	keys          []byte
}

// freshOut is the memory that an operation and its first attempt take together.
type freshOut struct {
	outEntry
	attempt  storagepb.Attempt
	attempts [1]*storagepb.Attempt
}

// draw makes n of a draft.
func (n *newOut) draw(d Draft, body *storagepb.Body, now *timestamppb.Timestamp) (err error) {
	rec := d.Record
	rec.Sequence = 0
	if rec.GetCreatedAt() == nil {
		rec.CreatedAt = now
	}
	e := &freshOut{outEntry: outEntry{rec: rec}}
	e.attempt.MessageId, e.attempt.CreatedAt = d.MessageID, now
	e.attempts[0] = &e.attempt
	rec.Attempts = e.attempts[:]
	rec.PayloadBytes = int64(len(body.GetPayload()))
	rec.NextAttemptAt, rec.Outcome, rec.HasReply, rec.Late, rec.Handled, rec.Finished = nil, nil, false, nil, false, 0
	rec.ReplyMessageId, rec.Stream = "", nil
	n.rec, n.entry = rec, &e.outEntry
	if n.encoded, err = appendEncoded(n.encoded[:0], rec); err != nil {
		return err
	}
	n.body, err = appendEncoded(n.body[:0], body)
	return err
}

// put adds the operation to a change under its sequence.
func (n *newOut) put(batch *store.Batch) {
	seq := n.rec.GetSequence()
	// Fields of a message may come in any order, so the one that was missing goes to the end.
	n.encoded = protowire.AppendVarint(protowire.AppendTag(n.encoded, sequenceField, protowire.VarintType), seq)
	n.keys = appendNumberKey(n.keys[:0], keyOutActive, seq)
	first := len(n.keys)
	n.keys = appendNumberKey(n.keys, keyOutBody, seq)
	batch.Set(n.keys[:first:first], n.encoded)
	batch.Set(n.keys[first:], n.body)
}

func (b *Buffer) recordOut(n *newOut) (*storagepb.OutRecord, bool, store.Mark, error) {
	const what = "record an operation"
	rec, kind := n.rec, n.rec.GetKeyKind()
	same, err := b.outByKey(rec.GetToken(), rec.GetTo(), kind)
	switch {
	case err == nil:
		if kind == storagepb.KeyKind_KEY_KIND_CALLER && !bytes.Equal(same.GetPayloadHash(), rec.GetPayloadHash()) {
			return nil, false, 0, ack.Rejectf(ack.ValidationError, "token_reused: the key of %s was used with another payload. Fix: use a key for one payload only", rec.GetToken())
		}
		return same, true, b.markOf(same), nil
	case !errors.Is(err, ErrUnknown):
		return nil, false, 0, fmt.Errorf("%s: %w", what, err)
	}
	if err := store.Room(b.store); err != nil {
		return nil, false, 0, ack.Rejectf(ack.BufferFull, "%v", err)
	}
	if open := len(b.out.entries); open >= b.cfg.MaxOut {
		return nil, false, 0, ack.Rejectf(ack.BufferFull, "%d operations are open, the limit is %d. Fix: wait until some have ended, or raise Config.MaxOut", open, b.cfg.MaxOut)
	}
	if kept := b.meta.totals.dedupBytes(); keyed(kind) && kept >= b.cfg.MaxDedupBytes {
		return nil, false, 0, ack.Rejectf(ack.BufferFull, "%d bytes are kept for deduplication, the limit is %d. Fix: try again when older outcomes have gone, "+
			"send without a key, or raise Config.MaxDedupBytes", kept, b.cfg.MaxDedupBytes)
	}
	id := rec.GetAttempts()[0].GetMessageId()
	if b.out.byMessage[id] != nil {
		return nil, false, 0, ack.Rejectf(ack.ValidationError, "message_id %q is another operation's", id)
	}
	t := b.begin()
	rec.Sequence = t.meta.out.take()
	n.put(&t.batch)
	mark, err := b.commit(t, true, what)
	if err != nil {
		return nil, false, 0, err
	}
	n.entry.mark = mark
	b.out.add(n.entry)
	return rec, false, mark, nil
}

// sequenceField is the number of OutRecord.sequence.
const sequenceField = 1

// AttemptOut adds an attempt with a new message id, durably, and takes back the wait for it. An id that the operation has
// already changes nothing. ErrFinished when the operation has its outcome.
func (b *Buffer) AttemptOut(ctx context.Context, seq uint64, messageID string) (*storagepb.OutRecord, error) {
	if messageID == "" {
		return nil, ack.Rejectf(ack.ValidationError, "the attempt has no message_id")
	}
	b.mu.Lock()
	rec, mark, err := b.attemptOut(seq, messageID)
	b.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("record an attempt: %w", err)
	}
	return rec, b.wait(ctx, mark)
}

func (b *Buffer) attemptOut(seq uint64, messageID string) (*storagepb.OutRecord, store.Mark, error) {
	e, err := b.activeOut(seq)
	if err != nil {
		return nil, 0, err
	}
	if attemptOf(e.rec, messageID) != nil {
		return e.rec, e.mark, nil
	}
	if e.rec.GetOutcome() != nil {
		return nil, 0, fmt.Errorf("operation %d: %w", seq, ErrFinished)
	}
	if b.out.byMessage[messageID] != nil {
		return nil, 0, ack.Rejectf(ack.ValidationError, "message_id %q is another operation's", messageID)
	}
	rec := copyOut(e.rec)
	rec.Attempts = append(rec.Attempts, &storagepb.Attempt{
		MessageId: messageID, RetryCount: lastAttempt(rec).GetRetryCount() + 1, CreatedAt: b.stamp(),
	})
	rec.NextAttemptAt = nil
	mark, err := b.replaceOut(b.begin(), e, rec, true, "record an attempt")
	return rec, mark, err
}

// AcceptedOut notes that the router vouched for an attempt. It is not durable at once. ErrFinished when the operation has
// ended.
func (b *Buffer) AcceptedOut(seq uint64, messageID string) (*storagepb.OutRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, err := b.activeOut(seq)
	if err != nil {
		return nil, fmt.Errorf("note an accepted attempt: %w", err)
	}
	rec := copyOut(e.rec)
	a := attemptOf(rec, messageID)
	switch {
	case a == nil:
		return nil, fmt.Errorf("note an accepted attempt: %q of operation %d: %w", messageID, seq, ErrUnknown)
	case a.GetAcceptedAt() != nil:
		return e.rec, nil
	}
	a.AcceptedAt = timestamppb.New(b.cfg.Now())
	if _, err := b.replaceOut(b.begin(), e, rec, false, "note an accepted attempt"); err != nil {
		return nil, err
	}
	return rec, nil
}

// HandledOut notes that a finished operation's result was handed over. It is not durable at once. ErrOpen while the
// operation is active. A late reply to an operation that had none makes it unhandled again.
func (b *Buffer) HandledOut(seq uint64) error {
	const what = "note a handled result"
	b.mu.Lock()
	defer b.mu.Unlock()
	rec, e, err := b.findOut(seq)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case e != nil:
		return fmt.Errorf("%s: operation %d: %w", what, seq, ErrOpen)
	case rec.GetHandled():
		return nil
	}
	c, k, err := b.keptOut(rec)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	t := b.begin()
	t.taken(rec)
	rec.Handled = true
	if _, err := t.set(numberKey(keyOutDone, seq), rec); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if c == outUnhandled {
		t.drop(c, k)
		t.keep(outHandled, k)
	}
	if _, err := b.commit(t, false, what); err != nil {
		return err
	}
	if c == outUnhandled {
		b.low[outHandled] = min(b.low[outHandled], k.end)
	}
	return nil
}

package activity

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// updateIn commits what fn changes in a copy of an active message. When fn returns false nothing is written.
func (b *Buffer) updateIn(seq uint64, vital bool, what string, fn func(*storagepb.InRecord) bool) (*storagepb.InRecord, store.Mark, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, err := b.activeIn(seq)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, err)
	}
	rec := copyIn(e.rec)
	if !fn(rec) {
		return e.rec, e.mark, nil
	}
	mark, err := b.replaceIn(b.begin(), rec, vital, what)
	return rec, mark, err
}

// CustodyIn notes that the router has recorded this agent's custody, so that the message may run. It is not durable at
// once.
func (b *Buffer) CustodyIn(seq uint64) error {
	_, _, err := b.updateIn(seq, false, "note custody", func(rec *storagepb.InRecord) bool {
		was := rec.GetAwaitsCustody()
		rec.AwaitsCustody = false
		return was
	})
	return err
}

// ReadIn notes that a message was decoded and checked. It is not durable at once.
func (b *Buffer) ReadIn(seq uint64) error {
	_, _, err := b.updateIn(seq, false, "note a message as read", func(rec *storagepb.InRecord) bool {
		stage, forward := ack.Advance(ack.Stage(rec.GetStage()), ack.Read)
		rec.Stage = commonpb.AckStage(stage)
		return forward
	})
	return err
}

// StartIn counts a run of the handler and returns its number, from 1. With sync the count is durable before it returns: a
// message that was started before must not run again otherwise. A record's runs less its forgiven_runs are those that
// ended with the process, this one included.
func (b *Buffer) StartIn(ctx context.Context, seq uint64, sync bool) (run uint32, err error) {
	rec, mark, err := b.updateIn(seq, sync, "count a run", func(rec *storagepb.InRecord) bool {
		rec.Runs++
		rec.NextRunAt = nil
		return true
	})
	if err != nil {
		return 0, err
	}
	return rec.GetRuns(), b.wait(ctx, mark)
}

// RetryIn notes, durably, that the handler asked to run again, and when. The run counts neither as attempt nor as crash.
func (b *Buffer) RetryIn(ctx context.Context, seq uint64, next time.Time) error {
	_, mark, err := b.updateIn(seq, true, "note the next run", func(rec *storagepb.InRecord) bool {
		rec.NextRunAt = timestamppb.New(next)
		rec.ForgivenRuns = min(rec.GetForgivenRuns()+1, rec.GetRuns())
		return true
	})
	if err != nil {
		return err
	}
	return b.wait(ctx, mark)
}

// DeferIn notes, durably, that the handler left the answer to a later call.
func (b *Buffer) DeferIn(ctx context.Context, seq uint64) error {
	_, mark, err := b.updateIn(seq, true, "note a deferred answer", func(rec *storagepb.InRecord) bool {
		was := rec.GetDeferred()
		rec.Deferred, rec.NextRunAt = true, nil
		return !was
	})
	if err != nil {
		return err
	}
	return b.wait(ctx, mark)
}

// FinishIn records, durably and at once, a message's outcome, its reply if there is one, and what it owes: the reply, and
// an acknowledgement for each message id that it came under and that was not answered yet. newID makes their message ids.
// ErrFinished when it has its outcome.
func (b *Buffer) FinishIn(ctx context.Context, seq uint64, o *storagepb.Outcome, reply *storagepb.Body, replyMessageID string, newID func() string) (*storagepb.InRecord, error) {
	switch {
	case !ack.Stage(o.GetStage()).Terminal():
		return nil, ack.Rejectf(ack.ValidationError, "end received message %d: %v is no terminal stage", seq, ack.Stage(o.GetStage()))
	case newID == nil:
		return nil, ack.Rejectf(ack.ValidationError, "end received message %d: nothing makes message ids", seq)
	case reply != nil && replyMessageID == "":
		return nil, ack.Rejectf(ack.ValidationError, "end received message %d: its reply has no message_id", seq)
	}
	b.mu.Lock()
	rec, mark, err := b.finishIn(seq, o, reply, replyMessageID, newID)
	b.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("end a received message: %w", err)
	}
	return rec, b.wait(ctx, mark)
}

func (b *Buffer) finishIn(seq uint64, o *storagepb.Outcome, reply *storagepb.Body, replyMessageID string, newID func() string) (*storagepb.InRecord, store.Mark, error) {
	e, err := b.activeIn(seq)
	if err != nil {
		return nil, 0, err
	}
	t := b.begin()
	rec := copyIn(e.rec)
	rec.Outcome = b.outcome(ack.Stage(o.GetStage()), ack.Code(o.GetCode()), o.GetNote(), o.GetFrom(), o.GetMessageId())
	if o.GetAt() != nil {
		rec.Outcome.At = o.GetAt()
	}
	rec.Stage = o.GetStage()
	rec.HasReply = reply != nil
	rec.Finished = t.meta.end.take()
	frames := t.endInStream(e, rec)
	oweAnswers(rec, replyMessageID, newID)

	replySize := 0
	if reply != nil {
		if replySize, err = t.set(numberKey(keyInReply, seq), reply); err != nil {
			return nil, 0, err
		}
	}
	t.batch.Delete(numberKey(keyInActive, seq))
	size, err := t.set(numberKey(keyInDone, seq), rec)
	if err != nil {
		return nil, 0, err
	}
	t.keep(inFull, kept{end: rec.GetFinished(), seq: seq, at: rec.GetOutcome().GetAt().AsTime(), bytes: int64(size+replySize) + frames})
	t.batch.Set([]byte(dedupKeyOf(rec)), encodeNumber(seq))
	for _, a := range rec.GetAliases() {
		t.batch.Set(textKey(keyInMessage, a.GetMessageId(), rec.GetFrom()), encodeNumber(seq))
	}
	if e.owed != 0 { // since an earlier end
		t.batch.Delete(numberKey(keyInOwing, e.owed))
	}
	if len(rec.GetOwed()) > 0 {
		t.batch.Set(numberKey(keyInOwing, rec.GetFinished()), encodeNumber(seq))
	}
	if low := b.in.order.lowest(b.meta.in.next); low >= t.meta.lowIn+lowStep {
		t.meta.lowIn = low
	}
	mark, err := b.commit(t, true, "write it")
	if err != nil {
		return nil, 0, err
	}
	b.in.deactivate(e.rec)
	b.frameBytes -= frames
	e.rec, e.mark, e.stream = rec, mark, nil
	b.placeOwing(e)
	return rec, mark, nil
}

// oweAnswers adds what a message owes with its outcome: the reply first, since it says more.
func oweAnswers(rec *storagepb.InRecord, replyMessageID string, newID func() string) {
	if replyMessageID != "" {
		rec.Owed = append(rec.Owed, &storagepb.Owed{MessageId: replyMessageID})
	}
	o := rec.GetOutcome()
	for _, a := range rec.GetAliases() {
		if a.GetAnswered() {
			continue
		}
		a.Answered = true
		rec.Owed = append(rec.Owed, &storagepb.Owed{
			MessageId: newID(), AckFor: a.GetMessageId(), Stage: o.GetStage(), Code: o.GetCode(), Note: o.GetNote(),
		})
	}
}

// placeOwing keeps a finished entry in memory for as long as it owes.
func (b *Buffer) placeOwing(e *inEntry) {
	if len(e.rec.GetOwed()) > 0 {
		b.in.owe(e, e.rec.GetFinished())
		return
	}
	b.in.settled(e)
	delete(b.in.entries, e.rec.GetSequence())
}

// OwedSentIn notes that the router has taken an owed envelope. It is not durable at once. An envelope that is not owed is
// no error.
func (b *Buffer) OwedSentIn(seq uint64, messageID string) error {
	const what = "note a sent answer"
	b.mu.Lock()
	defer b.mu.Unlock()
	was, e, err := b.findIn(seq)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	at := slices.IndexFunc(was.GetOwed(), func(o *storagepb.Owed) bool { return o.GetMessageId() == messageID })
	if at < 0 || e == nil {
		return nil
	}
	rec := copyIn(was)
	rec.Owed = slices.Delete(rec.Owed, at, at+1)
	t := b.begin()
	if len(rec.GetOwed()) == 0 && e.owed != 0 {
		t.batch.Delete(numberKey(keyInOwing, e.owed))
		if low := b.in.owingOrder.lowest(b.meta.end.next); low >= t.meta.lowOwing+lowStep {
			t.meta.lowOwing = low
		}
	}
	if _, err := b.replaceIn(t, rec, false, what); err != nil {
		return err
	}
	if len(rec.GetOwed()) > 0 {
		return nil
	}
	b.in.settled(e)
	if rec.GetFinished() != 0 {
		delete(b.in.entries, seq)
	}
	return nil
}

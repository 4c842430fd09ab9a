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
// What data has written, which may be nil, is stored with it; its errors are those of CommitData.
func (b *Buffer) DeferIn(ctx context.Context, seq uint64, data *DataTx) error {
	const what = "note a deferred answer"
	if err := data.seal(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.mu.Lock()
	mark, err := b.deferIn(seq, data, what)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.wait(ctx, mark)
}

func (b *Buffer) deferIn(seq uint64, data *DataTx, what string) (store.Mark, error) {
	e, err := b.activeIn(seq)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	t := b.begin()
	if err := b.addData(t, data); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	if e.rec.GetDeferred() && !t.data {
		return e.mark, nil
	}
	rec := copyIn(e.rec)
	rec.Deferred, rec.NextRunAt = true, nil
	return b.replaceIn(t, rec, true, what)
}

// Ending ends a received message.
type Ending struct {
	Outcome *storagepb.Outcome
	// Reply is the reply, nil for none. ReplyID is the message id of the envelope that tells the end besides
	// acknowledgements: a reply, a tool's error, the end of a stream; empty for none.
	Reply   *storagepb.Body
	ReplyID string
	// NewID makes the message ids of acknowledgements.
	NewID func() string
	// Data is what the handler has written, stored in the same batch; nil for nothing.
	Data *DataTx
}

// FinishIn records, durably and at once, a message's outcome, its reply if there is one, what it owes: the reply, and
// an acknowledgement for each message id that it came under and that was not answered yet; and what its handler has
// written. ErrFinished when it has its outcome. With Data the errors are also those of CommitData; nothing is recorded then.
func (b *Buffer) FinishIn(ctx context.Context, seq uint64, end Ending) (*storagepb.InRecord, error) {
	stage := ack.Stage(end.Outcome.GetStage())
	switch {
	case !stage.Terminal():
		return nil, ack.Rejectf(ack.ValidationError, "end received message %d: %v is no terminal stage", seq, stage)
	case end.NewID == nil:
		return nil, ack.Rejectf(ack.ValidationError, "end received message %d: nothing makes message ids", seq)
	case end.Reply != nil && end.ReplyID == "":
		return nil, ack.Rejectf(ack.ValidationError, "end received message %d: its reply has no message_id", seq)
	}
	if err := end.Data.seal(); err != nil {
		return nil, fmt.Errorf("end a received message: %w", err)
	}
	b.mu.Lock()
	rec, mark, err := b.finishIn(seq, end)
	b.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("end a received message: %w", err)
	}
	return rec, b.wait(ctx, mark)
}

func (b *Buffer) finishIn(seq uint64, end Ending) (*storagepb.InRecord, store.Mark, error) {
	o, reply := end.Outcome, end.Reply
	e, err := b.activeIn(seq)
	if err != nil {
		return nil, 0, err
	}
	t := b.begin()
	if err := b.addData(t, end.Data); err != nil {
		return nil, 0, err
	}
	rec := copyIn(e.rec)
	rec.Outcome = b.outcome(ack.Stage(o.GetStage()), ack.Code(o.GetCode()), o.GetNote(), o.GetFrom(), o.GetMessageId())
	if o.GetAt() != nil {
		rec.Outcome.At = o.GetAt()
	}
	rec.Stage = o.GetStage()
	rec.HasReply = reply != nil
	rec.Finished = t.meta.end.take()
	frames := t.endInStream(e, rec)
	oweAnswers(rec, end.ReplyID, end.NewID)

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

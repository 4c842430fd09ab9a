package activity

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// notePoison begins the note of a failure that is final whatever its code.
const notePoison = "poison"

// noteReplyMissing marks a request that was FULFILLED and ended without its reply.
const noteReplyMissing = "reply_missing"

// change runs fn under the lock and waits until the mark that it returns is durable.
func (b *Buffer) change(ctx context.Context, what string, fn func() (OutChange, store.Mark, error)) (OutChange, error) {
	b.mu.Lock()
	c, mark, err := fn()
	b.mu.Unlock()
	if err != nil {
		return OutChange{}, fmt.Errorf("%s: %w", what, err)
	}
	return c, b.wait(ctx, mark)
}

// AckOut applies an acknowledgement that came from an agent. RECEIVED and READ move its attempt forward and are not durable
// at once; what a terminal stage does is durable when AckOut returns. A terminal stage closes its attempt. FULFILLED is the
// operation's outcome, whichever attempt it names; so is a failure, unless the operation's policy retries its code and
// attempts and time are left, or another attempt is still open. ErrUnknown when no attempt has the id.
func (b *Buffer) AckOut(ctx context.Context, a ack.Ack, from string) (OutChange, error) {
	if a.Stage < ack.Received || a.Stage > ack.TimedOut {
		return OutChange{}, ack.Rejectf(ack.ValidationError, "acknowledgement of %q: stage %d is none of 1 to 6", a.ForMessageID, a.Stage)
	}
	return b.change(ctx, "apply an acknowledgement", func() (OutChange, store.Mark, error) {
		seq, err := b.outByMessage(a.ForMessageID)
		if err != nil {
			return OutChange{}, 0, err
		}
		if !a.Stage.Terminal() {
			return b.progressOut(seq, a)
		}
		return b.endAttempt(seq, b.outcome(a.Stage, a.Code, a.Note, from, a.ForMessageID))
	})
}

// FailAttemptOut closes an attempt by a local decision, such as the router's word that its receiver's store is lost, and
// decides as AckOut does whether that ends the operation.
func (b *Buffer) FailAttemptOut(ctx context.Context, seq uint64, messageID string, e *ack.Error) (OutChange, error) {
	if e == nil || !e.Stage.Terminal() {
		return OutChange{}, ack.Rejectf(ack.ValidationError, "fail attempt %q: there is no terminal stage", messageID)
	}
	return b.change(ctx, "fail an attempt", func() (OutChange, store.Mark, error) {
		rec, _, err := b.findOut(seq)
		if err != nil {
			return OutChange{}, 0, err
		}
		if attemptOf(rec, messageID) == nil {
			return OutChange{}, 0, fmt.Errorf("attempt %q of operation %d: %w", messageID, seq, ErrUnknown)
		}
		return b.endAttempt(seq, b.outcome(e.Stage, e.Code, e.Note, e.From, messageID))
	})
}

// FinishOut ends an operation by a local decision, durably. The first outcome wins: when there is one, o is kept beside
// it. A request that was FULFILLED and still waits for its reply ends as FULFILLED, its note ending with reply_missing;
// FULFILLED itself does not end a request without a reply.
func (b *Buffer) FinishOut(ctx context.Context, seq uint64, o *storagepb.Outcome) (OutChange, error) {
	if !ack.Stage(o.GetStage()).Terminal() {
		return OutChange{}, ack.Rejectf(ack.ValidationError, "end operation %d: %v is no terminal stage", seq, ack.Stage(o.GetStage()))
	}
	own := b.outcome(ack.Stage(o.GetStage()), ack.Code(o.GetCode()), o.GetNote(), o.GetFrom(), o.GetMessageId())
	if o.GetAt() != nil {
		own.At = o.GetAt()
	}
	return b.change(ctx, "end an operation", func() (OutChange, store.Mark, error) { return b.finishOut(seq, own) })
}

// outcome returns a new outcome at this moment.
func (b *Buffer) outcome(s ack.Stage, c ack.Code, note, from, messageID string) *storagepb.Outcome {
	return &storagepb.Outcome{
		Stage: commonpb.AckStage(s), Code: commonpb.ErrorCode(c), Note: cleanNote(note), From: from, MessageId: messageID, At: b.stamp(),
	}
}

func (b *Buffer) progressOut(seq uint64, a ack.Ack) (OutChange, store.Mark, error) {
	was, e, err := b.findOut(seq)
	if err != nil {
		return OutChange{}, 0, err
	}
	stage, forward := ack.Advance(ack.Stage(attemptOf(was, a.ForMessageID).GetStage()), a.Stage)
	if e == nil || !forward {
		return OutChange{Record: was, Duplicate: true}, 0, nil
	}
	rec := copyOut(was)
	at := attemptOf(rec, a.ForMessageID)
	at.Stage = commonpb.AckStage(stage)
	if stage == ack.Received {
		at.ReceivedAt = b.stamp()
	} else {
		at.ReadAt = b.stamp()
	}
	_, err = b.replaceOut(b.begin(), e, rec, false, "move an attempt forward")
	return OutChange{Record: rec}, 0, err
}

// closeAttempt gives an attempt its terminal stage, false when it has one.
func closeAttempt(a *storagepb.Attempt, o *storagepb.Outcome) bool {
	stage, forward := ack.Advance(ack.Stage(a.GetStage()), ack.Stage(o.GetStage()))
	if !forward {
		return false
	}
	a.Stage, a.Code, a.Note, a.EndedAt = commonpb.AckStage(stage), o.GetCode(), o.GetNote(), o.GetAt()
	return true
}

// endAttempt applies a terminal stage to the attempt that o names.
func (b *Buffer) endAttempt(seq uint64, o *storagepb.Outcome) (OutChange, store.Mark, error) {
	was, e, err := b.findOut(seq)
	if err != nil {
		return OutChange{}, 0, err
	}
	rec := copyOut(was)
	at := attemptOf(rec, o.GetMessageId())
	if at == nil {
		return OutChange{}, 0, fmt.Errorf("attempt %q of operation %d: %w", o.GetMessageId(), seq, ErrUnknown)
	}
	closed := closeAttempt(at, o)
	switch {
	case !closed && sameEnd(at.GetStage(), at.GetCode(), o):
		return OutChange{Record: was, Duplicate: true}, b.markOf(was), nil
	case rec.GetOutcome() != nil:
		return b.beside(rec, e, o, closed)
	case o.GetStage() == commonpb.AckStage_FULFILLED:
		return b.setOutcome(rec, e, o)
	case !closed:
		return b.beside(rec, e, o, closed)
	case b.retryable(rec, o):
		return b.closeOnly(rec, e, at, o)
	default:
		return b.setOutcome(rec, e, o)
	}
}

// sameEnd tells whether o says what is known already. A receiver that repeats an outcome says so in the code.
func sameEnd(stage commonpb.AckStage, code commonpb.ErrorCode, o *storagepb.Outcome) bool {
	return stage == o.GetStage() && (code == o.GetCode() || o.GetCode() == commonpb.ErrorCode_DUPLICATE_DETECTED)
}

// setOutcome gives an active operation its outcome.
func (b *Buffer) setOutcome(rec *storagepb.OutRecord, e *outEntry, o *storagepb.Outcome) (OutChange, store.Mark, error) {
	rec.Outcome = o
	rec.NextAttemptAt = nil
	t := b.begin()
	missing := o.GetStage() == commonpb.AckStage_FULFILLED && rec.GetWantsReply() && !rec.GetHasReply()
	if missing || framesMayFollow(rec, e.stream.get(), o) {
		mark, err := b.replaceOut(t, e, rec, true, "record an outcome")
		return OutChange{Record: rec, OutcomeSet: true}, mark, err
	}
	mark, err := b.endOut(t, rec, 0)
	return OutChange{Record: rec, OutcomeSet: true, Finished: true}, mark, err
}

// retryable tells whether a failure closes its attempt only.
func (b *Buffer) retryable(rec *storagepb.OutRecord, o *storagepb.Outcome) bool {
	if !slices.Contains(rec.GetRetry().GetCodes(), o.GetCode()) || strings.HasPrefix(o.GetNote(), notePoison) {
		return false
	}
	return b.mayRetry(rec) || slices.ContainsFunc(rec.GetAttempts(), openAttempt)
}

// mayRetry tells whether attempts and time are left.
func (b *Buffer) mayRetry(rec *storagepb.OutRecord) bool {
	if len(rec.GetAttempts()) >= int(rec.GetRetry().GetMaxAttempts()) {
		return false
	}
	return rec.GetDeadline() == nil || b.cfg.Now().Before(rec.GetDeadline().AsTime())
}

// closeOnly keeps an operation open whose attempt at has failed. The next attempt is due after a wait, unless a newer one
// was made already.
func (b *Buffer) closeOnly(rec *storagepb.OutRecord, e *outEntry, at *storagepb.Attempt, o *storagepb.Outcome) (OutChange, store.Mark, error) {
	retry := at == lastAttempt(rec) && b.mayRetry(rec)
	if retry {
		rec.NextAttemptAt = timestamppb.New(o.GetAt().AsTime().Add(b.backoff(rec)))
	}
	mark, err := b.replaceOut(b.begin(), e, rec, true, "close an attempt")
	return OutChange{Record: rec, Retry: retry}, mark, err
}

// backoff returns the wait before an operation's next attempt: initial × multiplier^(n-1) after the n-th, at most the
// largest, jittered between half and full.
func (b *Buffer) backoff(rec *storagepb.OutRecord) time.Duration {
	p := rec.GetRetry()
	full := float64(p.GetInitialBackoffNs()) * math.Pow(max(p.GetMultiplier(), 1), float64(len(rec.GetAttempts())-1))
	full = max(0, min(full, float64(p.GetMaxBackoffNs())))
	return time.Duration(full/2 + full/2*b.cfg.Jitter())
}

func (b *Buffer) finishOut(seq uint64, o *storagepb.Outcome) (OutChange, store.Mark, error) {
	was, e, err := b.findOut(seq)
	if err != nil {
		return OutChange{}, 0, err
	}
	rec := copyOut(was)
	fulfilled := o.GetStage() == commonpb.AckStage_FULFILLED
	if rec.GetOutcome() != nil && (e == nil || fulfilled) {
		if sameEnd(rec.GetOutcome().GetStage(), rec.GetOutcome().GetCode(), o) {
			return OutChange{Record: was, Duplicate: true}, b.markOf(was), nil
		}
		return b.beside(rec, e, o, false)
	}
	for _, a := range rec.GetAttempts() {
		if o.GetMessageId() == "" || o.GetMessageId() == a.GetMessageId() {
			closeAttempt(a, o)
		}
	}
	if rec.GetOutcome() == nil {
		return b.setOutcome(rec, e, o)
	}
	if rec.Outcome.Note != "" {
		rec.Outcome.Note += "; "
	}
	rec.Outcome.Note += noteReplyMissing
	mark, err := b.endOut(b.begin(), rec, 0)
	return OutChange{Record: rec, Finished: true}, mark, err
}

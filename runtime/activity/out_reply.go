package activity

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

const (
	// maxLate bounds what is kept beside an outcome, maxLateBytes the replies among it.
	maxLate      = 16
	maxLateBytes = 8 << 20
	// maxTalk bounds how many ended operations of a conversation are looked at for a reply without a token.
	maxTalk = 16
)

// ReplyOut stores a reply, durably. It ends its operation, with FULFILLED as outcome unless there is one: the operation
// with the reply's token, else the only open one of its correlation if that wants a reply, else ErrUnknown. A reply that
// comes after the end is kept beside the outcome with its payload; the same reply again says nothing new.
func (b *Buffer) ReplyOut(ctx context.Context, r Reply) (OutChange, error) {
	if r.Body == nil {
		r.Body = &storagepb.Body{}
	}
	return b.change(ctx, "store a reply", func() (OutChange, store.Mark, error) {
		rec, e, err := b.findForReply(r)
		if err != nil {
			return OutChange{}, 0, err
		}
		if rec.GetStreams() {
			return OutChange{}, 0, fmt.Errorf("operation %d is answered with frames: %w", rec.GetSequence(), ErrUnknown)
		}
		if e == nil {
			return b.lateReply(rec, r)
		}
		return b.endWithReply(e, r)
	})
}

// findForReply returns the operation that a reply belongs to, and its entry if it is active.
func (b *Buffer) findForReply(r Reply) (*storagepb.OutRecord, *outEntry, error) {
	if r.Token != "" {
		if e := b.openForReply(r); e != nil {
			return e.rec, e, nil
		}
		recs, err := b.finishedByToken(r.Token)
		if err != nil {
			return nil, nil, err
		}
		known := len(recs) + len(slices.Collect(b.out.byToken.all(r.Token)))
		for _, rec := range slices.Backward(recs) {
			if known == 1 || rec.GetCorrelationId() == r.CorrelationID {
				return rec, nil, nil
			}
		}
		if known > 0 {
			return nil, nil, fmt.Errorf("several operations have the token %q: %w", r.Token, ErrUnknown)
		}
	}
	if e := b.out.byTalk.only(r.CorrelationID); e != nil && e.rec.GetWantsReply() {
		return e.rec, e, nil
	}
	return b.repeatedInTalk(r)
}

// openForReply returns the active operation with a reply's token; of several, which were sent to several addresses, the
// only one in its conversation.
func (b *Buffer) openForReply(r Reply) *outEntry {
	if e := b.out.byToken.only(r.Token); e != nil {
		return e
	}
	var found *outEntry
	for e := range b.out.byToken.all(r.Token) {
		if e.rec.GetCorrelationId() != r.CorrelationID {
			continue
		}
		if found != nil {
			return nil
		}
		found = e
	}
	return found
}

// repeatedInTalk finds the ended operation that has this reply already, for replies without a token.
func (b *Buffer) repeatedInTalk(r Reply) (*storagepb.OutRecord, *outEntry, error) {
	unknown := fmt.Errorf("token %q, correlation %q: %w", r.Token, r.CorrelationID, ErrUnknown)
	if r.MessageID == "" || r.CorrelationID == "" {
		return nil, nil, unknown
	}
	var seqs []uint64
	prefix := textKey(keyOutTalk, r.CorrelationID)
	err := b.store.ScanReverse(prefix, after(prefix), func(key, _ []byte) error {
		seq, err := lastNumber(key)
		if seqs = append(seqs, seq); err == nil && len(seqs) == maxTalk {
			return store.ErrStop
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("look up: %w", err)
	}
	for _, seq := range seqs {
		rec, err := b.finishedOut(seq)
		if err != nil {
			return nil, nil, err
		}
		if rec.GetReplyMessageId() == r.MessageID {
			return rec, nil, nil
		}
	}
	return nil, nil, unknown
}

func (b *Buffer) endWithReply(e *outEntry, r Reply) (OutChange, store.Mark, error) {
	rec := copyOut(e.rec)
	set := rec.GetOutcome() == nil
	if set {
		// The reply proves that some attempt was handled; the newest open one is the best guess.
		o := b.outcome(ack.Fulfilled, ack.NoCode, "", r.From, lastAttempt(rec).GetMessageId())
		for _, a := range slices.Backward(rec.GetAttempts()) {
			if closeAttempt(a, o) {
				o.MessageId = a.GetMessageId()
				break
			}
		}
		rec.Outcome = o
	}
	rec.HasReply, rec.ReplyMessageId = true, r.MessageID
	t := b.begin()
	size, err := t.set(numberKey(keyOutReply, rec.GetSequence()), r.Body)
	if err != nil {
		return OutChange{}, 0, err
	}
	mark, err := b.endOut(t, rec, size)
	return OutChange{Record: rec, OutcomeSet: set, Finished: true}, mark, err
}

// lateReply deals with a reply to an operation that has ended.
func (b *Buffer) lateReply(rec *storagepb.OutRecord, r Reply) (OutChange, store.Mark, error) {
	again, err := b.knownReply(rec, r)
	if err != nil {
		return OutChange{}, 0, err
	}
	if again {
		return OutChange{Record: rec, Duplicate: true}, b.vital, nil
	}
	late := &storagepb.Late{
		Outcome: b.outcome(ack.Fulfilled, ack.NoCode, "", r.From, ""), Reply: r.Body, MessageId: r.MessageID,
	}
	b.addLate(rec, late)
	// An operation that ended without a reply has a new result; a second reply has nobody to go to.
	return b.rewriteOut(rec, rec.GetHandled() && !rec.GetHasReply())
}

// knownReply tells whether a reply is stored already, as the reply or beside the outcome.
func (b *Buffer) knownReply(rec *storagepb.OutRecord, r Reply) (bool, error) {
	for _, l := range rec.GetLate() {
		if l.GetReply() != nil && (l.GetMessageId() == r.MessageID && r.MessageID != "" || proto.Equal(l.GetReply(), r.Body)) {
			return true, nil
		}
	}
	if !rec.GetHasReply() {
		return false, nil
	}
	if r.MessageID != "" && rec.GetReplyMessageId() == r.MessageID {
		return true, nil
	}
	var stored storagepb.Body
	if err := b.load(numberKey(keyOutReply, rec.GetSequence()), &stored); err != nil {
		return false, err
	}
	return proto.Equal(&stored, r.Body), nil
}

// beside keeps an outcome that came after the operation's own, unless it says the same. closed tells that it closed an
// attempt.
func (b *Buffer) beside(rec *storagepb.OutRecord, e *outEntry, o *storagepb.Outcome, closed bool) (OutChange, store.Mark, error) {
	change := OutChange{Late: true}
	if sameEnd(rec.GetOutcome().GetStage(), rec.GetOutcome().GetCode(), o) || knownLate(rec, o) {
		change = OutChange{Duplicate: true}
		if !closed {
			change.Record = rec
			return change, b.markOf(rec), nil
		}
	} else {
		b.addLate(rec, &storagepb.Late{Outcome: o})
	}
	var mark store.Mark
	var err error
	if e != nil {
		mark, err = b.replaceOut(b.begin(), e, rec, true, "keep a late outcome")
		change.Record = rec
		return change, mark, err
	}
	c, mark, err := b.rewriteOut(rec, false)
	change.Record = c.Record
	return change, mark, err
}

func knownLate(rec *storagepb.OutRecord, o *storagepb.Outcome) bool {
	return slices.ContainsFunc(rec.GetLate(), func(l *storagepb.Late) bool {
		k := l.GetOutcome()
		return l.GetReply() == nil && k.GetMessageId() == o.GetMessageId() && sameEnd(k.GetStage(), k.GetCode(), o)
	})
}

// addLate keeps l beside an outcome as far as there is room, and logs it.
func (b *Buffer) addLate(rec *storagepb.OutRecord, l *storagepb.Late) {
	size := len(l.GetReply().GetPayload())
	for _, k := range rec.GetLate() {
		size += len(k.GetReply().GetPayload())
	}
	fits := len(rec.GetLate()) < maxLate && size <= maxLateBytes
	if fits {
		rec.Late = append(rec.Late, l)
	}
	b.cfg.Logger.Warn("an outcome came after the operation's own",
		slog.Uint64("sequence", rec.GetSequence()), slog.String("token", rec.GetToken()),
		slog.String("stage", ack.Stage(l.GetOutcome().GetStage()).String()), slog.String("code", ack.Code(l.GetOutcome().GetCode()).String()),
		slog.String("from", l.GetOutcome().GetFrom()), slog.Bool("reply", l.GetReply() != nil), slog.Bool("kept", fits),
		slog.Time("came", l.GetOutcome().GetAt().AsTime()), slog.String("outcome", ack.Stage(rec.GetOutcome().GetStage()).String()),
		slog.Time("ended", rec.GetOutcome().GetAt().AsTime()))
}

// rewriteOut commits a late change to a finished operation. With unhandle its result waits for being taken again.
func (b *Buffer) rewriteOut(rec *storagepb.OutRecord, unhandle bool) (OutChange, store.Mark, error) {
	const what = "keep a late result"
	c, k, err := b.keptOut(rec)
	if err != nil {
		return OutChange{}, 0, err
	}
	t := b.begin()
	if unhandle {
		rec.Handled = false
		t.waiting(rec)
	}
	size, err := t.set(numberKey(keyOutDone, rec.GetSequence()), rec)
	if err != nil {
		return OutChange{}, 0, fmt.Errorf("%s: %w", what, err)
	}
	to, grown := c, k
	if unhandle && c == outHandled {
		to = outUnhandled
	}
	grown.bytes = max(k.bytes, int64(size)+rec.GetPayloadBytes())
	if to != c || grown != k {
		t.drop(c, k)
		t.keep(to, grown)
	}
	mark, err := b.commit(t, true, what)
	if err != nil {
		return OutChange{}, 0, err
	}
	b.low[to] = min(b.low[to], k.end)
	return OutChange{Record: rec, Late: true}, mark, nil
}

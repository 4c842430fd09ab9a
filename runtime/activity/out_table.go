package activity

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// outTable has the active operations and their indexes.
type outTable struct {
	entries   map[uint64]*outEntry
	order     order
	byMessage map[string]*outEntry
	byToken   outIndex
	byTalk    outIndex
}

// outEntry is an active operation.
type outEntry struct {
	rec *storagepb.OutRecord
	// mark is the last change that somebody may have been told of.
	mark        store.Mark
	token, talk outLink
	// stream is where its frames stand, nil before the first.
	stream *outStream
}

func newOutTable() outTable {
	t := outTable{
		entries:   map[uint64]*outEntry{},
		byMessage: map[string]*outEntry{},
		byToken:   outIndex{},
		byTalk:    outIndex{},
	}
	t.order.alive = func(n uint64) bool { return t.entries[n] != nil }
	return t
}

func (t *outTable) add(e *outEntry) {
	rec := e.rec
	e.token.entry, e.talk.entry = e, e
	t.entries[rec.GetSequence()] = e
	t.order.add(rec.GetSequence())
	for _, a := range rec.GetAttempts() {
		t.byMessage[a.GetMessageId()] = e
	}
	t.byToken.add(rec.GetToken(), &e.token)
	t.byTalk.add(rec.GetCorrelationId(), &e.talk)
}

func (t *outTable) remove(rec *storagepb.OutRecord) {
	e := t.entries[rec.GetSequence()]
	delete(t.entries, rec.GetSequence())
	t.order.removed()
	for _, a := range rec.GetAttempts() {
		delete(t.byMessage, a.GetMessageId())
	}
	t.byToken.remove(rec.GetToken(), &e.token)
	t.byTalk.remove(rec.GetCorrelationId(), &e.talk)
}

// finished returns an operation that has ended.
func (b *Buffer) finishedOut(seq uint64) (*storagepb.OutRecord, error) {
	var rec storagepb.OutRecord
	if err := b.load(numberKey(keyOutDone, seq), &rec); err != nil {
		return nil, fmt.Errorf("operation %d: %w", seq, err)
	}
	return &rec, nil
}

// findOut returns an operation, and its entry if it is active.
func (b *Buffer) findOut(seq uint64) (*storagepb.OutRecord, *outEntry, error) {
	if e := b.out.entries[seq]; e != nil {
		return e.rec, e, nil
	}
	rec, err := b.finishedOut(seq)
	return rec, nil, err
}

// activeOut returns the entry of an active operation.
func (b *Buffer) activeOut(seq uint64) (*outEntry, error) {
	rec, e, err := b.findOut(seq)
	if err == nil && e == nil {
		err = fmt.Errorf("operation %d: %w", rec.GetSequence(), ErrFinished)
	}
	return e, err
}

// outByMessage returns the number of the operation with an attempt of this id.
func (b *Buffer) outByMessage(id string) (uint64, error) {
	if e := b.out.byMessage[id]; e != nil {
		return e.rec.GetSequence(), nil
	}
	seq, err := b.loadNumber(textKey(keyOutMessage, id))
	if err != nil {
		return 0, fmt.Errorf("attempt %q: %w", id, err)
	}
	return seq, nil
}

// outByKey returns the operation with this token and address that counts as the same one as a new one of this kind.
func (b *Buffer) outByKey(token, to string, kind storagepb.KeyKind) (*storagepb.OutRecord, error) {
	for e := range b.out.byToken.all(token) {
		if e.rec.GetTo() == to {
			return e.rec, nil
		}
	}
	if kind == storagepb.KeyKind_KEY_KIND_CALL {
		// Its token is made of a new message id: nothing that has ended can have it.
		return nil, ErrUnknown
	}
	seq, err := b.lastBelow(textKey(keyOutToken, token, to))
	if err != nil {
		return nil, err
	}
	rec, err := b.finishedOut(seq)
	if err != nil {
		return nil, err
	}
	if kind != storagepb.KeyKind_KEY_KIND_DERIVED && b.cfg.Now().Sub(rec.GetOutcome().GetAt().AsTime()) >= b.cfg.DedupWindow {
		return nil, ErrUnknown
	}
	return rec, nil
}

// markOf returns the mark after which what is said of a record is durable.
func (b *Buffer) markOf(rec *storagepb.OutRecord) store.Mark {
	if e := b.out.entries[rec.GetSequence()]; e != nil {
		return e.mark
	}
	return b.vital
}

// replaceOut commits a change to an active operation that stays active.
func (b *Buffer) replaceOut(t *tx, e *outEntry, rec *storagepb.OutRecord, vital bool, what string) (store.Mark, error) {
	if _, err := t.set(numberKey(keyOutActive, rec.GetSequence()), rec); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	mark, err := b.commit(t, vital, what)
	if err != nil {
		return 0, err
	}
	for _, a := range rec.GetAttempts()[len(e.rec.GetAttempts()):] {
		b.out.byMessage[a.GetMessageId()] = e
	}
	e.rec = rec
	if !vital {
		return 0, nil
	}
	e.mark = mark
	return mark, nil
}

// endOut commits the end of an active operation whose record has its outcome. reply is the size of its reply.
func (b *Buffer) endOut(t *tx, rec *storagepb.OutRecord, reply int) (store.Mark, error) {
	const what = "record the end of an operation"
	seq := rec.GetSequence()
	rec.NextAttemptAt = nil
	rec.Finished = t.meta.end.take()
	frames := t.endOutStream(b.out.entries[seq], rec)
	t.batch.Delete(numberKey(keyOutActive, seq))
	size, err := t.set(numberKey(keyOutDone, seq), rec)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	at := rec.GetOutcome().GetAt().AsTime()
	if now := b.cfg.Now(); now.After(at) { // what was missing has come, or never will
		at = now
	}
	t.keep(outClass(rec), kept{
		end: rec.GetFinished(), seq: seq, at: at, bytes: int64(size+reply) + rec.GetPayloadBytes() + frames,
	})
	for _, a := range rec.GetAttempts() {
		t.batch.Set(textKey(keyOutMessage, a.GetMessageId()), encodeNumber(seq))
	}
	t.batch.Set(textNumberKey(keyOutToken, seq, rec.GetToken(), rec.GetTo()), nil)
	t.batch.Set(textNumberKey(keyOutTalk, seq, rec.GetCorrelationId()), nil)
	t.waiting(rec)
	if low := b.out.order.lowest(b.meta.out.next); low >= t.meta.lowOut+lowStep {
		t.meta.lowOut = low
	}
	mark, err := b.commit(t, true, what)
	if err != nil {
		return 0, err
	}
	b.frameBytes -= frames
	b.out.remove(rec)
	return mark, nil
}

// keep adds a finished record to a class.
func (t *tx) keep(c class, k kept) {
	t.batch.Set(keptKey(c, k.end), k.encode())
	t.meta.totals.add(c, k.bytes)
}

// drop takes a finished record out of a class.
func (t *tx) drop(c class, k kept) {
	t.batch.Delete(keptKey(c, k.end))
	t.meta.totals.remove(c, k.bytes)
}

// waiting lists a finished operation among those whose result nobody took yet.
func (t *tx) waiting(rec *storagepb.OutRecord) {
	t.batch.Set(textNumberKey(keyOutUnhandled, rec.GetFinished(), rec.GetExchange()), encodeNumber(rec.GetSequence()))
	t.meta.totals.add(outWaiting, 0)
}

// taken is the opposite of waiting.
func (t *tx) taken(rec *storagepb.OutRecord) {
	t.batch.Delete(textNumberKey(keyOutUnhandled, rec.GetFinished(), rec.GetExchange()))
	t.meta.totals.remove(outWaiting, 0)
}

func keyed(k storagepb.KeyKind) bool {
	return k == storagepb.KeyKind_KEY_KIND_CONTENT || k == storagepb.KeyKind_KEY_KIND_CALLER
}

// outClass returns the class that a finished operation belongs to before its time is over.
func outClass(rec *storagepb.OutRecord) class {
	switch {
	case keyed(rec.GetKeyKind()):
		return outKeyed
	case rec.GetHandled():
		return outHandled
	default:
		return outUnhandled
	}
}

// keptOut finds where a finished operation is kept.
func (b *Buffer) keptOut(rec *storagepb.OutRecord) (class, kept, error) {
	for _, c := range []class{outClass(rec), outUnhandled, outHandled, outHeld} {
		k, err := b.keptAt(c, rec.GetFinished())
		if !errors.Is(err, ErrUnknown) {
			return c, k, err
		}
	}
	return 0, kept{}, damaged(numberKey(keyOutDone, rec.GetSequence()), errors.New("the record is not in the order of endings"))
}

func (b *Buffer) keptAt(c class, end uint64) (kept, error) {
	key := keptKey(c, end)
	value, err := b.store.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return kept{}, ErrUnknown
	}
	if err != nil {
		return kept{}, fmt.Errorf("read the order of endings: %w", err)
	}
	k, err := decodeKept(key, value)
	if err != nil {
		return kept{}, damaged(key, err)
	}
	return k, nil
}

func attemptOf(rec *storagepb.OutRecord, id string) *storagepb.Attempt {
	for _, a := range rec.GetAttempts() {
		if a.GetMessageId() == id {
			return a
		}
	}
	return nil
}

func lastAttempt(rec *storagepb.OutRecord) *storagepb.Attempt {
	if n := len(rec.GetAttempts()); n > 0 {
		return rec.GetAttempts()[n-1]
	}
	return nil
}

func openAttempt(a *storagepb.Attempt) bool { return !ack.Stage(a.GetStage()).Terminal() }

func copyOut(rec *storagepb.OutRecord) *storagepb.OutRecord { return proto.CloneOf(rec) }

package activity

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// inTable has the received messages that are active or owe envelopes, and the indexes of the active ones.
type inTable struct {
	entries map[uint64]*inEntry
	active  int
	order   order // active ones by number
	// owing has the numbers of those that owe by their places in the order of endings.
	owing      map[uint64]uint64
	owingOrder order
	byKey      map[string]uint64
	byMessage  map[string]uint64
	byToken    map[string]int
}

// inEntry is a received message that is active, owes envelopes, or both.
type inEntry struct {
	rec *storagepb.InRecord
	// mark is the last change that somebody may have been told of.
	mark store.Mark
	// owed is its place among those that owe, 0 when it does not.
	owed uint64
	// stream is where its frames stand while it is active, nil when it has none.
	stream *storagepb.InStream
}

func newInTable() inTable {
	t := inTable{
		entries: map[uint64]*inEntry{}, owing: map[uint64]uint64{},
		byKey: map[string]uint64{}, byMessage: map[string]uint64{}, byToken: map[string]int{},
	}
	t.order.alive = func(n uint64) bool {
		e := t.entries[n]
		return e != nil && e.rec.GetFinished() == 0
	}
	t.owingOrder.alive = func(n uint64) bool { return t.owing[n] != 0 }
	return t
}

// dedupKey identifies a message: its producer with address and token, or with its id when it has no token. A message id
// alone would let producers take each other's.
func dedupKey(from, to, token, messageID string) string {
	if token == "" {
		return string(textKey(keyInDedup, from, messageID))
	}
	return string(textKey(keyInDedup, from, to, token))
}

func dedupKeyOf(rec *storagepb.InRecord) string {
	return dedupKey(rec.GetFrom(), rec.GetTo(), rec.GetToken(), rec.GetAliases()[0].GetMessageId())
}

// activate adds an active message.
func (t *inTable) activate(rec *storagepb.InRecord, mark store.Mark) {
	seq := rec.GetSequence()
	e := t.entries[seq]
	if e == nil {
		e = &inEntry{}
		t.entries[seq] = e
	}
	e.rec, e.mark = rec, mark
	t.active++
	t.order.add(seq)
	t.byKey[dedupKeyOf(rec)] = seq
	for _, a := range rec.GetAliases() {
		t.byMessage[a.GetMessageId()] = seq
	}
	if rec.GetToken() != "" {
		t.byToken[rec.GetToken()]++
	}
}

// deactivate takes an active message out of the indexes; its entry stays.
func (t *inTable) deactivate(rec *storagepb.InRecord) {
	t.active--
	t.order.removed()
	delete(t.byKey, dedupKeyOf(rec))
	for _, a := range rec.GetAliases() {
		delete(t.byMessage, a.GetMessageId())
	}
	if token := rec.GetToken(); token != "" {
		if t.byToken[token]--; t.byToken[token] == 0 {
			delete(t.byToken, token)
		}
	}
}

// owe puts an entry among those that owe.
func (t *inTable) owe(e *inEntry, end uint64) {
	t.settled(e)
	e.owed = end
	t.owing[end] = e.rec.GetSequence()
	t.owingOrder.add(end)
}

// settled takes an entry out of those that owe.
func (t *inTable) settled(e *inEntry) {
	if e.owed == 0 {
		return
	}
	delete(t.owing, e.owed)
	t.owingOrder.removed()
	e.owed = 0
}

// findIn returns a received message, and its entry if it is active or owes.
func (b *Buffer) findIn(seq uint64) (*storagepb.InRecord, *inEntry, error) {
	if e := b.in.entries[seq]; e != nil {
		return e.rec, e, nil
	}
	rec, err := b.finishedIn(seq)
	return rec, nil, err
}

func (b *Buffer) finishedIn(seq uint64) (*storagepb.InRecord, error) {
	var rec storagepb.InRecord
	if err := b.load(numberKey(keyInDone, seq), &rec); err != nil {
		return nil, fmt.Errorf("received message %d: %w", seq, err)
	}
	if len(rec.GetAliases()) == 0 {
		return nil, damaged(numberKey(keyInDone, seq), errors.New("the received message has no id"))
	}
	return &rec, nil
}

// activeIn returns the entry of an active message.
func (b *Buffer) activeIn(seq uint64) (*inEntry, error) {
	rec, e, err := b.findIn(seq)
	if err == nil && rec.GetFinished() != 0 {
		err = fmt.Errorf("received message %d: %w", seq, ErrFinished)
	}
	return e, err
}

// inByKey returns the message that a dedup key names, and its entry if it is active or owes.
func (b *Buffer) inByKey(key string) (*storagepb.InRecord, *inEntry, error) {
	seq, ok := b.in.byKey[key]
	if !ok {
		var err error
		if seq, err = b.loadNumber([]byte(key)); err != nil {
			return nil, nil, err
		}
	}
	return b.findIn(seq)
}

func (b *Buffer) markOfIn(seq uint64) store.Mark {
	if e := b.in.entries[seq]; e != nil {
		return e.mark
	}
	return b.vital
}

// replaceIn commits a change to a message that stays where it is, active or finished.
func (b *Buffer) replaceIn(t *tx, rec *storagepb.InRecord, vital bool, what string) (store.Mark, error) {
	seq := rec.GetSequence()
	key := numberKey(keyInActive, seq)
	if rec.GetFinished() != 0 {
		key = numberKey(keyInDone, seq)
	}
	if _, err := t.set(key, rec); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	mark, err := b.commit(t, vital, what)
	if err != nil {
		return 0, err
	}
	e := b.in.entries[seq]
	if e != nil {
		e.rec = rec
	}
	if !vital {
		return 0, nil
	}
	if e != nil {
		e.mark = mark
	}
	return mark, nil
}

func aliasOf(rec *storagepb.InRecord, id string) *storagepb.Alias {
	at := slices.IndexFunc(rec.GetAliases(), func(a *storagepb.Alias) bool { return a.GetMessageId() == id })
	if at < 0 {
		return nil
	}
	return rec.GetAliases()[at]
}

func copyIn(rec *storagepb.InRecord) *storagepb.InRecord { return proto.CloneOf(rec) }

package activity

import (
	"errors"
	"fmt"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// In returns a received message, ErrUnknown when there is none.
func (b *Buffer) In(seq uint64) (*storagepb.InRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rec, _, err := b.findIn(seq)
	return rec, err
}

// InBody returns a received message's payload, ErrUnknown when it is not kept any more.
func (b *Buffer) InBody(seq uint64) (*storagepb.Body, error) {
	return b.body(keyInBody, seq, "payload of received message")
}

// InReply returns the reply to a received message, ErrUnknown when it has none.
func (b *Buffer) InReply(seq uint64) (*storagepb.Body, error) {
	return b.body(keyInReply, seq, "reply to received message")
}

// InByToken returns the received message with a producer, address and token, ErrUnknown when there is none.
func (b *Buffer) InByToken(from, to, token string) (*storagepb.InRecord, error) {
	if token == "" {
		return nil, fmt.Errorf("no token is given: %w", ErrUnknown)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	rec, _, err := b.inByKey(dedupKey(from, to, token, ""))
	if err != nil {
		return nil, fmt.Errorf("received message with token %q: %w", token, err)
	}
	return rec, nil
}

// InByMessageID returns a received message that came under this id, ErrUnknown when there is none.
func (b *Buffer) InByMessageID(id string) (*storagepb.InRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seq, ok := b.in.byMessage[id]
	if !ok {
		var err error
		if seq, err = b.finishedByMessage(id); err != nil {
			return nil, fmt.Errorf("received message %q: %w", id, err)
		}
	}
	rec, _, err := b.findIn(seq)
	return rec, err
}

func (b *Buffer) finishedByMessage(id string) (uint64, error) {
	prefix := textKey(keyInMessage, id)
	var seq uint64
	found := false
	err := b.store.Scan(prefix, after(prefix), func(key, value []byte) error {
		var err error
		if seq, err = decodeNumber(value); err != nil {
			return damaged(key, err)
		}
		found = true
		return store.ErrStop
	})
	if err == nil && !found {
		err = ErrUnknown
	}
	return seq, err
}

// OpenIn returns the active received messages in the order in which they came.
func (b *Buffer) OpenIn() []*storagepb.InRecord {
	b.mu.Lock()
	defer b.mu.Unlock()
	seqs := b.in.order.all()
	recs := make([]*storagepb.InRecord, len(seqs))
	for i, seq := range seqs {
		recs[i] = b.in.entries[seq].rec
	}
	return recs
}

// OwingIn returns the received messages that still owe envelopes, in the order in which they ended. One that ended and is
// active again may be among them.
func (b *Buffer) OwingIn() []*storagepb.InRecord {
	b.mu.Lock()
	defer b.mu.Unlock()
	ends := b.in.owingOrder.all()
	recs := make([]*storagepb.InRecord, len(ends))
	for i, end := range ends {
		recs[i] = b.in.entries[b.in.owing[end]].rec
	}
	return recs
}

// keptIn finds where a finished message is kept.
func (b *Buffer) keptIn(rec *storagepb.InRecord) (class, kept, error) {
	for _, c := range []class{inFull, inBare, inHeld} {
		k, err := b.keptAt(c, rec.GetFinished())
		if !errors.Is(err, ErrUnknown) {
			return c, k, err
		}
	}
	return 0, kept{}, damaged(numberKey(keyInDone, rec.GetSequence()), errors.New("the record is not in the order of endings"))
}

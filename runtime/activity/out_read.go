package activity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Out returns an operation, ErrUnknown when there is none.
func (b *Buffer) Out(seq uint64) (*storagepb.OutRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rec, _, err := b.findOut(seq)
	return rec, err
}

// OutBody returns an operation's payload, ErrUnknown when there is none.
func (b *Buffer) OutBody(seq uint64) (*storagepb.Body, error) {
	return b.body(keyOutBody, seq, "payload of operation")
}

// OutReply returns an operation's reply, ErrUnknown when it has none.
func (b *Buffer) OutReply(seq uint64) (*storagepb.Body, error) {
	return b.body(keyOutReply, seq, "reply to operation")
}

// body needs no lock: payloads are written once.
func (b *Buffer) body(prefix string, seq uint64, what string) (*storagepb.Body, error) {
	var body storagepb.Body
	if err := b.load(numberKey(prefix, seq), &body); err != nil {
		return nil, fmt.Errorf("%s %d: %w", what, seq, err)
	}
	return &body, nil
}

// OutByMessageID returns the operation with an attempt of this id, ErrUnknown when there is none.
func (b *Buffer) OutByMessageID(id string) (*storagepb.OutRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seq, err := b.outByMessage(id)
	if err != nil {
		return nil, err
	}
	rec, _, err := b.findOut(seq)
	return rec, err
}

// OutByToken returns all operations with a token, oldest first.
func (b *Buffer) OutByToken(token string) ([]*storagepb.OutRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	recs, err := b.finishedByToken(token)
	if err != nil {
		return nil, err
	}
	return withActive(recs, b.out.byToken.all(token)), nil
}

// OutByCorrelation returns all operations of a conversation, oldest first.
func (b *Buffer) OutByCorrelation(id string) ([]*storagepb.OutRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seqs, err := b.numbersBelow(textKey(keyOutTalk, id))
	if err != nil {
		return nil, err
	}
	recs, err := b.finishedOuts(seqs)
	if err != nil {
		return nil, err
	}
	return withActive(recs, b.out.byTalk.all(id)), nil
}

func (b *Buffer) finishedByToken(token string) ([]*storagepb.OutRecord, error) {
	seqs, err := b.numbersBelow(textKey(keyOutToken, token))
	if err != nil {
		return nil, err
	}
	slices.Sort(seqs) // they come by address first
	return b.finishedOuts(seqs)
}

func (b *Buffer) finishedOuts(seqs []uint64) ([]*storagepb.OutRecord, error) {
	recs := make([]*storagepb.OutRecord, 0, len(seqs))
	for _, seq := range seqs {
		rec, err := b.finishedOut(seq)
		if err != nil {
			return nil, err
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// withActive adds active operations to ended ones, oldest first.
func withActive(recs []*storagepb.OutRecord, active iter.Seq[*outEntry]) []*storagepb.OutRecord {
	for e := range active {
		recs = append(recs, e.rec)
	}
	slices.SortFunc(recs, func(x, y *storagepb.OutRecord) int {
		return cmp.Compare(x.GetSequence(), y.GetSequence())
	})
	return recs
}

// OpenOut returns the active operations in the order in which they were recorded. They are what an agent reconciles with
// its router after a restart.
func (b *Buffer) OpenOut() []*storagepb.OutRecord {
	b.mu.Lock()
	defer b.mu.Unlock()
	seqs := b.out.order.all()
	recs := make([]*storagepb.OutRecord, len(seqs))
	for i, seq := range seqs {
		recs[i] = b.out.entries[seq].rec
	}
	return recs
}

// LowestOpenOut returns the lowest sequence number of an active operation, that of the next operation when none is.
func (b *Buffer) LowestOpenOut() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.order.lowest(b.meta.out.next)
}

// page is how many records are read under one hold of the lock.
const page = 64

// UnhandledOut calls fn for each finished operation of an exchange that is not handled, oldest first, durable, until fn
// returns an error, or store.ErrStop, which it does not return. fn may use the buffer. Handled operations cost nothing.
func (b *Buffer) UnhandledOut(exchange string, fn func(*storagepb.OutRecord) error) error {
	prefix := textKey(keyOutUnhandled, exchange)
	start := prefix
	for {
		recs, next, mark, err := b.unhandled(start, after(prefix))
		if err != nil {
			return fmt.Errorf("read unhandled results of %s: %w", exchange, err)
		}
		if err := b.wait(context.Background(), mark); err != nil {
			return fmt.Errorf("read unhandled results of %s: %w", exchange, err)
		}
		for _, rec := range recs {
			if err := fn(rec); errors.Is(err, store.ErrStop) {
				return nil
			} else if err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		start = next
	}
}

// unhandled returns a page of unhandled operations, where the next one starts, nil after the last, and the mark after
// which they are durable.
func (b *Buffer) unhandled(start, end []byte) ([]*storagepb.OutRecord, []byte, store.Mark, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var seqs []uint64
	var next []byte
	err := b.store.Scan(start, end, func(key, value []byte) error {
		seq, err := decodeNumber(value)
		if err != nil {
			return damaged(key, err)
		}
		if seqs = append(seqs, seq); len(seqs) == page {
			next = append(append(next, key...), 0)
			return store.ErrStop
		}
		return nil
	})
	if err != nil {
		return nil, nil, 0, err
	}
	recs, err := b.finishedOuts(seqs)
	return recs, next, b.vital, err
}

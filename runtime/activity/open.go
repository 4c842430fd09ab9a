package activity

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Open reads a buffer's active records, and those that owe envelopes, from s. It reads nothing else, however much is
// stored, and writes nothing. A record that is not what was written is a *store.DamagedError. The store belongs to the
// buffer until it is closed; closing it is the caller's part.
func Open(ctx context.Context, s store.Store, cfg Config) (*Buffer, error) {
	if s == nil {
		return nil, errors.New("open activity buffer: the store is nil")
	}
	b := &Buffer{store: s, cfg: cfg.withDefaults(), out: newOutTable(), in: newInTable()}
	b.drafts.New = func() any { return new(newOut) }
	b.opened = b.cfg.Now()
	for _, read := range []func(context.Context) error{b.readMeta, b.readOut, b.readIn, b.readStreams, b.readOwing} {
		if err := read(ctx); err != nil {
			return nil, fmt.Errorf("open activity buffer: %w", err)
		}
	}
	return b, nil
}

func (b *Buffer) readMeta(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Numbers and places begin with 1: 0 means none.
	b.meta.out.reserved, b.meta.in.reserved, b.meta.end.reserved = 1, 1, 1
	for _, n := range b.meta.numbers() {
		v, err := b.loadNumber([]byte(n.key))
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return err
		}
		*n.value = v
	}
	for _, c := range []*counter{&b.meta.out, &b.meta.in, &b.meta.end} {
		c.next = c.reserved
	}
	value, err := b.store.Get([]byte(keyTotals))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read totals: %w", err)
	}
	if err := b.meta.totals.decode(value); err != nil {
		return damaged([]byte(keyTotals), fmt.Errorf("decode totals: %w", err))
	}
	return nil
}

// readActive calls fn for every record with a number of at least low.
func (b *Buffer) readActive(ctx context.Context, prefix string, low uint64, fn func(seq uint64, value []byte) error) error {
	start := numberKey(prefix, low)
	return b.store.Scan(start, after([]byte(prefix)), func(key, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		seq, err := lastNumber(key)
		if err != nil {
			return damaged(key, err)
		}
		if err := fn(seq, value); err != nil {
			return damaged(key, err)
		}
		return nil
	})
}

func (b *Buffer) readOut(ctx context.Context) error {
	err := b.readActive(ctx, keyOutActive, b.meta.lowOut, func(seq uint64, value []byte) error {
		rec := new(storagepb.OutRecord)
		if err := proto.Unmarshal(value, rec); err != nil {
			return err
		}
		switch {
		case rec.GetSequence() != seq:
			return fmt.Errorf("it says that its number is %d", rec.GetSequence())
		case len(rec.GetAttempts()) == 0:
			return errors.New("it has no attempt")
		}
		b.out.add(&outEntry{rec: rec})
		return nil
	})
	if err != nil {
		return fmt.Errorf("read active operations: %w", err)
	}
	return nil
}

func (b *Buffer) readIn(ctx context.Context) error {
	err := b.readActive(ctx, keyInActive, b.meta.lowIn, func(seq uint64, value []byte) error {
		rec := new(storagepb.InRecord)
		if err := proto.Unmarshal(value, rec); err != nil {
			return err
		}
		switch {
		case rec.GetSequence() != seq:
			return fmt.Errorf("it says that its number is %d", rec.GetSequence())
		case len(rec.GetAliases()) == 0:
			return errors.New("it has no message id")
		}
		b.in.activate(rec, 0)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read active received messages: %w", err)
	}
	return nil
}

func (b *Buffer) readOwing(ctx context.Context) error {
	type place struct{ end, seq uint64 }
	var places []place
	err := b.readActive(ctx, keyInOwing, b.meta.lowOwing, func(end uint64, value []byte) error {
		seq, err := decodeNumber(value)
		places = append(places, place{end, seq})
		return err
	})
	if err != nil {
		return fmt.Errorf("read what is owed: %w", err)
	}
	for _, p := range places {
		e := b.in.entries[p.seq]
		if e == nil {
			rec, err := b.finishedIn(p.seq)
			if errors.Is(err, ErrUnknown) {
				err = damaged(numberKey(keyInOwing, p.end), fmt.Errorf("the received message %d is missing", p.seq))
			}
			if err != nil {
				return fmt.Errorf("read what is owed: %w", err)
			}
			e = &inEntry{rec: rec}
			b.in.entries[p.seq] = e
		}
		b.in.owe(e, p.end)
	}
	return nil
}

package activity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Buffer is an agent's activity buffer. Its methods may be called from any goroutine.
type Buffer struct {
	store  store.Store
	cfg    Config
	opened time.Time

	// mu is held while a change is checked, applied to the store and then to memory, and never while waiting for the
	// disk, so that concurrent changes share a sync.
	mu   sync.Mutex
	meta meta
	out  outTable
	in   inTable
	// vital is the last change that somebody may have been told of, applied the last one of all.
	vital, applied store.Mark
	// low is where each class of finished records begins, as far as is known.
	low [classes]uint64
	// frameBytes is the size of the frames of all active records.
	frameBytes int64
	data       dataState
	scratch    tx
	// drafts keeps the memory of operations that were recorded.
	drafts sync.Pool
}

// tx is one change: a batch for the store, and what becomes of meta when the store has taken it.
type tx struct {
	batch store.Batch
	meta  meta
	// data tells that the agent's own data changes too.
	data bool
}

// begin starts a change. The lock is held until it is committed or dropped.
func (b *Buffer) begin() *tx {
	b.scratch.batch.Reset()
	b.scratch.meta, b.scratch.data = b.meta, false
	return &b.scratch
}

// commit applies a change to the store. When it fails nothing has changed. vital says that somebody will be told of the
// change, after the returned mark is synced.
func (b *Buffer) commit(t *tx, vital bool, what string) (store.Mark, error) {
	was := b.meta.numbers()
	for i, n := range t.meta.numbers() {
		if *n.value != *was[i].value {
			t.batch.Set([]byte(n.key), encodeNumber(*n.value))
		}
	}
	if t.meta.totals != b.meta.totals {
		value, err := t.meta.totals.encode()
		if err != nil {
			return 0, fmt.Errorf("%s: encode totals: %w", what, err)
		}
		t.batch.Set([]byte(keyTotals), value)
	}
	mark, err := b.store.Apply(&t.batch)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	b.meta = t.meta
	b.applied = mark
	if vital {
		b.vital = mark
	}
	if t.data {
		b.data.version++
		b.data.mark = mark
	}
	return mark, nil
}

// set adds a record or payload to a change.
func (t *tx) set(key []byte, m proto.Message) (size int, err error) {
	value, err := encode(m)
	if err != nil {
		return 0, err
	}
	t.batch.Set(key, value)
	return len(value), nil
}

func encode(m proto.Message) ([]byte, error) { return appendEncoded(nil, m) }

func appendEncoded(to []byte, m proto.Message) ([]byte, error) {
	value, err := proto.MarshalOptions{AllowPartial: true}.MarshalAppend(to, m) // proto3 has nothing that may be missing
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", proto.MessageName(m), err)
	}
	return value, nil
}

// wait blocks until mark is durable. A failed store lets nothing be answered, not even what is on the disk already.
func (b *Buffer) wait(ctx context.Context, mark store.Mark) error {
	if mark == 0 {
		return b.store.Err()
	}
	if err := b.store.Sync(ctx, mark); err != nil {
		return fmt.Errorf("wait for the disk: %w", err)
	}
	return nil
}

// Settle waits until everything that reading methods have returned so far is durable.
func (b *Buffer) Settle(ctx context.Context) error {
	b.mu.Lock()
	mark := b.applied
	b.mu.Unlock()
	return b.wait(ctx, mark)
}

// load reads a message from the store; ErrUnknown when it is not there.
func (b *Buffer) load(key []byte, into proto.Message) error {
	value, err := b.store.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return ErrUnknown
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", proto.MessageName(into), err)
	}
	if err := proto.Unmarshal(value, into); err != nil {
		return damaged(key, fmt.Errorf("decode %s: %w", proto.MessageName(into), err))
	}
	return nil
}

// loadNumber reads a number from the store; ErrUnknown when it is not there.
func (b *Buffer) loadNumber(key []byte) (uint64, error) {
	value, err := b.store.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, ErrUnknown
	}
	if err != nil {
		return 0, fmt.Errorf("read a number: %w", err)
	}
	n, err := decodeNumber(value)
	if err != nil {
		return 0, damaged(key, err)
	}
	return n, nil
}

func damaged(key []byte, err error) error {
	return &store.DamagedError{File: "activity buffer", Offset: -1, Key: append([]byte(nil), key...), Err: err}
}

// numbersBelow returns the numbers at the ends of all keys that begin with prefix, in order.
func (b *Buffer) numbersBelow(prefix []byte) ([]uint64, error) {
	var out []uint64
	err := b.store.Scan(prefix, after(prefix), func(key, _ []byte) error {
		n, err := lastNumber(key)
		out = append(out, n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up: %w", err)
	}
	return out, nil
}

// lastBelow returns the highest of numbersBelow, ErrUnknown when there is none.
func (b *Buffer) lastBelow(prefix []byte) (uint64, error) {
	found, last := false, uint64(0)
	err := b.store.ScanReverse(prefix, after(prefix), func(key, _ []byte) error {
		n, err := lastNumber(key)
		if err != nil {
			return err
		}
		found, last = true, n
		return store.ErrStop
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("look up: %w", err)
	case !found:
		return 0, ErrUnknown
	default:
		return last, nil
	}
}

// Stats counts the records.
func (b *Buffer) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &b.meta.totals
	s := Stats{
		OutActive: len(b.out.entries), MaxOut: b.cfg.MaxOut,
		InActive: b.in.active, MaxIn: b.cfg.MaxIn,
		InOwing:       len(b.in.owing),
		OutFinished:   int(t[outHandled].records + t[outUnhandled].records + t[outKeyed].records + t[outHeld].records),
		OutUnhandled:  int(t[outWaiting].records),
		InFinished:    int(t[inFull].records + t[inBare].records + t[inHeld].records),
		DedupBytes:    t.dedupBytes(),
		MaxDedupBytes: b.cfg.MaxDedupBytes,
		DataKeys:      int(t[dataEntries].records), DataBytes: t[dataEntries].bytes, MaxDataBytes: b.cfg.MaxDataBytes,
	}
	s.Warning = s.OutActive >= share(s.MaxOut) || s.InActive >= share(s.MaxIn) || s.InOwing >= share(s.MaxIn) ||
		s.DedupBytes >= share(s.MaxDedupBytes) || s.DataBytes >= share(s.MaxDataBytes)
	return s
}

// share returns 80 % of a limit, rounded up.
func share[T int | int64](limit T) T { return limit - limit/5 }

func (b *Buffer) stamp() *timestamppb.Timestamp { return timestamppb.New(b.cfg.Now()) }

// maxNote bounds what a peer can make this agent keep as a note, in bytes.
const maxNote = 1 << 10

// cleanNote makes a peer's text fit to be stored.
func cleanNote(s string) string {
	if len(s) > maxNote {
		s = s[:maxNote]
	}
	return strings.ToValidUTF8(s, "")
}

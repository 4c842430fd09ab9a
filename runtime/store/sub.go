package store

import (
	"context"
	"sync"
)

// Sub returns the part of s whose keys begin with prefix, as a store that knows the rest of each key only. Instance,
// Failed, Err and marks are those of s. Close does nothing: whoever opened s closes it.
//
// Stores made from one s must have prefixes of which none begins with another, or they see each other's keys.
func Sub(s Store, prefix string) Store {
	return &sub{
		subReader: subReader{Reader: s, prefix: []byte(prefix), end: successor([]byte(prefix))},
		parent:    s,
		scratch:   &sync.Pool{New: func() any { return new(subBatch) }},
	}
}

type sub struct {
	subReader
	parent  Store
	scratch *sync.Pool
}

// subBatch keeps the memory of a translated batch for the next one.
type subBatch struct {
	batch Batch
	bytes []byte
}

// successor returns the smallest key that is larger than every key with the prefix, nil when there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			next := append([]byte{}, prefix[:i+1]...)
			next[i]++
			return next
		}
	}
	return nil
}

func (s *sub) Apply(b *Batch) (Mark, error) {
	t := s.scratch.Get().(*subBatch)
	defer func() {
		t.batch.Reset()
		s.scratch.Put(t)
	}()
	t.bytes = t.bytes[:0]
	// The bytes are sized first: growing them later would leave earlier keys in the old array.
	size := 0
	for _, op := range b.Ops() {
		size += len(s.prefix) + len(op.Key)
		if op.Kind == OpDeleteRange {
			size += len(s.prefix) + len(op.Value)
		}
	}
	if cap(t.bytes) < size {
		t.bytes = make([]byte, 0, size)
	}
	for _, op := range b.Ops() {
		op.Key = t.join(s.prefix, op.Key)
		if op.Kind == OpDeleteRange {
			op.Value = s.upTo(op.Value, t.join)
		}
		t.batch.ops = append(t.batch.ops, op)
	}
	return s.parent.Apply(&t.batch)
}

func (t *subBatch) join(prefix, key []byte) []byte {
	from := len(t.bytes)
	t.bytes = append(append(t.bytes, prefix...), key...)
	return t.bytes[from:len(t.bytes):len(t.bytes)]
}

func join(prefix, key []byte) []byte {
	return append(append(make([]byte, 0, len(prefix)+len(key)), prefix...), key...)
}

func (s *sub) Sync(ctx context.Context, m Mark) error { return s.parent.Sync(ctx, m) }
func (s *sub) Failed() <-chan struct{}                { return s.parent.Failed() }
func (s *sub) Err() error                             { return s.parent.Err() }
func (s *sub) Close() error                           { return nil }

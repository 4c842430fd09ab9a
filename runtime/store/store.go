// Package store is the durable ground that agents and services stand on: an ordered space of keys and values that changes
// by atomic batches, and tells when a batch is on disk. Package store/pebble is the engine on disk, Memory the one for
// tests.
package store

import "context"

// Store is an ordered space of keys and values. Its methods may be called from any goroutine.
//
// A batch is visible to Get and Scan as soon as Apply returns, and durable only once Sync has returned: whoever tells
// somebody of what a batch says calls Sync in between. Batches become durable in the order in which they were applied.
//
// After a failed write, sync or read the store fails for good: Failed is closed, and every method but Close returns an
// error that wraps ErrFailed. A read of something that is not what was written is such a failure.
type Store interface {
	// Apply applies b at once, all or nothing, and returns the mark to pass to Sync. The batch may be reused afterwards.
	Apply(b *Batch) (Mark, error)
	// Sync blocks until everything up to m is durable. When ctx ends first it returns ctx's error; the batch stays
	// applied and becomes durable later.
	Sync(ctx context.Context, m Mark) error
	// Get returns a copy of the value, ErrNotFound when there is none. When what is there is not what was written, the store
	// fails, and the error is a *DamagedError too.
	Get(key []byte) ([]byte, error)
	// Scan calls fn for every key in [start, end) in order until fn returns an error or ErrStop, which Scan does not return.
	// A nil end is the end of the space. Key and value are valid during the call only; fn must not use the store.
	Scan(start, end []byte, fn func(key, value []byte) error) error
	// ScanReverse is Scan from the last key to the first.
	ScanReverse(start, end []byte, fn func(key, value []byte) error) error
	// Instance tells which store this is and how often it was opened.
	Instance() Instance
	// Failed is closed when the store has failed.
	Failed() <-chan struct{}
	// Err returns what the store failed of, nil while it works.
	Err() error
	// Close makes everything durable and gives the directory free. It returns after every other call has.
	Close() error
}

// Mark is a place in the order of applied batches. A larger Mark covers a smaller one; 0 covers nothing.
type Mark uint64

// Instance tells one opening of one store from every other.
type Instance struct {
	// ID is made with the store and stays.
	ID string
	// Epoch grows by one each time the store is opened, durably, before anything else happens.
	Epoch uint64
}

// Batch collects changes. The zero Batch is empty. A Batch is used by one goroutine at a time.
type Batch struct {
	ops []Op
}

// OpKind is the kind of a change.
type OpKind int

// The kinds of changes.
const (
	OpSet OpKind = iota + 1
	OpDelete
	OpDeleteRange
)

// Op is one change of a batch.
type Op struct {
	Kind OpKind
	Key  []byte
	// Value is the value of OpSet and the end, exclusive, of OpDeleteRange.
	Value []byte
}

// Set writes a value. The batch keeps both slices; they must not change until it is applied.
func (b *Batch) Set(key, value []byte) { b.ops = append(b.ops, Op{OpSet, key, value}) }

// Delete removes a key; a missing one is no error.
func (b *Batch) Delete(key []byte) { b.ops = append(b.ops, Op{Kind: OpDelete, Key: key}) }

// DeleteRange removes every key in [start, end). A nil end is the end of the space.
func (b *Batch) DeleteRange(start, end []byte) { b.ops = append(b.ops, Op{OpDeleteRange, start, end}) }

// Ops returns the changes in order, for engines.
func (b *Batch) Ops() []Op { return b.ops }

// Len returns the number of changes.
func (b *Batch) Len() int { return len(b.ops) }

// Reset empties the batch.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops = b.ops[:0]
}

// Write applies b and waits until it is durable.
func Write(ctx context.Context, s Store, b *Batch) error {
	m, err := s.Apply(b)
	if err != nil {
		return err
	}
	return s.Sync(ctx, m)
}

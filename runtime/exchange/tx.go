package exchange

import (
	"context"
	"errors"
	"iter"
)

// ErrNoTx says that there is no transaction: the context is not one of a handler.
var ErrNoTx = errors.New("there is no transaction outside of handlers. Fix: pass on the context of the handler, or use the agent's Data")

// Tx is the transaction of one run of a handler over its agent's own data: a small space of keys and values that lies beside
// the messages. What the run writes is stored in one step with the message's outcome, reply included, so that there is
// never one without the other: not after a crash either, and not twice when the handler ran twice. A run that returns an
// error, ends with its process, or outlives its timeout leaves nothing. One that returns ErrDeferred stores its writes with
// the deferral.
//
// Reads see what other runs have stored durably, and the run's own writes. When a run that writes has read something that
// another one has changed before its end, it leaves nothing either, and the handler runs again. Runs that only read never
// do; several of their reads may be of different moments.
//
// Values are not interpreted. A key is 1 to 1,024 bytes of UTF-8, a value has up to 1 MiB; one transaction writes up to
// 1,000 keys and 4 MiB. The methods' errors are for the handler to return: an *ack.Error beyond these bounds, after which
// the run cannot be fulfilled any more, the end of the handler's context, a failed store. What an agent may store in all is
// bounded too; beyond that the message fails with BUFFER_FULL, which its sender tries again.
//
// Messages that the handler sends are no part of the transaction: they are stored when they are sent, and a further run
// finds them again. A Tx may be used from any goroutine, until the handler returns.
type Tx struct{ s TxStore }

// Entry is a key with its value.
type Entry struct {
	Key   string
	Value []byte
}

// TxStore is what a runtime gives a Tx to work on.
type TxStore interface {
	// Get is Tx.Get.
	Get(key string) ([]byte, error)
	// Set is Tx.Set.
	Set(key string, value []byte) error
	// Delete is Tx.Delete.
	Delete(key string) error
	// Scan calls fn for the keys that begin with prefix, in order, until fn returns an error, and returns that.
	Scan(prefix string, fn func(key string, value []byte) error) error
}

// NewTx returns a Tx that works on s, for runtimes and for tests of handlers.
func NewTx(s TxStore) *Tx { return &Tx{s: s} }

// TxFrom returns the transaction of the message that is being handled. Outside of handlers its methods return ErrNoTx.
func TxFrom(ctx context.Context) *Tx {
	tx, _ := ctx.Value(txKey{}).(*Tx)
	return tx
}

// Get returns the value under key, nil when there is none. The slice is the caller's.
func (tx *Tx) Get(key string) ([]byte, error) {
	if tx == nil {
		return nil, ErrNoTx
	}
	return tx.s.Get(key)
}

// Set stores value, which it copies, under key.
func (tx *Tx) Set(key string, value []byte) error {
	if tx == nil {
		return ErrNoTx
	}
	return tx.s.Set(key, value)
}

// Delete removes key. One that is not there is no error.
func (tx *Tx) Delete(key string) error {
	if tx == nil {
		return ErrNoTx
	}
	return tx.s.Delete(key)
}

// Scan returns an iterator over the keys that begin with prefix, in the order of their bytes, with their values; all keys
// for "". An error is its last element. What is written during the loop need not be seen by it.
func (tx *Tx) Scan(prefix string) iter.Seq2[Entry, error] {
	if tx == nil {
		return func(yield func(Entry, error) bool) { yield(Entry{}, ErrNoTx) }
	}
	return func(yield func(Entry, error) bool) {
		left := errors.New("the loop was left")
		err := tx.s.Scan(prefix, func(key string, value []byte) error {
			if !yield(Entry{Key: key, Value: value}, nil) {
				return left
			}
			return nil
		})
		if err != nil && err != left {
			yield(Entry{}, err)
		}
	}
}

type (
	txKey     struct{}
	writesKey struct{}
)

// WithTx returns a context for a handler, with its transaction. Runtimes call it.
func WithTx(ctx context.Context, tx *Tx) context.Context { return context.WithValue(ctx, txKey{}, tx) }

// WithWrites returns a context for the Reply or Fail that ends a deferred message: what fn writes is stored in one step with
// the answer. fn is called again when what it has read was changed by another transaction meanwhile; with its error nothing
// is answered. For everything else the context is as ctx.
func WithWrites(ctx context.Context, fn func(tx *Tx) error) context.Context {
	return context.WithValue(ctx, writesKey{}, fn)
}

// WritesFrom returns what WithWrites was given, nil without it. Runtimes call it.
func WritesFrom(ctx context.Context) func(tx *Tx) error {
	fn, _ := ctx.Value(writesKey{}).(func(*Tx) error)
	return fn
}

// Package pebble is the store on disk: a directory that holds a Pebble database.
package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Keys of what the store keeps for itself.
const (
	epochKey = string(metaSpace) + "epoch"
	groupKey = string(metaSpace) + "group"
	idKey    = string(metaSpace) + "id"
)

// closeLimit is how long Close waits for the engine once the store has failed.
const closeLimit = 10 * time.Second

// DB is an open directory. Make one with Open. Its methods may be called from any goroutine.
type DB struct {
	dir      string
	log      *slog.Logger
	guard    *guard
	ledger   *ledger
	lock     *pebble.Lock
	engine   *pebble.DB
	instance store.Instance
	// serving tells that a failed read makes the store fail: not while it is being opened, nor where it is only read.
	serving bool
	// minFree is what must be free for new work, 0 for no limit.
	minFree uint64
	room    room

	// use is held for reading by every call, and for writing to end them.
	use    sync.RWMutex
	closed bool

	commit committer

	failOnce sync.Once
	failed   chan struct{}
	failure  atomic.Pointer[error]
}

var _ store.Store = (*DB)(nil)

// fail makes the store fail for good, once.
func (d *DB) fail(err error) {
	d.failOnce.Do(func() {
		err = fmt.Errorf("%w: %w", store.ErrFailed, asDamaged(d.dir, err))
		d.failure.Store(&err)
		d.guard.frozen.Store(true) // after the failure is known: see guard
		close(d.failed)
		d.log.Error("the store has failed", "dir", d.dir, "error", err)
	})
}

// Failed implements store.Store.
func (d *DB) Failed() <-chan struct{} { return d.failed }

// Err implements store.Store.
func (d *DB) Err() error {
	if err := d.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Instance implements store.Store.
func (d *DB) Instance() store.Instance { return d.instance }

// enter begins a call; without an error, leave ends it.
func (d *DB) enter() error {
	d.use.RLock()
	err := d.Err()
	if d.closed {
		err = store.ErrClosed
	}
	if err != nil {
		d.use.RUnlock()
	}
	return err
}

func (d *DB) leave() { d.use.RUnlock() }

// Apply implements store.Store.
func (d *DB) Apply(b *store.Batch) (store.Mark, error) {
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.leave()
	mark, err := d.commit.apply(b)
	return store.Mark(mark), err
}

// guarded runs a write of the engine and reports its failure, also one that the engine reports by panicking or only to
// its logger.
func (d *DB) guarded(write func() error) (err error) {
	if err := d.Err(); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			d.fail(fmt.Errorf("writing: %v", r))
		}
		if failure := d.Err(); failure != nil {
			err = failure
		}
	}()
	if err := write(); err != nil {
		d.fail(fmt.Errorf("writing: %w", err))
	}
	return nil
}

func userKey(key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), userSpace), key...)
}

// userEnd is the engine's key for the end of a range, where nil is the end of the space.
func userEnd(key []byte) []byte {
	if key == nil {
		return []byte{userSpace + 1}
	}
	return userKey(key)
}

// Get implements store.Store.
func (d *DB) Get(key []byte) ([]byte, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	key = userKey(key)
	if err := d.commit.show(key); err != nil {
		return nil, err
	}
	return d.get(d.engine, key)
}

func (d *DB) get(engine *pebble.DB, key []byte) ([]byte, error) {
	frame, closer, err := engine.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, d.readError(err)
	}
	payload, err := d.payload(key, frame)
	payload = append([]byte{}, payload...)
	if err := errors.Join(err, closer.Close()); err != nil {
		return nil, d.readError(err)
	}
	return payload, d.Err()
}

// readError says what a failed read means. A store at work fails of it: whoever needs the record would ask again and
// again, and what else is damaged is unknown.
func (d *DB) readError(err error) error {
	if failure := d.Err(); failure != nil {
		return failure
	}
	err = fmt.Errorf("reading the store: %w", asDamaged(d.dir, err))
	if !d.serving {
		return err
	}
	d.fail(err)
	return d.Err()
}

// asDamaged makes a *store.DamagedError of what Pebble says of damage.
func asDamaged(dir string, err error) error {
	var known *store.DamagedError
	if err == nil || !pebble.IsCorruptionError(err) || errors.As(err, &known) {
		return err
	}
	file := dir
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		file = info.Path
	}
	return damaged(file, -1, err)
}

// Scan implements store.Store.
func (d *DB) Scan(start, end []byte, fn func(key, value []byte) error) error {
	return d.scan(start, end, (*pebble.Iterator).First, (*pebble.Iterator).Next, fn)
}

// ScanReverse implements store.Store.
func (d *DB) ScanReverse(start, end []byte, fn func(key, value []byte) error) error {
	return d.scan(start, end, (*pebble.Iterator).Last, (*pebble.Iterator).Prev, fn)
}

func (d *DB) scan(start, end []byte, first, next func(*pebble.Iterator) bool, fn func(key, value []byte) error) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if err := d.commit.show(nil); err != nil {
		return err
	}
	iter, err := d.engine.NewIter(&pebble.IterOptions{LowerBound: userKey(start), UpperBound: userEnd(end)})
	if err != nil {
		return d.readError(err)
	}
	err = d.each(iter, first, next, fn)
	closed := iter.Close()
	if err != nil {
		if err == store.ErrStop {
			return nil
		}
		return err
	}
	if closed != nil {
		return d.readError(closed)
	}
	return d.Err()
}

func (d *DB) each(iter *pebble.Iterator, first, next func(*pebble.Iterator) bool, fn func(key, value []byte) error) error {
	for ok := first(iter); ok; ok = next(iter) {
		frame, err := iter.ValueAndErr()
		if err != nil {
			return d.readError(err)
		}
		payload, err := d.payload(iter.Key(), frame)
		if err != nil {
			return d.readError(err)
		}
		if err := fn(iter.Key()[1:], payload); err != nil {
			return err
		}
	}
	if err := iter.Error(); err != nil {
		return d.readError(err)
	}
	return nil
}

// Sync implements store.Store.
func (d *DB) Sync(ctx context.Context, m store.Mark) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if applied := d.commit.applied.Load(); uint64(m) > applied {
		return fmt.Errorf("syncing up to mark %d: the last one is %d", m, applied)
	}
	return d.commit.wait(ctx, uint64(m))
}

func number(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// Close implements store.Store. Closing twice is no error. A failure while closing is returned; once the store has
// failed before, nothing is made durable and Close returns nil. When the engine of a failed store does not end within
// 10 s Close gives up on it: the directory then stays locked until the process ends.
func (d *DB) Close() error {
	d.use.Lock()
	closed := d.closed
	d.closed = true
	d.use.Unlock()
	if closed {
		return nil
	}
	if d.Err() != nil {
		d.abandon()
		return nil
	}
	if err := d.commit.stop(); err != nil {
		d.abandon()
		return fmt.Errorf("closing the store: %w", err)
	}
	return d.closeEngine()
}

// abandon closes a failed store.
func (d *DB) abandon() {
	done := make(chan error, 1)
	go func() {
		_ = d.commit.stop() // the store's failure
		done <- d.closeEngine()
	}()
	limit := time.NewTimer(closeLimit)
	defer limit.Stop()
	select {
	case err := <-done:
		if err != nil {
			d.log.Debug("closing the failed store", "error", err)
		}
	case <-limit.C:
		d.log.Error("the failed store's engine does not end; its directory stays locked", "dir", d.dir)
	}
}

func (d *DB) closeEngine() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("closing the store: %v", r)
		}
	}()
	err = d.engine.Close()
	if failure := d.guard.err(); failure != nil && err == nil {
		err = failure // an error that the engine was not told of
	}
	if err := errors.Join(err, d.ledger.close(), d.lock.Close()); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

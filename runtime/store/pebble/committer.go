package pebble

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// enough is how many writers are worth a group: those who come later gather while it is being synced, which keeps both
// processor and disk busy.
const enough = 32

// maxGathered bounds, in bytes, what waits for the engine while a group is being synced.
const maxGathered = 1 << 20

// committer owns all writes. Changes gather in memory, and its one goroutine gives what has gathered to the engine as one
// batch: so concurrent writers share the engine's work and the sync, and a change is applied in the time of a copy. What
// nobody waits for goes to the engine at once too, unsynced.
type committer struct {
	writer writer

	// writing is held while a batch goes to the engine, so that batches go in order. It is taken before mu.
	writing sync.Mutex
	spare   *changes      // an empty one
	written atomic.Uint64 // the mark up to which the engine has everything
	applied atomic.Uint64 // the last mark; changes under mu

	mu       sync.Mutex
	wake     sync.Cond
	gathered *changes      // what the engine has not got
	going    *changes      // what is on its way to the engine
	group    uint64        // number of the last group
	synced   uint64        // the mark up to which all is durable
	running  uint64        // the mark that the group being synced covers
	needed   uint64        // the largest mark that somebody waits for
	ended    chan struct{} // closed when the running group ends
	next     chan struct{} // closed when the one after it ends
	joined   int           // how many wait for the next group
	last     int           // how many waited for the running one
	ending   bool
	err      error
	done     chan struct{}
}

// writer is what the committer writes to.
type writer interface {
	// gather returns an empty set of changes.
	gather() *changes
	// write gives changes to the engine, unsynced.
	write(c *changes) error
	// writeGroup gives them with the end of a group, and returns what waits until the group is synced.
	writeGroup(c *changes, group uint64) (finish func() error, err error)
	// Failed is closed, and Err tells why, when the store has failed.
	Failed() <-chan struct{}
	Err() error
}

// start starts the goroutine, which stop ends.
func (c *committer) start(w writer, group uint64) {
	c.writer, c.group = w, group
	c.wake.L = &c.mu
	c.gathered, c.spare = c.writer.gather(), c.writer.gather()
	c.next = make(chan struct{})
	c.done = make(chan struct{})
	go c.run()
}

// stop makes everything durable, ends the goroutine and returns its error. Nobody may call the other methods any more.
func (c *committer) stop() error {
	c.mu.Lock()
	c.needed = max(c.needed, c.applied.Load())
	c.ending = true
	c.wake.Signal()
	c.mu.Unlock()
	<-c.done
	return c.err
}

// apply takes the changes of a batch and returns their mark.
func (c *committer) apply(b *store.Batch) (uint64, error) {
	c.mu.Lock()
	err := c.gathered.add(b)
	mark := c.applied.Load()
	if err == nil {
		mark = c.applied.Add(1)
	}
	full := c.gathered.size() >= maxGathered
	c.wake.Signal()
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if full {
		return mark, c.flush()
	}
	return mark, nil
}

// show gives the engine what a read of these keys could miss: key alone, or everything when it is nil.
func (c *committer) show(key []byte) error {
	if c.written.Load() >= c.applied.Load() {
		return nil
	}
	if key != nil {
		c.mu.Lock()
		missed := c.gathered.has(key) || c.going != nil && c.going.has(key)
		c.mu.Unlock()
		if !missed {
			return nil
		}
	}
	return c.flush()
}

// flush gives the engine all that has gathered.
func (c *committer) flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	batch, covered := c.take()
	c.mu.Unlock()
	if batch == nil {
		return nil
	}
	err := c.writer.write(batch)
	c.wrote(batch, covered, err)
	return err
}

// take returns what has gathered, nil for nothing, and the mark that it reaches up to. The caller holds writing and mu.
func (c *committer) take() (*changes, uint64) {
	covered := c.applied.Load()
	if c.gathered.empty() {
		c.written.Store(covered)
		return nil, covered
	}
	c.going, c.gathered, c.spare = c.gathered, c.spare, nil
	return c.going, covered
}

// wrote notes what became of what take returned. The caller holds writing.
func (c *committer) wrote(batch *changes, covered uint64, err error) {
	if err == nil {
		c.written.Store(covered)
	}
	c.mu.Lock()
	c.going = nil
	c.mu.Unlock()
	batch.reset() // by now nobody reads it
	c.spare = batch
}

func (c *committer) run() {
	defer close(c.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.needed <= c.synced && c.gathered.empty() && !c.ending {
			c.wake.Wait()
		}
		if c.needed <= c.synced && c.gathered.empty() {
			return
		}
		c.gather()
		if c.err = c.round(); c.err != nil {
			close(c.next)
			return
		}
	}
}

// gather lets those whom the last group has released come with their next changes, as long as more of them come: a group
// begun at once would hold the first few only, and the others would wait for two. It does not wait: with enough of them,
// or nobody else ready to run, it returns at once. The caller holds mu.
func (c *committer) gather() {
	alone := c.joined <= 1 && c.last <= 1 && c.needed > c.synced
	for before := -1; c.joined > before && c.joined < enough && !alone; {
		before = c.joined
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
}

// round writes what has gathered, as a group when somebody waits. The caller holds mu.
func (c *committer) round() error {
	if c.needed <= c.synced {
		c.mu.Unlock()
		defer c.mu.Lock()
		return c.flush()
	}
	c.mu.Unlock()
	finish, err := c.begin()
	if err == nil {
		err = finish()
	}
	c.mu.Lock()
	if err == nil {
		c.synced = max(c.synced, c.running)
	}
	close(c.ended)
	return err
}

// begin writes a group. Whoever has joined the next group so far waits for this one.
func (c *committer) begin() (finish func() error, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	batch, covered := c.take()
	c.ended, c.next = c.next, make(chan struct{})
	c.last, c.joined = c.joined, 0
	c.running = covered
	c.group++
	group := c.group
	if batch == nil {
		batch, c.spare = c.spare, nil
	}
	c.mu.Unlock()
	finish, err = c.writer.writeGroup(batch, group)
	c.wrote(batch, covered, err)
	return finish, err
}

// wait blocks until mark is durable.
func (c *committer) wait(ctx context.Context, mark uint64) error {
	for {
		ended, err := c.join(mark)
		if ended == nil {
			return err
		}
		select {
		case <-ended:
		case <-c.writer.Failed():
			return c.writer.Err()
		case <-ctx.Done():
			return fmt.Errorf("waiting until a batch is durable: %w", ctx.Err())
		}
	}
}

// join returns what is closed when the group that covers mark ends, nil when mark is durable or never will be.
func (c *committer) join(mark uint64) (<-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case mark <= c.synced || c.err != nil:
		return nil, c.err
	case mark <= c.running:
		return c.ended, nil
	case mark > c.needed:
		c.needed = mark
		c.wake.Signal()
	}
	c.joined++
	return c.next, nil
}

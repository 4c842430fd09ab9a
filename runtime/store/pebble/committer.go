package pebble

import (
	"context"
	"fmt"
	"runtime"
	"sync"
)

// committer makes marks durable in groups: while one group is being synced, whoever comes next gathers for the next
// one. Its one goroutine does the syncing.
type committer struct {
	// begin writes the group's end behind everything applied so far. It returns the mark that the group covers, and a
	// function that waits until it is synced.
	begin func(group uint64) (covered uint64, finish func() error, err error)
	// failed is closed, and failure tells why, when the store has failed.
	failed  <-chan struct{}
	failure func() error

	mu      sync.Mutex
	wake    sync.Cond
	group   uint64        // number of the last group
	synced  uint64        // the mark up to which all is durable
	running uint64        // the mark that the group being synced covers
	needed  uint64        // the largest mark that somebody waits for
	ended   chan struct{} // closed when the running group ends
	next    chan struct{} // closed when the one after it ends, or when none is needed
	joined  int           // how many wait for the next group
	last    int           // how many waited for the running one
	ending  bool
	err     error
	done    chan struct{}
}

// start starts the goroutine, which stop ends.
func (c *committer) start() {
	c.wake.L = &c.mu
	c.next = make(chan struct{})
	c.done = make(chan struct{})
	go c.run()
}

// stop syncs everything up to mark, ends the goroutine and returns its error. Nobody may call wait any more.
func (c *committer) stop(mark uint64) error {
	c.mu.Lock()
	c.needed = max(c.needed, mark)
	c.ending = true
	c.wake.Signal()
	c.mu.Unlock()
	<-c.done
	return c.err
}

func (c *committer) run() {
	defer close(c.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.needed <= c.synced && !c.ending {
			c.wake.Wait()
		}
		if c.needed <= c.synced {
			return
		}
		c.gather()
		if c.err = c.round(); c.err != nil {
			close(c.next)
			return
		}
	}
}

// gather lets those whom the last group has released come with their next batch, as long as more of them come: a group
// begun at once would hold the first few only, and the others would wait for two. It does not wait: with nobody else
// ready to run it returns at once. The caller holds mu.
func (c *committer) gather() {
	alone := c.joined <= 1 && c.last <= 1
	for before := -1; c.joined > before && !alone; {
		before = c.joined
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.last, c.joined = c.joined, 0
}

// round syncs one group. The caller holds mu.
func (c *committer) round() error {
	c.ended, c.next = c.next, make(chan struct{})
	defer func() { close(c.ended) }()
	group := c.group + 1
	c.mu.Unlock()
	covered, finish, err := c.begin(group)
	c.mu.Lock()
	if err != nil {
		return err
	}
	c.group, c.running = group, covered
	c.mu.Unlock()
	err = finish()
	c.mu.Lock()
	if err != nil {
		return err
	}
	c.synced = max(c.synced, covered)
	if c.needed <= c.synced {
		// Whoever came before the group's mark was known waits for a group that nobody needs.
		close(c.next)
		c.next = make(chan struct{})
	}
	return nil
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
		case <-c.failed:
			return c.failure()
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

package kv

import (
	"context"
	"fmt"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// sweepStep is how many rows one batch of a sweep ends.
const sweepStep = 256

// Expire ends what has run out at now, and returns when something is due next.
func (e *Engine) Expire(ctx context.Context, now time.Time) (time.Time, error) {
	if err := e.ready(ctx); err != nil {
		return time.Time{}, err
	}
	now = e.at(now)
	wake, err := e.lockSwept(now)
	e.mu.Unlock()
	more := false
	if err == nil {
		var told []string
		told, more, err = e.tellLost(now)
		wake = append(wake, told...)
	}
	e.mu.Lock()
	next := e.nextDue()
	if more {
		next = now
	}
	mark := e.mark
	e.mu.Unlock()
	if err == nil {
		err = e.s.Sync(ctx, mark)
	}
	e.wake(wake)
	if err != nil {
		return time.Time{}, fmt.Errorf("expire: %w", err)
	}
	return next, nil
}

func (e *Engine) nextDue() time.Time {
	var next time.Time
	if r := e.due.top(); r != nil {
		next = r.due
	}
	if r := e.ends.top(); r != nil && (next.IsZero() || r.until.Before(next)) {
		next = r.until
	}
	return next
}

// lockSwept ends what has run out at now, gives others a turn between its batches, and returns with the engine locked
// when nothing is due any more, or an error came. The addresses are those at which something has become available.
func (e *Engine) lockSwept(now time.Time) (wake []string, err error) {
	for {
		e.mu.Lock()
		c := e.begin()
		n, err := e.sweepSome(c, now)
		if err != nil || n == 0 {
			return wake, err
		}
		wake = append(wake, c.wake...)
		e.mu.Unlock()
	}
}

// sweepSome ends some rows in one batch, and says how many: leases first, since what comes back may have run out too. The
// rows leave their heap while they are gathered, and return when the batch fails.
func (e *Engine) sweepSome(c *change, now time.Time) (int, error) {
	heap, end := &e.ends, c.runOut
	if r := e.ends.top(); r == nil || r.until.After(now) {
		heap, end = &e.due, c.expire
	}
	var out []*row
	restore := func() {
		for _, r := range out {
			heap.push(r)
		}
	}
	for len(out) < sweepStep {
		r := heap.top()
		if r == nil || heap == &e.ends && r.until.After(now) || heap == &e.due && r.due.After(now) {
			break
		}
		heap.remove(r)
		out = append(out, r)
		if err := end(r, now); err != nil {
			restore()
			return 0, err
		}
	}
	if len(out) == 0 {
		return 0, nil
	}
	if err := c.commit(); err != nil {
		restore()
		return 0, err
	}
	return len(out), nil
}

// expire gives up a row whose wait has ended.
func (c *change) expire(r *row, now time.Time) error {
	switch {
	case r.expired(now):
		return c.giveUp(r, now, storagepb.QueueDeadLetter_CLASS_EXPIRED, ack.TTLExpired, fmt.Sprintf("%s after %v in the queue", reasonExpired, r.ttl))
	default:
		return c.giveUp(r, now, storagepb.QueueDeadLetter_CLASS_UNANSWERABLE, ack.NoCode, fmt.Sprintf("%s for %v", reasonUnfetched, c.e.limits.KeepUnfetched))
	}
}

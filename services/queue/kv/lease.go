package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// handout is a leased row as it was when it was leased.
type handout struct {
	row        *row
	deliveries int
}

// Lease hands out the oldest messages that wait at the addresses.
func (e *Engine) Lease(ctx context.Context, r queue.LeaseRequest) ([]queue.Delivery, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	if r.MaxMessages <= 0 || len(r.Addresses) == 0 || checkHolder(r.Holder) != nil {
		return nil, nil
	}
	r.Now = e.at(r.Now)
	wake, err := e.lockSwept(r.Now)
	var taken []handout
	if err == nil && e.current(r.Holder) {
		taken, err = e.take(&r)
	}
	var mark store.Mark
	for _, h := range taken {
		mark = max(mark, h.row.mark)
	}
	e.mu.Unlock()
	e.wake(wake)
	if err != nil {
		return nil, fmt.Errorf("lease to agent %s: %w", r.Holder.Agent, err)
	}
	deliveries, err := e.load(ctx, mark, taken, r.Now)
	if err != nil {
		e.undo(r.Holder, taken)
		return nil, fmt.Errorf("lease to agent %s: %w", r.Holder.Agent, err)
	}
	return deliveries, nil
}

// take leases what fits. The new delivery counts are written and not synced: a lost one repeats a delivery at worst.
func (e *Engine) take(req *queue.LeaseRequest) ([]handout, error) {
	var queues []*rowQueue
	seen := make(map[string]bool, len(req.Addresses))
	for _, a := range req.Addresses {
		if q := e.queues[queueKey{req.Class, a}]; q != nil && !seen[a] {
			seen[a] = true
			queues = append(queues, q)
		}
	}
	if len(queues) == 0 {
		return nil, nil
	}
	c := e.begin()
	// Rows leave their queue while they are chosen, and return when nothing comes of it.
	var out []*row
	var stale []*row
	restore := func() {
		for _, r := range append(out, stale...) {
			e.queues[r.queue].waiting.push(r)
		}
	}
	var total int64
	for len(out) < req.MaxMessages {
		r := first(queues)
		if r == nil {
			break
		}
		if r.copy && r.copyStore != req.Holder.Store {
			// The custody that it reminds of went with the store before.
			e.queues[r.queue].waiting.remove(r)
			stale = append(stale, r)
			c.drop(r)
			continue
		}
		if len(out) > 0 && total+r.bytes > req.MaxBytes {
			break
		}
		total += r.bytes
		e.queues[r.queue].waiting.remove(r)
		out = append(out, r)
		p := r.record(r.deliveries+1, req.Holder.Agent, req.Holder.Store)
		p.HandedOut = r.withHandout(req.Holder, req.Now)
		if err := c.put(r.queue.rowKey(r.seq), p); err != nil {
			restore()
			return nil, err
		}
	}
	if _, err := c.apply(); err != nil {
		restore()
		return nil, err
	}
	taken := make([]handout, len(out))
	for i, r := range out {
		r.handouts = r.withHandout(req.Holder, req.Now)
		r.deliveries++
		var from time.Time
		if req.Audible {
			from = req.Now
		}
		e.lease(r, req.Holder, from, req.Until)
		taken[i] = handout{r, r.deliveries}
	}
	return taken, nil
}

// first returns the oldest row that waits in any of the queues.
func first(queues []*rowQueue) *row {
	var oldest *row
	for _, q := range queues {
		if r := q.waiting.top(); r != nil && (oldest == nil || r.seq < oldest.seq) {
			oldest = r
		}
	}
	return oldest
}

// load reads the envelopes of leased rows once they are durable.
func (e *Engine) load(ctx context.Context, mark store.Mark, taken []handout, now time.Time) ([]queue.Delivery, error) {
	if len(taken) == 0 {
		return nil, nil
	}
	began := e.now()
	if err := e.s.Sync(ctx, mark); err != nil {
		return nil, err
	}
	now = now.Add(max(e.now().Sub(began), 0)) // the disk may have been slow
	deliveries := make([]queue.Delivery, 0, len(taken))
	for _, h := range taken {
		env, err := e.envelope(h.row.seq)
		if errors.Is(err, store.ErrNotFound) {
			// Its outcome came in the meantime.
			continue
		}
		if err != nil {
			return nil, err
		}
		if h.row.ttl > 0 {
			left := h.row.ttl - max(now.Sub(h.row.accepted), 0)
			env.TtlMs = uint64(max(left.Milliseconds(), 1))
		}
		deliveries = append(deliveries, queue.Delivery{
			Seq: h.row.seq, To: h.row.to, Class: h.row.queue.class, Envelope: env, Bytes: h.row.bytes, Deliveries: h.deliveries,
		})
	}
	return deliveries, nil
}

// undo gives back what could not be handed out.
func (e *Engine) undo(h queue.Holder, taken []handout) {
	var wake []string
	e.mu.Lock()
	for _, t := range taken {
		if r := t.row; r.leased && r.holder == h && r.deliveries == t.deliveries {
			r.deliveries--
			r.handouts = r.handouts[:len(r.handouts)-1]
			e.giveBack(r)
			wake = append(wake, r.queue.address)
		}
	}
	e.mu.Unlock()
	e.wake(wake)
}

// envelope reads a row's envelope.
func (e *Engine) envelope(seq int64) (*commonpb.Envelope, error) {
	key := bodyKey(seq)
	body, err := e.s.Get(key)
	if err != nil {
		return nil, fmt.Errorf("read the envelope of %d: %w", seq, err)
	}
	env := new(commonpb.Envelope)
	if err := proto.Unmarshal(body, env); err != nil {
		return nil, damaged(key, fmt.Errorf("decode the envelope of %d: %w", seq, err))
	}
	return env, nil
}

// Heard notes when something came last from a holder.
func (e *Engine) Heard(h queue.Holder, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard[h] = e.at(now)
}

// Release gives the holder's leases back to their queues.
func (e *Engine) Release(ctx context.Context, h queue.Holder) error {
	// Leases end whether or not anybody waits for it: their holder is gone.
	e.mu.Lock()
	delete(e.heard, h)
	c := e.begin()
	var err error
	for _, r := range e.leasedBy(h.Agent) {
		if r.holder != h {
			continue
		}
		if err = c.endLease(r, e.now()); err != nil {
			break
		}
	}
	if err == nil {
		err = c.commit()
	}
	mark, wrote := e.mark, c.batch.Len() > 0
	e.mu.Unlock()
	if err == nil && wrote {
		err = e.s.Sync(ctx, mark)
	}
	e.wake(c.wake)
	if err != nil {
		return fmt.Errorf("release the leases of agent %s: %w", h.Agent, err)
	}
	return nil
}

// endLease gives a row back whose holder's stream has ended.
func (c *change) endLease(r *row, now time.Time) error {
	r.ended(storagepb.QueueDelivery_END_STREAM, now)
	if r.holder.Store == "" {
		return c.failLease(r, now)
	}
	c.giveBack(r)
	return nil
}

// runOut gives a row back whose lease is over. When nothing was heard of its holder since it began, it does not count.
func (c *change) runOut(r *row, now time.Time) error {
	if !r.from.IsZero() && !c.e.heard[r.holder].After(r.from) {
		r.ended(storagepb.QueueDelivery_END_SILENT, now)
		c.giveBack(r)
		return nil
	}
	return c.failLease(r, now)
}

// failLease gives a leased row back with one delivery less, or gives it up when it has none left.
func (c *change) failLease(r *row, now time.Time) error {
	r.ended(storagepb.QueueDelivery_END_LEASE, now) // unless its stream has
	if r.spent+1 >= c.e.limits.DeliveryBudget {
		return c.exhaust(r, now)
	}
	c.then = append(c.then, func(store.Mark) { r.spent++ })
	c.giveBack(r)
	p := r.record(r.deliveries, r.lastAgent, r.lastStore)
	p.Spent++
	return c.put(r.queue.rowKey(r.seq), p)
}

// giveBack lets a leased row wait again.
func (c *change) giveBack(r *row) {
	c.then = append(c.then, func(store.Mark) { c.e.giveBack(r) })
	c.wake = append(c.wake, r.queue.address)
}

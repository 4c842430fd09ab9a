package kv

import (
	"context"
	"fmt"
	"slices"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// maxFormer is how many replaced stores of an agent are remembered.
const maxFormer = 64

// instance is who speaks for an agent.
type instance struct {
	store      string
	epoch      uint64
	generation uint64
	former     []string
	// untold says that Expire has still to tell of custody that went with another store.
	untold bool
	// expiresMs is when it may be forgotten.
	expiresMs int64
}

// record returns what lies on disk.
func (i instance) record() *storagepb.QueueInstance {
	return &storagepb.QueueInstance{
		Store: i.store, Epoch: i.epoch, Generation: i.generation, Former: i.former, Untold: i.untold, ExpiresMs: i.expiresMs,
	}
}

// current tells whether h speaks for its agent. An agent that was never admitted has nobody else who could.
func (e *Engine) current(h queue.Holder) bool {
	i, ok := e.instances[h.Agent]
	return !ok || i.store == h.Store && (h.Store == "" || i.epoch == h.Epoch)
}

// lost tells whether the store with a token's custody was replaced.
func (e *Engine) lost(t *storagepb.QueueToken) bool {
	i, ok := e.instances[t.GetCustodian()]
	if !ok {
		return false
	}
	// One unnamed store looks like the next; their generations differ.
	return i.store != t.GetCustodianStore() || i.store == "" && i.generation != t.GetCustodianGeneration()
}

// Admit decides whether an instance may connect.
func (e *Engine) Admit(ctx context.Context, h queue.Holder, live bool) (queue.Admission, error) {
	if err := e.ready(ctx); err != nil {
		return 0, err
	}
	if h.Agent == address.RouterID {
		return queue.RefusedDuplicate, nil
	}
	if err := checkHolder(h); err != nil {
		return 0, fmt.Errorf("admit agent: %w", err)
	}
	var admission queue.Admission
	err := e.transition(ctx, func(c *change) (err error) {
		admission, err = e.admit(c, h, live)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("admit agent %s: %w", h.Agent, err)
	}
	return admission, nil
}

func (e *Engine) admit(c *change, h queue.Holder, live bool) (queue.Admission, error) {
	old, known := e.instances[h.Agent]
	next := old
	next.store, next.epoch = h.Store, h.Epoch
	switch {
	case !known && len(e.instances) >= e.limits.MaxAgents:
		return queue.RefusedFull, nil
	case !known && h.Store == "":
	case !known:
		// Custody from before was an unnamed store's.
		next.generation++
	case slices.Contains(old.former, h.Store):
		return queue.RefusedRolledBack, nil
	case h.Store == old.store && h.Store == "":
		return queue.Admitted, c.seen(h.Agent, old, e.now())
	case h.Store == old.store:
		if h.Epoch < old.epoch {
			return queue.RefusedRolledBack, nil
		}
		if h.Epoch == old.epoch {
			return queue.Admitted, c.seen(h.Agent, old, e.now())
		}
	case live:
		return queue.RefusedDuplicate, nil
	default:
		next.generation++
		if old.store != "" {
			// The unnamed store is never a former one: it stands for every peer that names none.
			next.former = append(slices.Clone(old.former), old.store)
			if n := len(next.former) - maxFormer; n > 0 {
				next.former = next.former[n:]
			}
			e.log.Warn("an agent's store was replaced; what was in its custody is lost", "agent", h.Agent, "store", old.store, "by", h.Store)
		}
	}
	replaced := next.generation != old.generation
	next.untold = next.untold || replaced
	if replaced {
		c.then = append(c.then, func(store.Mark) { e.lostCustody.add(h.Agent) })
	}
	// Nobody can take custody of what the instance before had leased.
	for _, r := range e.leasedBy(h.Agent) {
		if r.holder.Store != h.Store || r.holder.Epoch != h.Epoch {
			if err := c.endLease(r, e.now()); err != nil {
				return 0, err
			}
		}
	}
	if old.store != "" && old.store != h.Store {
		c.forgetMark(producerKey{h.Agent, old.store})
	}
	return queue.Admitted, c.keepAgent(h.Agent, next, e.now())
}

func (c *change) forgetMark(k producerKey) {
	c.batch.Delete(k.markKey())
	c.then = append(c.then, func(store.Mark) {
		delete(c.e.producers, k)
		delete(c.e.behind, k)
	})
}

package kv

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// recover reads what is active: counters, instances, marks, and the rows of every queue from its head on. Envelopes,
// tokens and message ids stay where they are.
func (e *Engine) recover(ctx context.Context) error {
	var counters storagepb.QueueCounters
	if _, err := e.read(countersKey(), &counters); err != nil {
		return err
	}
	// Numbers that were reserved and not given are skipped: nobody knows how many were.
	e.lastSeq, e.reserved = counters.GetReservedSeq(), counters.GetReservedSeq()
	e.prunedMs = counters.GetPrunedUntilMs()
	e.dead = deadCount{counters.GetDead(), counters.GetDeadBytes()}
	if err := e.recoverInstances(); err != nil {
		return fmt.Errorf("read instances: %w", err)
	}
	e.noteAgents()
	if err := e.recoverMarks(); err != nil {
		return fmt.Errorf("read marks: %w", err)
	}
	if err := e.recoverRows(ctx); err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	return nil
}

func (e *Engine) recoverInstances() error {
	var unbounded []string
	start, end := kindRange(kindInstance)
	err := e.s.Scan(start, end, func(key, value []byte) error {
		var p storagepb.QueueInstance
		if err := decode(key, value, &p); err != nil {
			return err
		}
		agent := string(key[len(start):])
		i := instance{
			store: p.GetStore(), epoch: p.GetEpoch(), generation: p.GetGeneration(), former: p.GetFormer(), untold: p.GetUntold(),
			expiresMs: p.GetExpiresMs(),
		}
		e.instances[agent] = i
		if i.untold {
			e.lostCustody.add(agent)
		}
		if i.expiresMs == 0 {
			unbounded = append(unbounded, agent)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// An earlier version kept them for good.
	for agents := range slices.Chunk(unbounded, sweepStep) {
		c := e.begin()
		for _, agent := range agents {
			if err := c.keepAgent(agent, e.instances[agent], e.now()); err != nil {
				return err
			}
		}
		if err := c.commit(); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) recoverMarks() error {
	start, end := kindRange(kindMark)
	return e.s.Scan(start, end, func(key, value []byte) error {
		var p storagepb.QueueMark
		if err := decode(key, value, &p); err != nil {
			return err
		}
		if k, ok := parseMarkKey(key); ok {
			e.producers[k] = &producerMark{lowestOpen: p.GetLowestOpen(), pruned: p.GetLowestOpen()}
		}
		return nil
	})
}

func (e *Engine) recoverRows(ctx context.Context) error {
	heads := make(map[queueKey]int64)
	start, end := kindRange(kindHead)
	err := e.s.Scan(start, end, func(key, value []byte) error {
		var p storagepb.QueueHead
		if err := decode(key, value, &p); err != nil {
			return err
		}
		if k, ok := parseHeadKey(key); ok {
			heads[k] = p.GetSeq()
		}
		return nil
	})
	if err != nil {
		return err
	}
	var idle store.Batch
	for k, seq := range heads {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.recoverQueue(k, seq); err != nil {
			return err
		}
		if e.queues[k] == nil {
			idle.Delete(k.headKey())
		}
	}
	if idle.Len() == 0 {
		return nil
	}
	_, err = e.s.Apply(&idle)
	return err
}

func (e *Engine) recoverQueue(k queueKey, head int64) error {
	now := e.now()
	return e.s.Scan(k.rowKey(head), k.rowsEnd(), func(key, value []byte) error {
		var p storagepb.QueueRow
		if err := decode(key, value, &p); err != nil {
			return err
		}
		r := rowOf(&p)
		if !bytes.Equal(r.queue.rowKey(r.seq), key) {
			return damaged(key, fmt.Errorf("it says that it is row %d at %q", r.seq, r.queue.address))
		}
		r.setDue(e.limits.KeepUnfetched)
		r.ended(storagepb.QueueDelivery_END_RESTART, now)
		e.lastSeq = max(e.lastSeq, r.seq)
		e.insert(r)
		return nil
	})
}

// producerMark is how far a producer's store has ended its operations.
type producerMark struct {
	// lowestOpen is the highest that was seen, pruned how far its tokens are gone.
	lowestOpen, pruned uint64
}

// noteLowestOpen raises a producer's mark, in memory only: the next submission tells it again.
func (e *Engine) noteLowestOpen(k producerKey, lowestOpen uint64) {
	if lowestOpen == 0 {
		return
	}
	p := e.producers[k]
	if p == nil {
		p = new(producerMark)
		e.producers[k] = p
	}
	if lowestOpen > p.lowestOpen {
		p.lowestOpen = lowestOpen
		e.behind[k] = p
	}
}

// expiresMs is when what was accepted at t may be forgotten.
func (e *Engine) expiresMs(t time.Time, deadlineLeft time.Duration) int64 {
	keep := e.limits.KeepUnknown
	if deadlineLeft > 0 {
		keep = min(deadlineLeft, maxDeadline) + e.limits.Window
	}
	// The index begins at prunedMs; what lay before it would never be found.
	return max(t.Add(keep).UnixMilli(), e.prunedMs+1)
}

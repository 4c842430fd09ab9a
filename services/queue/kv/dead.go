package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// deadCount counts the dead letters that are kept.
type deadCount struct{ letters, bytes int64 }

// evicting is how many of the oldest dead letters a change removes to make room, and where others begin.
type evicting struct {
	count int
	// from is behind the last one that goes, lowest the first key that the change adds.
	from, lowest []byte
	// own are those that the change itself has added.
	own []buried
}

type buried struct {
	key    []byte
	letter *storagepb.QueueDeadLetter
}

// bury makes a row a dead letter. The oldest ones make room for it.
func (c *change) bury(r *row, class storagepb.QueueDeadLetter_Class, code ack.Code, reason string, now time.Time) error {
	c.batch.Delete(r.queue.rowKey(r.seq))
	key := deadKey(now, r.seq)
	letter := &storagepb.QueueDeadLetter{
		Row:    r.record(r.deliveries, r.lastAgent, r.lastStore),
		Reason: reason, DiedAt: now.UnixNano(), Class: class, Code: commonpb.ErrorCode(code),
	}
	if err := c.put(key, letter); err != nil {
		return err
	}
	c.evicted.own = append(c.evicted.own, buried{key, letter})
	c.dead.letters++
	c.dead.bytes += r.bytes
	c.then = append(c.then, func(store.Mark) {
		c.e.remove(r)
		c.e.deadFrom = earliest(c.e.deadFrom, key) // a clock may have been set back
	})
	if c.evicted.lowest == nil {
		c.evicted.lowest = key
	}
	c.evicted.lowest = earliest(c.evicted.lowest, key)
	return c.makeRoom()
}

// makeRoom removes the oldest dead letters for as long as there are too many, those of this change last.
func (c *change) makeRoom() error {
	limits := c.e.limits
	start, end := kindRange(kindDead)
	if c.evicted.from == nil {
		if c.evicted.from = c.e.deadFrom; c.evicted.from == nil {
			c.evicted.from = start
		}
	}
	for c.dead.letters > int64(limits.MaxDead) || c.dead.bytes > limits.MaxDeadBytes {
		var key []byte
		letter := new(storagepb.QueueDeadLetter)
		err := c.e.s.Scan(c.evicted.from, end, func(k, value []byte) error {
			key = bytes.Clone(k)
			if err := decode(k, value, letter); err != nil {
				return err
			}
			return store.ErrStop
		})
		if err != nil {
			return fmt.Errorf("find the oldest dead letter: %w", err)
		}
		if key == nil && len(c.evicted.own) == 0 {
			break
		}
		c.evicted.count++
		if key == nil {
			own := c.evicted.own[0]
			c.evicted.own = c.evicted.own[1:]
			c.forgetDead(own.key, own.letter)
			continue
		}
		c.forgetDead(key, letter)
		c.evicted.from = after(key)
	}
	if n := c.evicted.count; n > 0 {
		from := earliest(c.evicted.from, c.evicted.lowest)
		c.evicted.count = 0
		c.then = append(c.then, func(store.Mark) {
			c.e.deadFrom = from
			c.e.log.Warn("the oldest dead letters were removed to make room", "removed", n, "max", limits.MaxDead, "max_bytes", limits.MaxDeadBytes)
		})
	}
	return nil
}

func earliest(a, b []byte) []byte {
	if bytes.Compare(b, a) < 0 {
		return b
	}
	return a
}

// forgetDead removes a dead letter.
func (c *change) forgetDead(key []byte, letter *storagepb.QueueDeadLetter) {
	c.batch.Delete(key)
	c.batch.Delete(bodyKey(letter.GetRow().GetSeq()))
	c.dead.letters--
	c.dead.bytes -= letter.GetRow().GetBytes()
}

// pruneDead removes dead letters that were kept long enough.
func (e *Engine) pruneDead(now time.Time) (bool, error) {
	start, _ := kindRange(kindDead)
	c, found, more := e.begin(), 0, false
	err := e.s.Scan(start, deadFrom(now.Add(-e.limits.KeepDead)), func(key, value []byte) error {
		if found == pruneStep {
			more = true
			return store.ErrStop
		}
		letter := new(storagepb.QueueDeadLetter)
		if err := decode(key, value, letter); err != nil {
			return err
		}
		found++
		c.forgetDead(slices.Clone(key), letter)
		return nil
	})
	if err != nil || found == 0 {
		return false, err
	}
	if err := c.commit(); err != nil {
		return false, err
	}
	e.log.Info("dead letters were removed after their time", "removed", found, "kept_for", e.limits.KeepDead)
	return more, nil
}

// deadLetter makes of what is stored what callers get.
func deadLetter(p *storagepb.QueueDeadLetter, env *commonpb.Envelope) queue.DeadLetter {
	return queue.DeadLetter{
		Seq: p.GetRow().GetSeq(), To: p.GetRow().GetTo(), Class: p.GetRow().GetClass(), Envelope: env,
		Kind: deadKind(p), Code: ack.Code(p.GetCode()), Reason: p.GetReason(), Bytes: p.GetRow().GetBytes(),
		Deliveries: int(p.GetRow().GetDeliveries()), Handouts: handoutsOf(p.GetRow().GetHandedOut()),
		AcceptedAt: time.Unix(0, p.GetRow().GetAcceptedAt()), DiedAt: time.Unix(0, p.GetDiedAt()),
	}
}

func deadKind(p *storagepb.QueueDeadLetter) queue.DeadKind {
	switch p.GetClass() {
	case storagepb.QueueDeadLetter_CLASS_RETRYABLE:
		return queue.Retryable
	case storagepb.QueueDeadLetter_CLASS_PERMANENT:
		return queue.Permanent
	case storagepb.QueueDeadLetter_CLASS_EXPIRED:
		return queue.Expired
	case storagepb.QueueDeadLetter_CLASS_UNANSWERABLE:
		return queue.Unanswerable
	default:
		return ""
	}
}

// ErrNoDeadLetter says that there is no dead letter with this number.
var ErrNoDeadLetter = errors.New("there is no such dead letter")

// DropDead removes a dead letter for good. ErrNoDeadLetter when there is none.
func (e *Engine) DropDead(ctx context.Context, seq int64) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	err := e.transition(ctx, func(c *change) error {
		key, letter, err := e.findDead(seq)
		if err == nil {
			c.forgetDead(key, letter)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove dead letter %d: %w", seq, err)
	}
	return nil
}

// findDead looks for a dead letter by its number. They lie by the time of their end, and are few.
func (e *Engine) findDead(seq int64) (key []byte, letter *storagepb.QueueDeadLetter, err error) {
	start, end := kindRange(kindDead)
	err = e.s.Scan(start, end, func(k, value []byte) error {
		if n, ok := deadSeq(k); !ok || n != seq {
			return nil
		}
		key, letter = bytes.Clone(k), new(storagepb.QueueDeadLetter)
		if err := decode(k, value, letter); err != nil {
			return err
		}
		return store.ErrStop
	})
	if err == nil && key == nil {
		err = ErrNoDeadLetter
	}
	return key, letter, err
}

package kv

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

const (
	// seqBlock is how many sequence numbers one write reserves.
	seqBlock = 4096
	// headStep is after how many removed rows a queue's head is written again, which bounds what Open steps over.
	headStep = 1024
)

// change collects one transition: what it writes, and what memory does once that is applied. It is built and committed
// while the engine is locked, and changes nothing before. It sees its own records.
type change struct {
	e     *Engine
	batch store.Batch
	then  []func(store.Mark)
	wake  []string

	tokens map[tokenKey]cached[*storagepb.QueueToken]
	ids    map[string]cached[*storagepb.QueueMessageId]
	heads  map[queueKey]bool
	// lastSeq and reserved are the engine's, as they will be.
	lastSeq, reserved int64
	// dead is what the engine counts, as it will be.
	dead    deadCount
	evicted evicting
}

// cached is a record that a change has read. A changed nil is one that goes.
type cached[T any] struct {
	record  T
	changed bool
}

func (e *Engine) begin() *change {
	return &change{e: e, lastSeq: e.lastSeq, reserved: e.reserved, dead: e.dead}
}

// transition makes one change under the lock, and returns once it is durable, and whatever it has read.
func (e *Engine) transition(ctx context.Context, do func(c *change) error) error {
	e.mu.Lock()
	c := e.begin()
	err := do(c)
	if err == nil {
		err = c.commit()
	}
	mark := e.mark
	e.mu.Unlock()
	if err != nil {
		return err
	}
	err = e.s.Sync(ctx, mark)
	e.wake(c.wake)
	return err
}

// commit applies the change. Answers that tell of it wait until the engine's mark is synced.
func (c *change) commit() error {
	mark, err := c.apply()
	if err != nil {
		return err
	}
	c.e.mark = max(c.e.mark, mark)
	return nil
}

// apply is commit for what may be lost.
func (c *change) apply() (store.Mark, error) {
	e := c.e
	if err := c.flush(); err != nil {
		return 0, err
	}
	if c.reserved != e.reserved || c.dead != e.dead {
		if err := c.putCounters(c.reserved, e.prunedMs); err != nil {
			return 0, err
		}
	}
	var mark store.Mark
	if c.batch.Len() > 0 {
		var err error
		if mark, err = e.s.Apply(&c.batch); err != nil {
			return 0, fmt.Errorf("apply: %w", err)
		}
	}
	e.lastSeq, e.reserved, e.dead = c.lastSeq, c.reserved, c.dead
	for _, f := range c.then {
		f(mark)
	}
	return mark, nil
}

// flush writes the records that were changed.
func (c *change) flush() error {
	for key, t := range c.tokens {
		switch {
		case !t.changed:
		case t.record == nil:
			c.batch.Delete(tokenEntryKey(key))
		default:
			if err := c.put(tokenEntryKey(key), t.record); err != nil {
				return err
			}
		}
	}
	for id, m := range c.ids {
		switch {
		case !m.changed:
		case m.record == nil:
			c.batch.Delete(idKey(id))
		default:
			if err := c.put(idKey(id), m.record); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *change) put(key []byte, m proto.Message) error {
	value, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %T: %w", m, err)
	}
	c.batch.Set(key, value)
	return nil
}

func (c *change) putCounters(reserved, prunedMs int64) error {
	return c.put(countersKey(), &storagepb.QueueCounters{
		ReservedSeq: reserved, PrunedUntilMs: prunedMs, Dead: c.dead.letters, DeadBytes: c.dead.bytes,
	})
}

// nextSeq gives a number that was never given. The batch that uses it holds the reservation too.
func (c *change) nextSeq() int64 {
	c.lastSeq++
	if c.lastSeq > c.reserved {
		c.reserved = c.lastSeq + seqBlock - 1
	}
	return c.lastSeq
}

// token returns a token's entry, nil when there is none. Whoever changes it calls saveToken.
func (c *change) token(key tokenKey) (*storagepb.QueueToken, error) {
	if t, ok := c.tokens[key]; ok {
		return t.record, nil
	}
	t := new(storagepb.QueueToken)
	if ok, err := c.e.read(tokenEntryKey(key), t); err != nil {
		return nil, err
	} else if !ok {
		t = nil
	}
	c.keepToken(key, t, false)
	return t, nil
}

// saveToken writes an entry with the change, or removes it when t is nil.
func (c *change) saveToken(key tokenKey, t *storagepb.QueueToken) { c.keepToken(key, t, true) }

func (c *change) keepToken(key tokenKey, t *storagepb.QueueToken, changed bool) {
	if c.tokens == nil {
		c.tokens = make(map[tokenKey]cached[*storagepb.QueueToken], 1)
	}
	c.tokens[key] = cached[*storagepb.QueueToken]{t, changed}
}

// id returns what a message id names, nil when it is unknown. Whoever changes it calls saveID.
func (c *change) id(messageID string) (*storagepb.QueueMessageId, error) {
	if m, ok := c.ids[messageID]; ok {
		return m.record, nil
	}
	if messageID == "" || len(messageID) > maxMessageID {
		return nil, nil
	}
	m := new(storagepb.QueueMessageId)
	if ok, err := c.e.read(idKey(messageID), m); err != nil {
		return nil, err
	} else if !ok {
		m = nil
	}
	for _, a := range m.GetAttempts() {
		if n := len(a.GetTokenKey()); n != len(tokenKey{}) {
			return nil, damaged(idKey(messageID), fmt.Errorf("the key of a token has %d bytes", n))
		}
	}
	c.keepID(messageID, m, false)
	return m, nil
}

// saveID writes what an id names with the change, or removes it when m is nil.
func (c *change) saveID(messageID string, m *storagepb.QueueMessageId) { c.keepID(messageID, m, true) }

func (c *change) keepID(messageID string, m *storagepb.QueueMessageId, changed bool) {
	if c.ids == nil {
		c.ids = make(map[string]cached[*storagepb.QueueMessageId], 1)
	}
	c.ids[messageID] = cached[*storagepb.QueueMessageId]{m, changed}
}

// add lets a row wait, with its envelope.
func (c *change) add(r *row, body []byte) error {
	r.setDue(c.e.limits.KeepUnfetched)
	if err := c.put(r.queue.rowKey(r.seq), r.record(0, "", "")); err != nil {
		return err
	}
	c.batch.Set(bodyKey(r.seq), body)
	q := c.e.queues[r.queue]
	switch {
	case c.heads[r.queue]:
	case q == nil:
		if err := c.putHead(r.queue, r.seq); err != nil {
			return err
		}
	case q.removed >= headStep:
		if err := c.putHead(r.queue, q.oldest().seq); err != nil {
			return err
		}
		c.then = append(c.then, func(store.Mark) { q.removed = 0 })
	}
	c.then = append(c.then, func(mark store.Mark) {
		r.mark = mark
		c.e.insert(r)
	})
	c.wake = append(c.wake, r.queue.address)
	return nil
}

func (c *change) putHead(k queueKey, seq int64) error {
	if c.heads == nil {
		c.heads = make(map[queueKey]bool, 1)
	}
	c.heads[k] = true
	return c.put(k.headKey(), &storagepb.QueueHead{Seq: seq})
}

// drop removes a row and its envelope.
func (c *change) drop(r *row) {
	c.batch.Delete(r.queue.rowKey(r.seq))
	c.batch.Delete(bodyKey(r.seq))
	c.then = append(c.then, func(store.Mark) { c.e.remove(r) })
}

// read decodes a record and tells whether there is one.
func (e *Engine) read(key []byte, m proto.Message) (bool, error) {
	value, err := e.s.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %T: %w", m, err)
	}
	return true, decode(key, value, m)
}

// decode reads a record. One that passed the store's checks and still does not decode was not written by this engine.
func decode(key, value []byte, m proto.Message) error {
	if err := proto.Unmarshal(value, m); err != nil {
		return damaged(key, fmt.Errorf("decode %T: %w", m, err))
	}
	return nil
}

// damaged says that a record is not one that this engine has written.
func damaged(key []byte, err error) error {
	return &store.DamagedError{File: "the queue's store", Offset: -1, Key: append([]byte(nil), key...), Err: err}
}

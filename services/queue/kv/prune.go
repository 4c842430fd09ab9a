package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// pruneStep is how many index entries one batch of Prune works on: the engine is locked for so long.
const pruneStep = 64

// Prune forgets finished tokens, message ids, agents and dead letters whose time has passed at now. What it removed may
// come back after a crash, and is removed again. It also logs which bounds have room again, so it is to be called from time to
// time.
func (e *Engine) Prune(ctx context.Context, now time.Time, connected func(agent string) bool) error {
	now = e.at(now)
	e.pruning.Lock()
	defer e.pruning.Unlock()
	expired := func(now time.Time) (bool, error) { return e.pruneExpired(now, connected) }
	steps := []func(time.Time) (bool, error){e.pruneProducer, expired, e.pruneDead}
	for _, step := range steps {
		for more := true; more; {
			if err := ctx.Err(); err != nil {
				return err
			}
			e.mu.Lock()
			var err error
			more, err = step(now)
			e.mu.Unlock()
			if err != nil {
				return fmt.Errorf("prune: %w", err)
			}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.noteRoom()
	return nil
}

// some returns up to pruneStep keys of a range, and whether there may be more.
func (e *Engine) some(start, end []byte) (keys [][]byte, more bool, err error) {
	err = e.s.Scan(start, end, func(key, _ []byte) error {
		if len(keys) == pruneStep {
			more = true
			return store.ErrStop
		}
		keys = append(keys, slices.Clone(key))
		return nil
	})
	return keys, more, err
}

// after is the first key behind key.
func after(key []byte) []byte { return append(slices.Clone(key), 0) }

// pruneExpired works on the entries whose time has passed, from where it stopped last.
func (e *Engine) pruneExpired(now time.Time, connected func(string) bool) (bool, error) {
	start, end, until := expiryFrom(e.prunedMs), expiryFrom(now.UnixMilli()), now.UnixMilli()
	if until <= e.prunedMs {
		return false, nil
	}
	keys, more, err := e.some(start, end)
	if err != nil {
		return false, err
	}
	if len(keys) == 0 {
		e.prunedMs = until
		return false, nil
	}
	if more {
		last := keys[len(keys)-1]
		end = after(last)
		until, _, _, _ = parseExpiryKey(last)
	}
	c := e.begin()
	c.batch.DeleteRange(start, end)
	for _, key := range keys {
		ms, kind, name, ok := parseExpiryKey(key)
		if !ok {
			continue
		}
		switch {
		case kind == kindToken && len(name) == len(tokenKey{}):
			err = e.expireToken(c, tokenKey([]byte(name)), ms, now)
		case kind == kindID:
			err = e.expireID(c, name, ms, now)
		case kind == kindInstance:
			err = e.expireAgent(c, name, ms, now, connected)
		}
		if err != nil {
			return false, err
		}
	}
	if err := c.putCounters(c.reserved, until); err != nil {
		return false, err
	}
	c.then = append(c.then, func(store.Mark) { e.prunedMs = until })
	return more, c.commit()
}

// expireToken forgets a finished token, and lets one that still waits do so for another window.
func (e *Engine) expireToken(c *change, key tokenKey, ms int64, now time.Time) error {
	t, err := c.token(key)
	if err != nil || t == nil || t.GetExpiresMs() != ms {
		return err
	}
	if t.GetState() != storagepb.QueueToken_STATE_WAITING {
		return c.forgetToken(key, t)
	}
	t.ExpiresMs = now.Add(e.limits.Window).UnixMilli()
	c.saveToken(key, t)
	c.batch.Set(expiryKey(t.GetExpiresMs(), kindToken, string(key[:])), nil)
	return nil
}

func (e *Engine) expireID(c *change, messageID string, ms int64, now time.Time) error {
	id, err := c.id(messageID)
	if err != nil || id == nil || id.GetClass() == transportpb.Class_CLASS_WORK || id.GetExpiresMs() != ms {
		return err
	}
	if e.rows[id.GetSeq()] == nil {
		c.saveID(messageID, nil)
		return nil
	}
	id.ExpiresMs = now.Add(e.limits.Window).UnixMilli()
	c.saveID(messageID, id)
	c.batch.Set(expiryKey(id.GetExpiresMs(), kindID, messageID), nil)
	return nil
}

// pruneProducer works on the operations that one producer has ended for good.
func (e *Engine) pruneProducer(time.Time) (bool, error) {
	for k, p := range e.behind {
		return true, e.pruneEnded(k, p)
	}
	return false, nil
}

func (e *Engine) pruneEnded(k producerKey, p *producerMark) error {
	start, end, until := k.sequenceFrom(p.pruned), k.sequenceFrom(p.lowestOpen), p.lowestOpen
	keys, more, err := e.some(start, end)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if len(key) != len(start)+len(tokenKey{}) {
			return damaged(key, errors.New("it is no place of a token among its producer's"))
		}
	}
	if more {
		end = after(keys[len(keys)-1])
		// Others may have the same sequence, so the next step begins with it again.
		until = sequenceOf(keys[len(keys)-1])
	}
	c := e.begin()
	c.batch.DeleteRange(start, end)
	for _, key := range keys {
		if err := e.endSequence(c, tokenKey(key[len(key)-len(tokenKey{}):])); err != nil {
			return err
		}
	}
	if err := c.put(k.markKey(), &storagepb.QueueMark{LowestOpen: until}); err != nil {
		return err
	}
	c.then = append(c.then, func(store.Mark) {
		p.pruned = until
		if !more {
			delete(e.behind, k)
		}
	})
	return c.commit()
}

// endSequence forgets a finished token. One that still waits is left to its time.
func (e *Engine) endSequence(c *change, key tokenKey) error {
	t, err := c.token(key)
	if err != nil || t == nil {
		return err
	}
	if t.GetState() == storagepb.QueueToken_STATE_WAITING {
		t.ProducerSequence = 0
		c.saveToken(key, t)
		return nil
	}
	c.batch.Delete(expiryKey(t.GetExpiresMs(), kindToken, string(key[:])))
	return c.dropToken(key, t)
}

// forgetToken removes an entry with the ids that name it, but not its place among the expiries.
func (c *change) forgetToken(key tokenKey, t *storagepb.QueueToken) error {
	if t.GetProducerSequence() > 0 {
		c.batch.Delete(producerKey{t.GetProducer(), t.GetProducerStore()}.sequenceKey(t.GetProducerSequence(), key))
	}
	return c.dropToken(key, t)
}

// dropToken is forgetToken for an entry whose place in its producer's index is gone.
func (c *change) dropToken(key tokenKey, t *storagepb.QueueToken) error {
	if err := c.leaveOperation(t); err != nil {
		return err
	}
	for _, id := range t.GetMessageIds() {
		if err := c.forgetID(id, key); err != nil {
			return err
		}
	}
	if r := c.e.rows[t.GetCopySeq()]; r != nil && !r.leased {
		c.drop(r)
	}
	c.saveToken(key, nil)
	return nil
}

// forgetID makes an id name one operation less.
func (c *change) forgetID(messageID string, key tokenKey) error {
	id, err := c.id(messageID)
	if err != nil || id == nil {
		return err
	}
	id.Attempts = slices.DeleteFunc(id.GetAttempts(), func(a *storagepb.QueueMessageId_Attempt) bool {
		return string(a.GetTokenKey()) == string(key[:])
	})
	if len(id.GetAttempts()) == 0 {
		id = nil
	}
	c.saveID(messageID, id)
	return nil
}

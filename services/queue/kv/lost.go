package kv

import (
	"errors"
	"fmt"
	"slices"
	"time"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// lostStep is how many tokens one Expire looks at for lost custody. That a store is replaced is rare, so there is no index
// of what each has: one pass over all tokens finds what every agent that was replaced before it had.
const lostStep = 4096

// lostCustody says whose custody has to be looked for. An agent's record says so too until a pass has ended that began
// after its store was replaced, so that a restart begins another.
type lostCustody struct {
	// next are the agents for the next pass, now those of the one under way, which goes on at from.
	next, now map[string]bool
	from      []byte
}

func (l *lostCustody) add(agent string) {
	if l.next == nil {
		l.next = make(map[string]bool)
	}
	l.next[agent] = true
}

// tellLost goes a step on. It returns the addresses at which something has become available, and whether there is more to
// do.
func (e *Engine) tellLost(now time.Time) (wake []string, more bool, err error) {
	e.telling.Lock()
	defer e.telling.Unlock()
	e.mu.Lock()
	l := &e.lostCustody
	if l.now == nil && len(l.next) > 0 {
		l.now, l.next = l.next, nil
		l.from, _ = kindRange(kindToken)
	}
	agents, from := l.now, l.from
	e.mu.Unlock()
	if agents == nil {
		return nil, false, nil
	}
	found, last, err := e.inCustodyOf(agents, from)
	if err != nil {
		return nil, false, err
	}
	for part := range slices.Chunk(found, sweepStep) {
		e.mu.Lock()
		c := e.begin()
		err := c.loseAll(part, now)
		if err == nil {
			err = c.commit()
		}
		e.mu.Unlock()
		if err != nil {
			return wake, false, err
		}
		wake = append(wake, c.wake...)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if last != nil {
		l.from = after(last)
		return wake, true, nil
	}
	return wake, len(l.next) > 0, e.told()
}

// inCustodyOf returns the tokens that the agents have, or had, in custody, among the next ones. The key is the last that
// was looked at, nil when there are no more. It needs no lock: whatever custody is lost, and is told of in this pass, was
// recorded before the pass began.
func (e *Engine) inCustodyOf(agents map[string]bool, from []byte) (found []tokenKey, last []byte, err error) {
	_, end := kindRange(kindToken)
	seen := 0
	err = e.s.Scan(from, end, func(key, value []byte) error {
		var t storagepb.QueueToken
		if err := decode(key, value, &t); err != nil {
			return err
		}
		if t.GetState() == storagepb.QueueToken_STATE_DELIVERED && agents[t.GetCustodian()] {
			if len(key) != len(tokenEntryKey(tokenKey{})) {
				return damaged(key, errors.New("it is no key of a token"))
			}
			found = append(found, tokenKey(key[len(key)-len(tokenKey{}):]))
		}
		if seen++; seen == lostStep {
			last = slices.Clone(key)
			return store.ErrStop
		}
		return nil
	})
	return found, last, err
}

// loseAll ends those operations that are still in the custody of a replaced store, and owes their producers the word.
func (c *change) loseAll(keys []tokenKey, now time.Time) error {
	for _, key := range keys {
		t, err := c.token(key)
		if err != nil {
			return err
		}
		if t.GetState() != storagepb.QueueToken_STATE_DELIVERED || !c.e.lost(t) {
			continue
		}
		const stage, code = ack.Failed, ack.AgentUnavailable
		note := fmt.Sprintf("%s: agent %s came back with another store", reasonLost, t.GetCustodian())
		t.State = storagepb.QueueToken_STATE_DONE
		t.Stage, t.Code, t.Note = commonpb.AckStage(stage), commonpb.ErrorCode(code), note
		c.saveToken(key, t)
		ids := t.GetMessageIds()
		if len(ids) == 0 {
			continue // its producer hears of it when it asks
		}
		of := &commonpb.Envelope{
			MessageId: ids[len(ids)-1], ProducerId: t.GetProducer(), CorrelationId: t.GetCorrelationId(), IdempotencyToken: t.GetToken(),
		}
		if err := c.tell(t.GetProducer(), of, now, stage, code, note); err != nil {
			return err
		}
	}
	return nil
}

// told ends a pass. The caller holds the lock.
func (e *Engine) told() error {
	l := &e.lostCustody
	c := e.begin()
	for agent := range l.now {
		if l.next[agent] {
			continue // it was replaced again meanwhile
		}
		i := e.instances[agent]
		i.untold = false
		if err := c.put(instanceKey(agent), i.record()); err != nil {
			return err
		}
		c.then = append(c.then, func(store.Mark) { e.instances[agent] = i })
	}
	c.then = append(c.then, func(store.Mark) { l.now, l.from = nil, nil })
	return c.commit()
}

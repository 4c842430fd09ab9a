package kv

import (
	"context"
	"errors"
	"fmt"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Lookup finds the message with this id. It does not wait until what it says is durable; whatever is accepted because of
// it becomes durable later than what it says.
func (e *Engine) Lookup(ctx context.Context, messageID string) (queue.Origin, bool, error) {
	if err := e.ready(ctx); err != nil {
		return queue.Origin{}, false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	origin, ok, err := e.origin(e.begin(), messageID)
	if err != nil {
		return queue.Origin{}, false, fmt.Errorf("look up message %s: %w", messageID, err)
	}
	return origin, ok, nil
}

func (e *Engine) origin(c *change, messageID string) (queue.Origin, bool, error) {
	id, err := c.id(messageID)
	if err != nil || id == nil {
		return queue.Origin{}, false, err
	}
	if id.GetClass() != transportpb.Class_CLASS_WORK {
		return queue.Origin{
			Producer: id.GetProducer(), To: id.GetTo(), Token: id.GetToken(),
			CorrelationID: id.GetCorrelationId(), Custodian: id.GetCustodian(),
		}, true, nil
	}
	for _, a := range id.GetAttempts() {
		t, err := c.token(tokenKey(a.GetTokenKey()))
		if err != nil {
			return queue.Origin{}, false, err
		}
		if t != nil {
			return queue.Origin{
				Producer: t.GetProducer(), To: t.GetTo(), Token: t.GetToken(),
				CorrelationID: t.GetCorrelationId(), Custodian: t.GetCustodian(),
			}, true, nil
		}
	}
	return queue.Origin{}, false, nil
}

// Scan calls fn for every address that holds something, as it was when Scan was called.
func (e *Engine) Scan(ctx context.Context, fn func(queue.Depth) error) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	for _, d := range e.depths() {
		if err := fn(d); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) depths() []queue.Depth {
	e.mu.Lock()
	defer e.mu.Unlock()
	places := make(map[string]int)
	var depths []queue.Depth
	for k, q := range e.queues {
		i, ok := places[k.address]
		if !ok {
			i = len(depths)
			places[k.address] = i
			depths = append(depths, queue.Depth{To: k.address})
		}
		d := &depths[i]
		switch k.class {
		case transportpb.Class_CLASS_WORK:
			d.Work = q.len()
		case transportpb.Class_CLASS_ANSWER:
			d.Answers = q.len()
		case transportpb.Class_CLASS_SIGNAL:
			d.Signals = q.len()
		}
		d.Leased += len(q.leased)
		if r := q.oldest(); r != nil && (d.Oldest.IsZero() || r.accepted.Before(d.Oldest)) {
			d.Oldest = r.accepted
		}
	}
	return depths
}

// DeadLetters returns up to max dead letters, oldest first.
func (e *Engine) DeadLetters(ctx context.Context, max int) ([]queue.DeadLetter, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	letters, err := e.deadLetters(max)
	if err == nil {
		// Taken after the scan, the mark covers all that was read.
		e.mu.Lock()
		mark := e.mark
		e.mu.Unlock()
		err = e.s.Sync(ctx, mark)
	}
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return letters, nil
}

func (e *Engine) deadLetters(most int) ([]queue.DeadLetter, error) {
	if most <= 0 {
		return nil, nil
	}
	var found []*storagepb.QueueDeadLetter
	start, end := kindRange(kindDead)
	err := e.s.Scan(start, end, func(key, value []byte) error {
		if len(found) == most {
			return store.ErrStop
		}
		p := new(storagepb.QueueDeadLetter)
		if err := decode(key, value, p); err != nil {
			return err
		}
		found = append(found, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	letters := make([]queue.DeadLetter, 0, len(found))
	for _, p := range found {
		env, err := e.envelope(p.GetRow().GetSeq())
		if errors.Is(err, store.ErrNotFound) {
			// Pruned in the meantime.
			continue
		}
		if err != nil {
			return nil, err
		}
		letters = append(letters, deadLetter(p, env))
	}
	return letters, nil
}

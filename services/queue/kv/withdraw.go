package kv

import (
	"context"
	"fmt"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Withdraw takes back a message that waits in its queue.
func (e *Engine) Withdraw(ctx context.Context, w queue.Withdrawal) (transportpb.WithdrawAnswer_State, error) {
	if err := e.ready(ctx); err != nil {
		return 0, err
	}
	var answer transportpb.WithdrawAnswer_State
	err := e.transition(ctx, func(c *change) (err error) {
		answer, err = e.withdraw(c, w)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("withdraw message %s of %s: %w", w.MessageID, w.From.Agent, err)
	}
	return answer, nil
}

func (e *Engine) withdraw(c *change, w queue.Withdrawal) (transportpb.WithdrawAnswer_State, error) {
	key, t, err := e.operation(c, w)
	if err != nil {
		return 0, err
	}
	if t == nil {
		return transportpb.WithdrawAnswer_STATE_UNKNOWN, nil
	}
	if t.GetWithdrawn() {
		return transportpb.WithdrawAnswer_STATE_WITHDRAWN, nil
	}
	r := e.waiting(t)
	if r == nil {
		return c.gone(key, w)
	}
	if r.leased || w.From.Store != "" && !e.current(w.From) {
		return transportpb.WithdrawAnswer_STATE_TOO_LATE, nil
	}
	if err := c.fail(r, ack.TimedOut, ack.NoCode, noteWithdrawn, 0); err != nil {
		return 0, err
	}
	c.drop(r)
	if t.GetSeen() || r.deliveries > 0 {
		return transportpb.WithdrawAnswer_STATE_TOO_LATE, nil
	}
	t.Withdrawn = true
	c.saveToken(key, t)
	return transportpb.WithdrawAnswer_STATE_WITHDRAWN, nil
}

// gone answers for an operation that does not wait. An attempt that never came is its producer's alone, even when an earlier
// one did.
func (c *change) gone(key tokenKey, w queue.Withdrawal) (transportpb.WithdrawAnswer_State, error) {
	if w.MessageID == "" {
		return transportpb.WithdrawAnswer_STATE_TOO_LATE, nil
	}
	id, err := c.id(w.MessageID)
	if err != nil {
		return 0, err
	}
	for _, a := range id.GetAttempts() {
		if tokenKey(a.GetTokenKey()) == key {
			return transportpb.WithdrawAnswer_STATE_TOO_LATE, nil
		}
	}
	return transportpb.WithdrawAnswer_STATE_UNKNOWN, nil
}

// operation finds what its producer means, by token, or by the id of any attempt.
func (e *Engine) operation(c *change, w queue.Withdrawal) (tokenKey, *storagepb.QueueToken, error) {
	key := newTokenKey(w.From.Agent, w.To, w.Token, w.MessageID)
	t, err := c.token(key)
	if err != nil {
		return key, nil, err
	}
	if t != nil {
		return key, t, nil
	}
	id, err := c.id(w.MessageID)
	if err != nil || id.GetProducer() != w.From.Agent {
		return key, nil, err
	}
	for _, a := range id.GetAttempts() {
		key := tokenKey(a.GetTokenKey())
		t, err := c.token(key)
		if err != nil {
			return key, nil, err
		}
		if t == nil || w.To != "" && t.GetTo() != w.To || w.Token != "" && t.GetToken() != w.Token {
			continue
		}
		return key, t, nil
	}
	return key, nil, nil
}

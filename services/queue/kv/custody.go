package kv

import (
	"context"
	"fmt"
	"strings"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Custody moves a leased message into the holder's custody.
func (e *Engine) Custody(ctx context.Context, h queue.Holder, seq int64, messageID string) (bool, error) {
	if err := e.ready(ctx); err != nil {
		return false, err
	}
	e.mu.Lock()
	c := e.begin()
	ok, contested, err := e.custody(c, h, seq, messageID)
	if err == nil {
		err = c.commit()
	}
	mark := e.mark
	e.mu.Unlock()
	if err == nil && ok && contested {
		// Whoever takes such a message runs it only once no other member can get it, and once it cannot run out here any
		// more. That another message to the agent itself comes again does no harm.
		err = e.s.Sync(ctx, mark)
	}
	if err != nil {
		return false, fmt.Errorf("custody of %d for agent %s: %w", seq, h.Agent, err)
	}
	return ok, nil
}

// contested tells whether more than one agent may get a message, or it may run out before its agent has it.
func (r *row) contested() bool {
	a, err := address.Parse(r.to)
	return r.ttl > 0 || err == nil && a.Kind() == address.KindCapability
}

// custody also tells whether the message was contested, as far as that is known.
func (e *Engine) custody(c *change, h queue.Holder, seq int64, messageID string) (ok, contested bool, err error) {
	if checkHolder(h) != nil || seq <= 0 || !e.current(h) {
		return false, false, nil
	}
	r := e.rows[seq]
	if r == nil {
		ok, err := e.hasCustody(c, h, seq, messageID)
		return ok, true, err
	}
	contested = r.contested()
	if r.messageID != messageID || !r.heldBy(h) {
		return false, contested, nil
	}
	c.drop(r)
	if r.copy {
		return true, contested, nil
	}
	if !r.work() {
		id, err := c.id(messageID)
		if err != nil || id == nil {
			return err == nil, contested, err
		}
		id.Done, id.Custodian = true, h.Agent
		c.saveID(messageID, id)
		return true, contested, nil
	}
	t, err := c.token(r.token)
	if err != nil || t == nil {
		return err == nil, contested, err
	}
	t.State, t.Seen = storagepb.QueueToken_STATE_DELIVERED, true
	t.Custodian, t.CustodianStore, t.CustodySeq = h.Agent, h.Store, seq
	t.CustodianGeneration = e.instances[h.Agent].generation
	t.LastAgent = h.Agent
	c.saveToken(r.token, t)
	return true, contested, nil
}

// hasCustody answers for a row that is gone: its holder may ask again when the first answer was lost.
func (e *Engine) hasCustody(c *change, h queue.Holder, seq int64, messageID string) (bool, error) {
	id, err := c.id(messageID)
	if err != nil || id == nil {
		return false, err
	}
	if id.GetClass() != transportpb.Class_CLASS_WORK {
		return id.GetDone() && id.GetSeq() == seq && id.GetCustodian() == h.Agent, nil
	}
	for _, a := range id.GetAttempts() {
		t, err := c.token(tokenKey(a.GetTokenKey()))
		if err != nil {
			return false, err
		}
		if t == nil || t.GetCustodian() != h.Agent || t.GetCustodianStore() != h.Store || e.lost(t) {
			continue
		}
		// While a later attempt waits, or when it has ended before anybody had it, the one before is in custody only by its
		// own rows.
		if t.GetSeq() == t.GetCustodySeq() || seq == t.GetCustodySeq() || seq == t.GetCopySeq() {
			return true, nil
		}
	}
	return false, nil
}

// Dead moves a leased message to the dead letters.
func (e *Engine) Dead(ctx context.Context, h queue.Holder, seq int64, messageID string, reason string) (bool, error) {
	if err := e.ready(ctx); err != nil {
		return false, err
	}
	note := shorten(reason)
	switch {
	case note == "":
		note = reasonPermanent
	case !strings.HasPrefix(note, reasonPermanent):
		note = reasonPermanent + ": " + note
	}
	given := false
	err := e.transition(ctx, func(c *change) error {
		r := e.rows[seq]
		if r == nil || r.messageID != messageID || !e.current(h) || !r.heldBy(h) {
			return nil
		}
		given = true
		r.ended(storagepb.QueueDelivery_END_REFUSED, e.now())
		return c.giveUp(r, e.now(), storagepb.QueueDeadLetter_CLASS_PERMANENT, ack.InternalError, note)
	})
	if err != nil {
		return false, fmt.Errorf("give up %d for agent %s: %w", seq, h.Agent, err)
	}
	return given, nil
}

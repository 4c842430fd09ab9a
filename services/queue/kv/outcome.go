package kv

import (
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// outcome applies what s.Ends says, and refuses it from a sender that is not entitled.
func (e *Engine) outcome(c *change, s *submission) (*queue.Answer, error) {
	if s.Ends == nil {
		return nil, nil
	}
	id, err := c.id(s.Ends.MessageID)
	if err != nil || id == nil {
		return nil, err
	}
	if id.GetClass() != transportpb.Class_CLASS_WORK {
		return e.controlOutcome(c, s, id)
	}
	known := false
	for _, a := range id.GetAttempts() {
		key := tokenKey(a.GetTokenKey())
		t, err := c.token(key)
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		known = true
		if e.current(s.From) && e.entitled(s.From.Agent, t) {
			e.end(c, s, key, t, a.GetRetryCount())
			return nil, nil
		}
	}
	if known {
		return notEntitled(s), nil
	}
	return nil, nil
}

func notEntitled(s *submission) *queue.Answer {
	return refused(ack.PermissionDenied, "agent %s, epoch %d of store %q, does not have message %s", s.From.Agent, s.From.Epoch, s.From.Store, s.Ends.MessageID)
}

// entitled tells whether an agent may end an operation: it has or had it, or it is the one to which it was sent.
func (e *Engine) entitled(agent string, t *storagepb.QueueToken) bool {
	if t.GetCustodian() == agent || t.GetLastAgent() == agent || t.GetTo() == address.Agent(agent).String() {
		return true
	}
	r := e.waiting(t)
	return r != nil && r.lastAgent == agent
}

// waiting returns the row of an operation that is in no agent's custody.
func (e *Engine) waiting(t *storagepb.QueueToken) *row {
	if t.GetState() != storagepb.QueueToken_STATE_WAITING {
		return nil
	}
	return e.rows[t.GetSeq()]
}

// end records the outcome that the attempt with this retry count has brought.
func (e *Engine) end(c *change, s *submission, key tokenKey, t *storagepb.QueueToken, retry uint32) {
	final := s.Ends.Stage == ack.Fulfilled
	if t.GetState() == storagepb.QueueToken_STATE_DONE {
		// The first outcome stays, unless a later attempt has one, or one was fulfilled after all.
		if t.GetStage() == commonpb.AckStage_FULFILLED || !final && retry <= t.GetRetryCount() {
			return
		}
	} else if !final && retry < t.GetRetryCount() {
		// A late word on an attempt that was followed by another.
		return
	}
	if r := e.waiting(t); r != nil {
		// A peer that does not acknowledge deliveries does so by this.
		t.CustodySeq = r.seq
		c.drop(r)
	}
	t.State, t.RetryCount = storagepb.QueueToken_STATE_DONE, max(retry, t.GetRetryCount())
	t.Stage, t.Code, t.Note = commonpb.AckStage(s.Ends.Stage), commonpb.ErrorCode(s.Ends.Code), shorten(s.Ends.Note)
	t.Custodian, t.CustodianStore = s.From.Agent, s.From.Store
	t.CustodianGeneration = e.instances[s.From.Agent].generation
	t.LastAgent, t.Seen, t.Withdrawn = s.From.Agent, true, false
	c.saveToken(key, t)
}

// controlOutcome removes a signal or answer that its receiver acknowledges by an outcome instead of a delivery.
func (e *Engine) controlOutcome(c *change, s *submission, id *storagepb.QueueMessageId) (*queue.Answer, error) {
	r := e.rows[id.GetSeq()]
	if r == nil {
		return nil, nil
	}
	if !e.current(s.From) || r.lastAgent != s.From.Agent && r.to != address.Agent(s.From.Agent).String() {
		return notEntitled(s), nil
	}
	id.Done, id.Custodian = true, s.From.Agent
	c.saveID(s.Ends.MessageID, id)
	c.drop(r)
	return nil, nil
}

package kv

import (
	"context"
	"fmt"
	"slices"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

const (
	// controlFactor is how many more signals, and answers, than work may wait at an address: they are not refused for
	// capacity in ordinary use, and yet bounded.
	controlFactor = 10
	// maxAttempts bounds the ids of one operation, maxAddresses the operations of one id.
	maxAttempts  = 64
	maxAddresses = 1024
)

// Accept takes a message, or answers for one that it knows.
func (e *Engine) Accept(ctx context.Context, m queue.Message) (queue.Receipt, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	s, refusal := e.check(m)
	if refusal != nil {
		return receipt{answer: *refusal}, nil
	}
	e.mu.Lock()
	c := e.begin()
	answer, err := e.accept(c, s)
	if err == nil && answer.State != transportpb.Answer_STATE_REFUSED {
		if err = c.commit(); err == nil {
			e.noteLowestOpen(s.producer(), s.LowestOpen)
		}
	}
	mark := e.mark
	e.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("accept message %s: %w", s.id, err)
	}
	if answer.State == transportpb.Answer_STATE_REFUSED {
		return receipt{answer: *answer}, nil
	}
	// The mark covers whatever was read, so a duplicate is answered no sooner than the first is durable.
	return receipt{e: e, answer: *answer, id: s.id, mark: mark, wake: c.wake}, nil
}

// receipt is the answer to an accepted message. One without an engine is a refusal, which changes nothing.
type receipt struct {
	e      *Engine
	answer queue.Answer
	id     string
	mark   store.Mark
	wake   []string
}

// Refusal implements queue.Receipt.
func (r receipt) Refusal() (queue.Answer, bool) { return r.answer, r.e == nil }

// Answer implements queue.Receipt.
func (r receipt) Answer(ctx context.Context) (queue.Answer, error) {
	if r.e == nil {
		return r.answer, nil
	}
	err := r.e.s.Sync(ctx, r.mark)
	r.e.wake(r.wake)
	if err != nil {
		return queue.Answer{}, fmt.Errorf("accept message %s: %w", r.id, err)
	}
	return r.answer, nil
}

// accept decides what becomes of a submission. A refusal leaves a change that must not be applied.
func (e *Engine) accept(c *change, s *submission) (*queue.Answer, error) {
	if s.From.Store != "" && !e.current(s.From) {
		return refused(ack.PermissionDenied, "superseded: epoch %d of store %q does not speak for agent %s any more", s.From.Epoch, s.From.Store, s.From.Agent), nil
	}
	known, err := c.id(s.id)
	if err != nil {
		return nil, err
	}
	if known != nil && (known.GetProducer() != s.From.Agent || known.GetClass() != s.Class) {
		return refused(ack.ValidationError, "message_id_reused: %s names another message", s.id), nil
	}
	if s.Class == transportpb.Class_CLASS_WORK {
		return e.acceptWork(c, s, known)
	}
	if known != nil {
		return e.knownControl(known), nil
	}
	return e.newControl(c, s)
}

// knownControl answers for a signal or answer.
func (e *Engine) knownControl(known *storagepb.QueueMessageId) *queue.Answer {
	r := e.rows[known.GetSeq()]
	switch {
	case known.GetDone() || r == nil:
		return state(transportpb.Answer_STATE_DONE)
	case r.leased:
		return state(transportpb.Answer_STATE_LEASED)
	default:
		return state(transportpb.Answer_STATE_QUEUED)
	}
}

func (e *Engine) newControl(c *change, s *submission) (*queue.Answer, error) {
	if full := e.full(s.queue()); full != "" {
		return refused(ack.BufferFull, "%s", full), nil
	}
	if refusal, err := e.outcome(c, s); refusal != nil || err != nil {
		return refusal, err
	}
	return state(transportpb.Answer_STATE_NEW), e.addControl(c, s)
}

// addControl writes a signal or answer with the record of its message id.
func (e *Engine) addControl(c *change, s *submission) error {
	seq := c.nextSeq()
	c.nameControl(s, seq)
	return c.add(s.row(seq, s.queue()), s.body)
}

// nameControl lets the message id of a signal or answer name its row.
func (c *change) nameControl(s *submission, seq int64) {
	id := &storagepb.QueueMessageId{
		Producer:      s.From.Agent,
		Class:         s.Class,
		To:            s.To,
		CorrelationId: s.Envelope.GetCorrelationId(),
		Token:         s.Envelope.GetIdempotencyToken(),
		Seq:           seq,
		ExpiresMs:     c.e.expiresMs(s.At, s.DeadlineLeft),
	}
	c.saveID(s.id, id)
	c.batch.Set(expiryKey(id.GetExpiresMs(), kindID, s.id), nil)
}

// full says that no more may wait in q, or nothing.
func (e *Engine) full(q queueKey) string {
	most, waiting := e.mayWait(q.class)
	if n := e.queueLen(q); n >= most {
		e.noteQueue(q)
		return fmt.Sprintf("max_work: %d messages of this class wait at %s, where %d may. Fix: start more agents that take them, or raise the limit", n, q.address, most)
	}
	if n := len(e.rows); n >= waiting {
		return fmt.Sprintf("max_waiting: %d messages wait at the router, where %d may. Fix: start the agents for which they wait, or raise the limit", n, waiting)
	}
	return ""
}

func (e *Engine) acceptWork(c *change, s *submission, known *storagepb.QueueMessageId) (*queue.Answer, error) {
	t, err := c.token(s.key)
	if err != nil {
		return nil, err
	}
	if t != nil && renewed(t, s) {
		if err := c.forgetToken(s.key, t); err != nil {
			return nil, err
		}
		t = nil
	}
	if t == nil {
		return e.newWork(c, s, known)
	}
	var answer *queue.Answer
	switch t.GetState() {
	case storagepb.QueueToken_STATE_WAITING:
		r := e.rows[t.GetSeq()]
		if r == nil {
			// Only a store that lost part of a batch could say so; the message at hand makes it good.
			e.log.Error("a waiting token has no row", "producer", t.GetProducer(), "to", t.GetTo(), "seq", t.GetSeq())
			return e.again(c, s, known, t, s.queue())
		}
		answer = state(transportpb.Answer_STATE_QUEUED)
		if r.leased {
			answer = state(transportpb.Answer_STATE_LEASED)
		}
	case storagepb.QueueToken_STATE_DELIVERED:
		switch {
		case s.retry > t.GetRetryCount():
			// Its sender may know sooner than the router that the attempt before has failed: from the end of a stream. A copy
			// would let the custodian run it while the word that is still to come lets another agent have it too.
			return e.again(c, s, known, t, e.retryQueue(t, s))
		case e.lost(t):
			answer = state(transportpb.Answer_STATE_LOST)
		default:
			answer = state(transportpb.Answer_STATE_DELIVERED)
		}
	default:
		if s.retry > t.GetRetryCount() && t.GetStage() != commonpb.AckStage_FULFILLED {
			return e.again(c, s, known, t, e.retryQueue(t, s))
		}
		answer = &queue.Answer{
			State: transportpb.Answer_STATE_DONE,
			Stage: ack.Stage(t.GetStage()), Code: ack.Code(t.GetCode()), Note: t.GetNote(),
		}
	}
	if refusal, err := c.alias(s, known, t); refusal != nil || err != nil {
		return refusal, err
	}
	if e.withCustodian(t) {
		return answer, e.copyToCustodian(c, s, t)
	}
	return answer, nil
}

// withCustodian tells whether the last custodian has, or had, what its sender asks for. An attempt that the router itself
// has ended is unknown to the custodian of the one before, who would run it.
func (e *Engine) withCustodian(t *storagepb.QueueToken) bool {
	return t.GetState() != storagepb.QueueToken_STATE_WAITING && t.GetCustodian() != "" && !e.lost(t) &&
		(t.GetCustodySeq() == t.GetSeq() || t.GetStage() == commonpb.AckStage_FULFILLED)
}

// renewed tells whether a token that is done comes again for another operation: its sender has ended the earlier one for
// good, by its lowest open sequence, and has numbered this one anew. It is how a content key or a caller's key is used
// again after the sender's deduplication window.
func renewed(t *storagepb.QueueToken, s *submission) bool {
	was := t.GetProducerSequence()
	return t.GetState() == storagepb.QueueToken_STATE_DONE && s.retry == 0 && was > 0 &&
		t.GetProducerStore() == s.From.Store && s.LowestOpen > was && s.sequence != was
}

// newWork takes a message whose token is unknown.
func (e *Engine) newWork(c *change, s *submission, known *storagepb.QueueMessageId) (*queue.Answer, error) {
	t := &storagepb.QueueToken{
		Producer:      s.From.Agent,
		To:            s.To,
		Token:         s.Envelope.GetIdempotencyToken(),
		CorrelationId: s.Envelope.GetCorrelationId(),
		AcceptedAt:    s.At.UnixNano(),
	}
	if s.LowestOpen > 0 && s.sequence > 0 {
		// Only a sender that tells its lowest open sequence ever passes this one.
		t.ProducerStore, t.ProducerSequence = s.From.Store, s.sequence
		c.batch.Set(s.producer().sequenceKey(s.sequence, s.key), nil)
	}
	return e.again(c, s, known, t, s.queue())
}

// again lets the operation's message wait in q: the first, or the one of a later attempt.
func (e *Engine) again(c *change, s *submission, known *storagepb.QueueMessageId, t *storagepb.QueueToken, q queueKey) (*queue.Answer, error) {
	if err := e.roomOnDisk(); err != nil {
		return refused(ack.BufferFull, "%v", err), nil
	}
	if full := e.full(q); full != "" {
		return refused(ack.BufferFull, "%s", full), nil
	}
	if refusal, err := c.alias(s, known, t); refusal != nil || err != nil {
		return refusal, err
	}
	if refusal, err := e.outcome(c, s); refusal != nil || err != nil {
		return refusal, err
	}
	if expires := e.expiresMs(s.At, s.DeadlineLeft); expires > t.GetExpiresMs() {
		if t.GetExpiresMs() > 0 {
			c.batch.Delete(expiryKey(t.GetExpiresMs(), kindToken, string(s.key[:])))
		}
		t.ExpiresMs = expires
		c.batch.Set(expiryKey(expires, kindToken, string(s.key[:])), nil)
	}
	if r := e.rows[t.GetCopySeq()]; r != nil && !r.leased {
		// It repeats an attempt that is over.
		c.drop(r)
	}
	seq := c.nextSeq()
	t.RetryCount = s.retry
	c.waitAgain(s.key, t, seq)
	return state(transportpb.Answer_STATE_NEW), c.add(s.row(seq, q), s.body)
}

// waitAgain makes an operation say that it waits in row seq, and nothing of how it had ended before.
func (c *change) waitAgain(key tokenKey, t *storagepb.QueueToken, seq int64) {
	t.State, t.Seq, t.DiedAt = storagepb.QueueToken_STATE_WAITING, seq, 0
	t.Stage, t.Code, t.Note, t.Withdrawn = 0, 0, "", false
	c.saveToken(key, t)
}

// retryQueue is where a new attempt of a failed operation waits: at the agent whose record decides, or where any may
// take it when there is no such agent, or it said that it cannot. What it has not said yet does not count any more.
func (e *Engine) retryQueue(t *storagepb.QueueToken, s *submission) queueKey {
	switch ack.Code(t.GetCode()) {
	case ack.BufferFull, ack.AgentUnavailable, ack.AgentShutdown, ack.Overloaded:
		return s.queue()
	}
	if t.GetCustodian() == "" || e.lost(t) {
		return s.queue()
	}
	return agentQueue(s.Class, t.GetCustodian())
}

// alias lets s's message id name the operation t.
func (c *change) alias(s *submission, known *storagepb.QueueMessageId, t *storagepb.QueueToken) (*queue.Answer, error) {
	if known == nil {
		known = &storagepb.QueueMessageId{Producer: s.From.Agent, Class: s.Class}
	}
	for _, a := range known.GetAttempts() {
		if string(a.GetTokenKey()) == string(s.key[:]) {
			if s.retry > a.GetRetryCount() {
				a.RetryCount = s.retry
				c.saveID(s.id, known)
			}
			return nil, nil
		}
	}
	if len(known.GetAttempts()) >= maxAddresses {
		return refused(ack.ValidationError, "message_id_reused: %s names %d messages already", s.id, maxAddresses), nil
	}
	known.Attempts = append(known.Attempts, &storagepb.QueueMessageId_Attempt{TokenKey: s.key[:], RetryCount: s.retry})
	c.saveID(s.id, known)
	if len(t.GetMessageIds()) >= maxAttempts {
		if err := c.forgetAttempt(s.key, t); err != nil {
			return nil, err
		}
	}
	t.MessageIds = append(t.MessageIds, s.id)
	c.saveToken(s.key, t)
	return nil, nil
}

// forgetAttempt makes room for another id: of the oldest attempt that is neither the first nor the one that waits, since
// those are the ones that an outcome names.
func (c *change) forgetAttempt(key tokenKey, t *storagepb.QueueToken) error {
	ids, current := t.GetMessageIds(), ""
	if r := c.e.waiting(t); r != nil {
		current = r.messageID
	}
	i := 1
	if ids[i] == current {
		i++
	}
	if err := c.forgetID(ids[i], key); err != nil {
		return err
	}
	t.MessageIds = slices.Delete(ids, i, i+1)
	return nil
}

// copyToCustodian repeats an ask to the agent that has, or had, the operation. One copy is outstanding at a time, and a
// full queue does without: the sender asks again.
func (e *Engine) copyToCustodian(c *change, s *submission, t *storagepb.QueueToken) error {
	q := agentQueue(s.Class, t.GetCustodian())
	if e.rows[t.GetCopySeq()] != nil || e.full(q) != "" {
		return nil
	}
	r := s.row(c.nextSeq(), q)
	r.copy, r.copyStore = true, t.GetCustodianStore()
	t.CopySeq = r.seq
	c.saveToken(s.key, t)
	return c.add(r, s.body)
}

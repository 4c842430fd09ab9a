package kv

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// RequeueError says why a dead letter cannot wait again.
type RequeueError struct {
	Seq    int64
	Reason string
}

// Error implements error.
func (e *RequeueError) Error() string {
	return fmt.Sprintf("dead letter %d cannot wait again: %s. Fix: leave it, or remove it", e.Seq, e.Reason)
}

// Requeue lets a dead letter wait again at its address, under a new number that it returns, with its whole time to live and
// its whole delivery budget. Its producer was told of its end, which stays; what becomes of it now the producer keeps beside
// that. ErrNoDeadLetter when there is none; *RequeueError when its operation has gone on since.
func (e *Engine) Requeue(ctx context.Context, seq int64, now time.Time) (int64, error) {
	if err := e.ready(ctx); err != nil {
		return 0, err
	}
	var next int64
	err := e.transition(ctx, func(c *change) (err error) {
		next, err = e.requeue(c, seq, e.at(now))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("requeue dead letter %d: %w", seq, err)
	}
	return next, nil
}

func (e *Engine) requeue(c *change, seq int64, now time.Time) (int64, error) {
	key, letter, err := e.findDead(seq)
	if err != nil {
		return 0, err
	}
	body, err := e.s.Get(bodyKey(seq))
	if err != nil {
		return 0, fmt.Errorf("read its envelope: %w", err)
	}
	env := new(commonpb.Envelope)
	if err := decode(bodyKey(seq), body, env); err != nil {
		return 0, err
	}
	r := rowOf(letter.GetRow())
	if r.work() {
		r.queue.address = r.to
		if full := e.full(r.queue); full != "" {
			return 0, &RequeueError{seq, full}
		}
	}
	r.seq, r.accepted, r.deliveries, r.spent, r.handouts = c.nextSeq(), now, 0, 0, nil
	r.lastAgent, r.lastStore = "", ""
	s := &submission{
		Message: queue.Message{Envelope: env, To: r.to, Class: r.queue.class, From: queue.Holder{Agent: r.producer}, At: now},
		id:      r.messageID, retry: r.retry, key: r.token, body: body, ttl: r.ttl,
	}
	if err := c.revive(s, letter, r.seq); err != nil {
		return 0, err
	}
	c.forgetDead(key, letter)
	return r.seq, c.add(r, body)
}

// revive makes what is known of a dead letter's message say that it waits in row next. What was forgotten since is made
// known again.
func (c *change) revive(s *submission, letter *storagepb.QueueDeadLetter, next int64) error {
	seq := letter.GetRow().GetSeq()
	id, err := c.id(s.id)
	switch {
	case err != nil:
		return err
	case id != nil && (id.GetProducer() != s.From.Agent || id.GetClass() != s.Class):
		return &RequeueError{seq, "its message id names another message now"}
	case s.Class == transportpb.Class_CLASS_WORK:
		return c.reviveWork(s, id, letter, next)
	case id == nil:
		c.nameControl(s, next)
		return nil
	case id.GetSeq() != seq:
		return &RequeueError{seq, "its sender has tried again since"}
	}
	id.Done, id.Seq = false, next
	c.saveID(s.id, id)
	return nil
}

func (c *change) reviveWork(s *submission, id *storagepb.QueueMessageId, letter *storagepb.QueueDeadLetter, next int64) error {
	seq := letter.GetRow().GetSeq()
	t, err := c.token(s.key)
	if err != nil {
		return err
	}
	if t == nil {
		if t = letter.GetOperation(); t == nil {
			return &RequeueError{seq, "its sender has tried again since, or what was known of it is lost"}
		}
		t.ExpiresMs = c.e.expiresMs(s.At, 0)
		c.batch.Set(expiryKey(t.GetExpiresMs(), kindToken, string(s.key[:])), nil)
	}
	switch {
	case t.GetState() != storagepb.QueueToken_STATE_DONE || t.GetSeq() != seq || t.GetRetryCount() != s.retry:
		return &RequeueError{seq, "its sender has tried again since, or has used its token again"}
	case t.GetStage() == commonpb.AckStage_FULFILLED:
		return &RequeueError{seq, "it was fulfilled after all"}
	}
	c.waitAgain(s.key, t, next)
	refusal, err := c.alias(s, id, t)
	if err == nil && refusal != nil {
		err = &RequeueError{seq, refusal.Note}
	}
	return err
}

// leaveOperation leaves a token that is forgotten with the dead letter that its current attempt has become, so that this one
// can wait again for as long as it is kept. Of the ids only the letter's own is of use then.
func (c *change) leaveOperation(t *storagepb.QueueToken) error {
	if t.GetDiedAt() == 0 {
		return nil
	}
	key := deadKey(time.Unix(0, t.GetDiedAt()), t.GetSeq())
	letter := new(storagepb.QueueDeadLetter)
	if ok, err := c.e.read(key, letter); err != nil || !ok {
		return err
	}
	letter.Operation = proto.CloneOf(t)
	letter.Operation.MessageIds, letter.Operation.CopySeq = nil, 0
	return c.put(key, letter)
}

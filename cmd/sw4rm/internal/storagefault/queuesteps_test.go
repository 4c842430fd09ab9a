package storagefault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

func (a *queueActor) newName(what string) string {
	a.made++
	return fmt.Sprintf("%s-%s-%d", what, a.producer.Agent, a.made)
}

func (a *queueActor) capability() string { return "capability:c-" + a.worker.Agent }

// message is the last attempt of a message.
func (a *queueActor) message(w *work, now time.Time) queue.Message {
	return queue.Message{
		Envelope: &commonpb.Envelope{
			MessageId: w.ids[len(w.ids)-1], IdempotencyToken: w.token, ProducerId: a.producer.Agent, RetryCount: w.retry,
			SequenceNumber: w.sequence, Payload: []byte(w.payload), TtlMs: uint64(w.ttl.Milliseconds()),
		},
		To: w.to, Class: transportpb.Class_CLASS_WORK, From: a.producer, LowestOpen: a.lowestOpen(), At: now,
	}
}

// submit submits a message of the actor's producer, which tells its lowest open sequence with it.
func (q *routerQueue) submit(ctx context.Context, a *queueActor, m queue.Message) (queue.Answer, error) {
	answer, err := queue.Submit(ctx, q, m)
	if err == nil {
		a.told = max(a.told, m.LowestOpen)
	}
	return answer, err
}

// taken is what a submission's answer must be when it is new.
func taken(answer queue.Answer, err error) error {
	if err == nil && answer.State != transportpb.Answer_STATE_NEW {
		err = fmt.Errorf("it is not new but %v %v %s", answer.State, answer.Code, answer.Note)
	}
	return err
}

// accept submits a new message.
func (q *routerQueue) accept(ctx context.Context, a *queueActor, random *rand.Rand) error {
	now := q.clock.now()
	w := &work{
		token: a.newName("t"), to: a.capability(), stage: isQueued, ids: []string{a.newName("m")}, accepted: now, expires: now.Add(keepUnknown),
		sequence: uint64(a.made),
	}
	w.payload = "work " + w.token + filling(random)
	if random.IntN(3) == 0 {
		w.to = "agent:" + a.worker.Agent
	}
	if random.IntN(3) == 0 {
		w.ttl = 25 * time.Second
	}
	return q.rec.do(call{a.producer.Agent, "accept", w.object(a)}, func(e *storagecheck.Event) error {
		if err := taken(q.submit(ctx, a, a.message(w, now))); err != nil {
			return err
		}
		a.works = append(a.works, w)
		e.Durable, e.Saw = true, []storagecheck.Version{w.version(a)}
		return nil
	})
}

// ask submits the last attempt of a message once more.
func (q *routerQueue) ask(ctx context.Context, a *queueActor, w *work) error {
	return q.rec.do(call{a.producer.Agent, "ask", w.object(a)}, func(e *storagecheck.Event) error {
		answer, err := q.submit(ctx, a, a.message(w, q.clock.now()))
		e.Answer = answerText(answer)
		return err
	})
}

// again submits a further attempt of a message that has failed.
func (q *routerQueue) again(ctx context.Context, a *queueActor, w *work) error {
	now := q.clock.now()
	next := *w
	next.ids = append(next.ids[:len(next.ids):len(next.ids)], a.newName("m"))
	next.stage, next.outcome, next.failed, next.retry = isQueued, "", false, w.retry+1
	next.accepted, next.deliveries, next.unanswered = now, 0, 0
	if expires := now.Add(keepUnknown); expires.After(w.expires) {
		next.expires = expires
	}
	return q.rec.do(call{a.producer.Agent, "accept an attempt", w.object(a)}, func(e *storagecheck.Event) error {
		if err := taken(q.submit(ctx, a, a.message(&next, now))); err != nil {
			return err
		}
		*w = next
		version := w.version(a)
		version.Again = true
		e.Durable, e.Saw = true, []storagecheck.Version{version}
		return nil
	})
}

// lease lets the worker take what waits.
func (q *routerQueue) lease(ctx context.Context, a *queueActor) error {
	now := q.clock.now()
	request := queue.LeaseRequest{
		Holder: a.worker, Addresses: []string{a.capability(), "agent:" + a.worker.Agent}, Class: transportpb.Class_CLASS_WORK,
		MaxMessages: 2, MaxBytes: 1 << 20, Now: now, Until: now.Add(leaseTime),
	}
	var copies []queue.Delivery
	err := q.rec.do(call{a.worker.Agent, "lease", ""}, func(e *storagecheck.Event) error {
		deliveries, err := q.Lease(ctx, request)
		if err != nil {
			return err
		}
		if w := a.waiting(); w != nil && len(deliveries) == 0 {
			return fmt.Errorf("nothing is leased, and %s waits", w.token)
		}
		for _, d := range deliveries {
			e.Given = append(e.Given, storagecheck.Given{Space: "row", Number: uint64(d.Seq), To: d.Envelope.GetMessageId()})
			w := a.leasing(d)
			if w == nil {
				copies = append(copies, d)
				continue
			}
			w.seq, w.until, w.deliveries = d.Seq, request.Until, w.deliveries+1
			if got := string(d.Envelope.GetPayload()); got != w.payload {
				return fmt.Errorf("%s was handed out with %q, not %q", w.token, got, w.payload)
			}
		}
		return nil
	})
	for _, d := range copies {
		if err == nil {
			err = q.take(ctx, a.worker, d, nil)
		}
	}
	return err
}

func (a *queueActor) waiting() *work {
	for _, w := range a.works {
		if w.stage == isQueued && w.seq == 0 {
			return w
		}
	}
	return nil
}

// leasing finds the message that is handed out, nil for a copy of one that is in custody.
func (a *queueActor) leasing(d queue.Delivery) *work {
	for _, w := range a.works {
		if w.stage == isQueued && w.seq == 0 && w.ids[len(w.ids)-1] == d.Envelope.GetMessageId() {
			return w
		}
	}
	return nil
}

// take moves a delivery into its holder's custody, and notes what that changes.
func (q *routerQueue) take(ctx context.Context, h queue.Holder, d queue.Delivery, changed func(*storagecheck.Event)) error {
	return q.rec.do(call{h.Agent, "take", ""}, func(e *storagecheck.Event) error {
		ok, err := q.Custody(ctx, h, d.Seq, d.Envelope.GetMessageId())
		if err == nil && !ok {
			err = fmt.Errorf("custody of %d, message %s, is refused", d.Seq, d.Envelope.GetMessageId())
		}
		if err == nil && changed != nil {
			changed(e)
		}
		return err
	})
}

func (q *routerQueue) custody(ctx context.Context, a *queueActor, w *work) error {
	return q.rec.do(call{a.worker.Agent, "custody", w.object(a)}, func(e *storagecheck.Event) error {
		ok, err := q.Custody(ctx, a.worker, w.seq, w.ids[len(w.ids)-1])
		if err == nil && !ok {
			err = fmt.Errorf("custody of %d is refused", w.seq)
		}
		if err != nil {
			return err
		}
		w.stage, w.seq, w.seen = isDelivered, 0, true
		e.Durable, e.Saw = w.to == a.capability(), []storagecheck.Version{w.version(a)}
		return nil
	})
}

// end brings a message's outcome.
func (q *routerQueue) end(ctx context.Context, a *queueActor, w *work, random *rand.Rand) error {
	stage, code := ack.Fulfilled, ack.NoCode
	switch random.IntN(4) {
	case 0:
		stage, code = ack.Failed, ack.InternalError
	case 1:
		stage, code = ack.Failed, ack.AgentUnavailable
	case 2:
		stage, code = ack.Rejected, ack.ValidationError
	}
	now := q.clock.now()
	s := &control{id: a.newName("k"), accepted: now, expires: now.Add(keepUnknown)}
	s.payload = "of " + w.token
	return q.rec.do(call{a.worker.Agent, "end", w.object(a)}, func(e *storagecheck.Event) error {
		err := taken(queue.Submit(ctx, q, queue.Message{
			Envelope: &commonpb.Envelope{MessageId: s.id, ProducerId: a.worker.Agent, Payload: []byte(s.payload)},
			To:       "agent:" + a.producer.Agent, Class: transportpb.Class_CLASS_SIGNAL, From: a.worker, At: now,
			Ends: &queue.Outcome{MessageID: w.ids[len(w.ids)-1], Stage: stage, Code: code},
		}))
		if err != nil {
			return err
		}
		w.ended(stage, code)
		w.seen = true
		a.controls = append(a.controls, s)
		e.Durable, e.Saw = true, []storagecheck.Version{w.version(a), s.version()}
		return nil
	})
}

// giveUp makes a leased message a dead letter.
func (q *routerQueue) giveUp(ctx context.Context, a *queueActor, w *work) error {
	return q.rec.do(call{a.worker.Agent, "give up", w.object(a)}, func(e *storagecheck.Event) error {
		ok, err := q.Dead(ctx, a.worker, w.seq, w.ids[len(w.ids)-1], "unreadable")
		if err == nil && !ok {
			err = fmt.Errorf("giving up %d is refused", w.seq)
		}
		if err == nil {
			a.died(w, ack.InternalError, q.clock.now(), e)
			e.Durable = true
		}
		return err
	})
}

func (q *routerQueue) withdraw(ctx context.Context, a *queueActor, w *work) error {
	want := transportpb.WithdrawAnswer_STATE_WITHDRAWN
	if w.seen || w.deliveries > 0 {
		want = transportpb.WithdrawAnswer_STATE_TOO_LATE
	}
	return q.rec.do(call{a.producer.Agent, "withdraw", w.object(a)}, func(e *storagecheck.Event) error {
		got, err := q.Withdraw(ctx, queue.Withdrawal{From: a.producer, To: w.to, Token: w.token, MessageID: w.ids[len(w.ids)-1]})
		if err == nil && got != want {
			err = fmt.Errorf("withdrawing is answered %v, not %v", got, want)
		}
		if err != nil {
			return err
		}
		w.ended(ack.TimedOut, ack.NoCode)
		e.Durable, e.Saw = true, []storagecheck.Version{w.version(a)}
		return nil
	})
}

// fetch lets the producer take its signals.
func (q *routerQueue) fetch(ctx context.Context, a *queueActor) error {
	now := q.clock.now()
	var deliveries []queue.Delivery
	err := q.rec.do(call{a.producer.Agent, "fetch", ""}, func(e *storagecheck.Event) (err error) {
		deliveries, err = q.Lease(ctx, queue.LeaseRequest{
			Holder: a.producer, Addresses: []string{"agent:" + a.producer.Agent}, Class: transportpb.Class_CLASS_SIGNAL,
			MaxMessages: 2, MaxBytes: 1 << 20, Now: now, Until: now.Add(leaseTime),
		})
		for _, d := range deliveries {
			e.Given = append(e.Given, storagecheck.Given{Space: "row", Number: uint64(d.Seq), To: d.Envelope.GetMessageId()})
		}
		return err
	})
	for _, d := range deliveries {
		if err != nil {
			return err
		}
		s := a.signal(d.Envelope.GetMessageId())
		if s == nil {
			return fmt.Errorf("nobody has sent the signal %s", d.Envelope.GetMessageId())
		}
		err = q.take(ctx, a.producer, d, func(e *storagecheck.Event) {
			s.done = true
			e.Saw = []storagecheck.Version{s.version()}
		})
	}
	return err
}

func (a *queueActor) signal(id string) *control {
	for _, s := range a.controls {
		if s.id == id {
			return s
		}
	}
	return nil
}

// admit lets the worker connect: again, or as its next instance, or has it give back what it has leased.
func (q *routerQueue) admit(ctx context.Context, a *queueActor, random *rand.Rand) error {
	object := "agent/" + a.worker.Agent
	if random.IntN(2) == 0 {
		return q.rec.do(call{a.worker.Agent, "release", ""}, func(e *storagecheck.Event) error {
			if err := q.Release(ctx, a.worker); err != nil {
				return err
			}
			a.released()
			return nil
		})
	}
	next := a.worker
	next.Epoch++
	return q.rec.do(call{a.worker.Agent, "admit", object}, func(e *storagecheck.Event) error {
		got, err := q.Admit(ctx, next, false)
		if err == nil && got != queue.Admitted {
			err = fmt.Errorf("epoch %d is not admitted: %v", next.Epoch, got)
		}
		if err != nil {
			return err
		}
		a.worker = next
		a.released()
		e.Durable, e.Saw = true, append(e.Saw, storagecheck.Version{Object: object, State: agentState(next.Store, next.Epoch)})
		return nil
	})
}

func agentState(storeID string, epoch uint64) storagecheck.State {
	return storagecheck.State{Runs: uint32(epoch), More: []string{storeID}}
}

// released ends the worker's leases.
func (a *queueActor) released() {
	for _, w := range a.works {
		w.seq = 0
	}
}

// refuses tries to submit a message, and asks for those that are there.
func (q *routerQueue) refuses(ctx context.Context) error {
	now := q.clock.now()
	for _, a := range q.actors {
		works := append([]*work{{token: "refused", to: a.capability(), ids: []string{"refused"}}}, a.works...)
		for _, w := range works {
			answer, err := queue.Submit(ctx, q, a.message(w, now))
			if err == nil {
				return fmt.Errorf("submitting %s is answered %s", w.object(a), answerText(answer))
			}
			if w.seq == 0 {
				continue
			}
			if ok, err := q.Custody(ctx, a.worker, w.seq, w.ids[len(w.ids)-1]); err == nil {
				return fmt.Errorf("custody of %s is answered %v", w.object(a), ok)
			}
		}
		if letters, err := q.DeadLetters(ctx, 1); err == nil {
			return fmt.Errorf("%d dead letters are told", len(letters))
		}
	}
	return nil
}

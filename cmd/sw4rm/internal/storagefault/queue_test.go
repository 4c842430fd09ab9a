package storagefault

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// routerQueue is a router's queue at work. What it is to hold is known from its answers alone.
type routerQueue struct {
	*kv.Engine
	clock  *clock
	rec    *recorder
	actors [actors]*queueActor
}

// queueActor is a producer, and the worker that takes what it sends.
type queueActor struct {
	producer, worker queue.Holder
	made             int
	// told is the lowest open sequence that the router was told.
	told     uint64
	works    []*work
	controls []*control
}

// work is a message as its answers say that it is.
type work struct {
	token, to string
	payload   string
	ids       []string
	stage     string // QUEUED, DELIVERED or DONE
	outcome   string
	code      ack.Code
	failed    bool
	retry     uint32
	dead      int

	sequence   uint64
	accepted   time.Time
	ttl        time.Duration
	expires    time.Time
	seen       bool
	deliveries int
	// unanswered are the leases that ran out.
	unanswered int
	// seq and until are its lease; 0 while it has none.
	seq   int64
	until time.Time
}

// control is a signal.
type control struct {
	id, payload string
	done, dead  bool
	accepted    time.Time
	expires     time.Time
}

const (
	isQueued    = "QUEUED"
	isDelivered = "DELIVERED"
	isDone      = "DONE"
)

func newQueue() subject {
	q := &routerQueue{clock: &clock{}, rec: &recorder{}}
	for i := range q.actors {
		q.actors[i] = &queueActor{
			producer: queue.Holder{Agent: fmt.Sprint("p", i), Store: fmt.Sprint("store-p", i), Epoch: 1, Stream: 1},
			worker:   queue.Holder{Agent: fmt.Sprint("a", i), Store: fmt.Sprint("store-a", i), Epoch: 1, Stream: 1},
		}
	}
	return q
}

func (q *routerQueue) history() *recorder { return q.rec }

func (q *routerQueue) clone() subject {
	c := &routerQueue{clock: q.clock.clone(), rec: q.rec.clone()}
	for i, a := range q.actors {
		other := *a
		other.works, other.controls = nil, nil
		for _, w := range a.works {
			same := *w
			same.ids = append([]string(nil), w.ids...)
			other.works = append(other.works, &same)
		}
		for _, s := range a.controls {
			same := *s
			other.controls = append(other.controls, &same)
		}
		c.actors[i] = &other
	}
	return c
}

// The times of a queue in a run.
const (
	pass          = 10 * time.Second
	leaseTime     = 15 * time.Second
	keepUnknown   = 45 * time.Second
	keepUnfetched = 35 * time.Second
	window        = 20 * time.Second
	budget        = 3
)

func queueOptions(now func() time.Time) kv.Options {
	return kv.Options{
		Limits: queue.Limits{DeliveryBudget: budget, Window: window, KeepUnknown: keepUnknown, KeepUnfetched: keepUnfetched},
		Logger: slog.New(slog.DiscardHandler),
		Now:    now,
		NewAck: func(of *commonpb.Envelope, stage ack.Stage, code ack.Code, _ string) *commonpb.Envelope {
			return &commonpb.Envelope{MessageId: owedID(of.GetMessageId()), ProducerId: address.RouterID, Payload: []byte(fmt.Sprint(stage, " ", code))}
		},
	}
}

// owedID is the id of what the router owes for a message.
func owedID(id string) string { return "owed-" + id }

func (q *routerQueue) open(ctx context.Context, s store.Store) (err error) {
	q.Engine, err = kv.Open(ctx, s, queueOptions(q.clock.now))
	if err != nil {
		return err
	}
	if q.rec.len() == 0 {
		return nil
	}
	// Leases have ended with the process.
	for _, a := range q.actors {
		for _, w := range a.works {
			w.seq = 0
		}
	}
	return q.expire(ctx)
}

func (q *routerQueue) step(ctx context.Context, actor int, random *rand.Rand) error {
	a := q.actors[actor]
	switch random.IntN(11) {
	case 0, 1, 2:
		return q.accept(ctx, a, random)
	case 3, 4:
		return q.lease(ctx, a)
	case 5:
		return q.fetch(ctx, a)
	}
	if len(a.works) == 0 {
		return q.accept(ctx, a, random)
	}
	w := a.works[random.IntN(len(a.works))]
	switch n := random.IntN(6); {
	case n == 0:
		return q.ask(ctx, a, w)
	case w.stage == isDone && w.failed:
		return q.again(ctx, a, w)
	case w.stage == isDone:
		return q.accept(ctx, a, random)
	case w.stage == isDelivered, w.seq != 0 && n == 1:
		return q.end(ctx, a, w, random)
	case w.seq != 0 && n == 2:
		return q.giveUp(ctx, a, w)
	case w.seq != 0:
		return q.custody(ctx, a, w)
	case n == 3:
		return q.withdraw(ctx, a, w)
	default:
		return q.lease(ctx, a)
	}
}

// sweep lets a worker connect again, and expires and prunes after some time has passed. What a lease brings back may have
// run out, and then whoever leases next ends it: so leases end here only.
func (q *routerQueue) sweep(ctx context.Context, random *rand.Rand) error {
	if err := q.admit(ctx, q.actors[random.IntN(actors)], random); err != nil {
		return err
	}
	q.clock.pass(pass)
	if err := q.expire(ctx); err != nil {
		return err
	}
	now := q.clock.now()
	return q.rec.do(call{"router", "prune", ""}, func(e *storagecheck.Event) error {
		if err := q.Prune(ctx, now, func(string) bool { return true }); err != nil {
			return err
		}
		for _, a := range q.actors {
			a.prune(now, e)
		}
		return nil
	})
}

func (q *routerQueue) expire(ctx context.Context) error {
	now := q.clock.now()
	return q.rec.do(call{"router", "expire", ""}, func(e *storagecheck.Event) error {
		if _, err := q.Expire(ctx, now); err != nil {
			return err
		}
		for _, a := range q.actors {
			a.expire(now, e)
		}
		e.Durable = len(e.Saw) > 0
		return nil
	})
}

// expire ends what has run out.
func (a *queueActor) expire(now time.Time, e *storagecheck.Event) {
	for _, w := range a.works {
		if w.seq != 0 && !w.until.After(now) {
			a.leaseRanOut(w, now, e)
		}
		if w.stage == isQueued && w.seq == 0 && w.ttl > 0 && now.Sub(w.accepted) >= w.ttl {
			a.died(w, ack.TTLExpired, now, e)
		}
	}
	for _, s := range a.controls {
		if !s.done && now.Sub(s.accepted) >= keepUnfetched {
			s.done, s.dead = true, true
			e.Saw = append(e.Saw, s.version())
		}
	}
}

// leaseRanOut lets a message wait again, unless it was handed out in vain too often.
func (a *queueActor) leaseRanOut(w *work, now time.Time, e *storagecheck.Event) {
	w.seq = 0
	if w.unanswered++; w.unanswered >= budget {
		a.died(w, ack.AgentUnavailable, now, e)
	}
}

// died makes a message a dead letter, of which the router owes its producer the word.
func (a *queueActor) died(w *work, code ack.Code, now time.Time, e *storagecheck.Event) {
	w.ended(ack.Failed, code)
	w.dead++
	owed := &control{id: owedID(w.ids[len(w.ids)-1]), payload: w.outcome, accepted: now, expires: now.Add(keepUnknown)}
	a.controls = append(a.controls, owed)
	e.Saw = append(e.Saw, w.version(a), owed.version())
}

func (w *work) ended(stage ack.Stage, code ack.Code) {
	w.stage, w.seq = isDone, 0
	w.outcome, w.failed, w.code = fmt.Sprint(stage, " ", code), stage == ack.Failed, code
	w.seen = w.seen || w.deliveries > 0
}

// prune forgets what is over.
func (a *queueActor) prune(now time.Time, e *storagecheck.Event) {
	works := a.works[:0:0]
	for _, w := range a.works {
		ended := w.sequence > 0 && w.sequence < a.told
		if ended && w.stage == isQueued {
			w.sequence, ended = 0, false
		}
		if !ended && w.expires.Before(now) && w.stage == isQueued {
			w.expires = now.Add(window)
		}
		if ended || w.expires.Before(now) {
			e.Saw = append(e.Saw, storagecheck.Version{Object: w.object(a)})
			continue
		}
		works = append(works, w)
	}
	a.works = works
	controls := a.controls[:0:0]
	for _, s := range a.controls {
		if s.expires.Before(now) && !s.done {
			s.expires = now.Add(window)
		}
		if s.expires.Before(now) {
			e.Saw = append(e.Saw, storagecheck.Version{Object: s.object()})
			continue
		}
		controls = append(controls, s)
	}
	a.controls = controls
}

// lowestOpen is what the producer says that it has not ended.
func (a *queueActor) lowestOpen() uint64 { return uint64(max(1, a.made-keepOpen)) }

// keepOpen is how many names back a producer has operations that are open.
const keepOpen = 12

func (w *work) object(a *queueActor) string { return "work/" + a.producer.Agent + "/" + w.token }

func (w *work) version(a *queueActor) storagecheck.Version {
	payload := w.payload
	if w.stage != isQueued {
		payload = ""
	}
	return storagecheck.Version{Object: w.object(a), State: workState(w.stage, w.outcome, payload, w.retry, w.dead, w.ids)}
}

// workState is how a message looks, whoever says so.
func workState(stage, outcome, payload string, retry uint32, dead int, ids []string) storagecheck.State {
	s := storagecheck.State{Stage: stage, Body: payload, Answer: stage, More: []string{fmt.Sprint("retry ", retry), fmt.Sprint("dead ", dead)}}
	if stage == isDone {
		s.Outcome, s.Answer = outcome, stage+" "+outcome
	}
	for _, id := range ids {
		s.Attempts = append(s.Attempts, storagecheck.Attempt{ID: id})
	}
	return s
}

func (s *control) object() string { return "control/" + s.id }

func (s *control) version() storagecheck.Version {
	return storagecheck.Version{Object: s.object(), State: controlState(s.done, s.dead, s.payload)}
}

// controlState is how a signal looks, whoever says so.
func controlState(done, dead bool, payload string) storagecheck.State {
	if done {
		return storagecheck.State{Stage: isDone, Answer: isDone, More: []string{fmt.Sprint("dead ", dead)}}
	}
	return storagecheck.State{Stage: isQueued, Answer: isQueued, Body: payload}
}

// answerText is an answer as states have it. Whether a message is leased just now is nothing that lasts.
func answerText(a queue.Answer) string {
	switch a.State {
	case transportpb.Answer_STATE_QUEUED, transportpb.Answer_STATE_LEASED:
		return isQueued
	case transportpb.Answer_STATE_DELIVERED:
		return isDelivered
	case transportpb.Answer_STATE_DONE:
		if a.Stage == ack.None {
			return isDone
		}
		return fmt.Sprint(isDone, " ", a.Stage, " ", a.Code)
	default:
		return fmt.Sprint(a.State, " ", a.Code, " ", a.Note)
	}
}

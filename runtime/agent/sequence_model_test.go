package agent_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestSequences draws what three agents send each other and what becomes of them and of their router, lets everything
// come to rest, and checks the promises. It runs -rapid.checks (or RAPID_CHECKS; 100) sequences in each of its parts.
func TestSequences(t *testing.T) {
	var sums [2]tally
	t.Cleanup(func() {
		if !t.Failed() {
			sums[0].plus(sums[1]).requireWorth(t)
		}
	})
	for part := range sums {
		t.Run(fmt.Sprint("Part", part+1), func(t *testing.T) {
			t.Parallel()
			sum := &sums[part]
			var f findings
			defer f.tell(t)
			rapid.Check(t, func(rt *rapid.T) {
				rapid.SyncTest(rt, func(rt *rapid.T) {
					s := newSwarm(t, rt, &f)
					rt.Repeat(map[string]func(*rapid.T){"": s.look, "step": s.step})
					s.rest()
					s.check()
					sum.add(s)
				})
			})
			t.Log(*sum)
		})
	}
}

// findings are the stories of the sequences that failed. Rapid takes two failures for the same only when they have the same
// text, so the text is short, and what goes with it is kept here.
type findings struct{ first, last string }

func (f *findings) tell(t *testing.T) {
	if t.Failed() && f.first != "" {
		t.Logf("the first that failed:\n%s\nthe last, after shrinking:\n%s", f.first, f.last)
	}
}

// sequenceTB lets a Net live in one of rapid's sequences.
type sequenceTB struct {
	testing.TB // nothing of it is used, but that it is one
	rt         *rapid.T
}

func (t sequenceTB) Helper()                   { t.rt.Helper() }
func (t sequenceTB) Cleanup(f func())          { t.rt.Cleanup(f) }
func (t sequenceTB) Context() context.Context  { return t.rt.Context() }
func (t sequenceTB) Errorf(f string, a ...any) { t.rt.Errorf(f, a...) }
func (t sequenceTB) Fatalf(f string, a ...any) { t.rt.Fatalf(f, a...) }

// swarm is a net of agents, and what was seen of it.
type swarm struct {
	t      *rapid.T
	found  *findings
	net    *agenttest.Net
	router bool
	lives  map[string]*life // the latest of each agent
	talks  []string
	steps  int
	// disturbed are the moments at which an agent, the router or the network between was not as it should be.
	disturbed []time.Time
	events    []string
	began     time.Time
	rested    time.Duration
	still     time.Duration            // for the longest, after the last fault
	delays    map[string]time.Duration // in sum, of what is underway to each agent

	mu       sync.Mutex
	ops      []*operation
	deferred []deferral
}

// life is one opening of an agent.
type life struct {
	id    string
	agent *agent.Agent
	up    bool
	died  time.Time // when it crashed; zero otherwise
}

// operation is what the model knows of one.
type operation struct {
	n        int
	kind     string
	from, to string
	talk     string
	plan     []string // what each run does; the last one goes on
	sent     time.Time
	ttl      time.Duration
	ref      exchange.Ref
	status   func() exchange.Status
	runs     []*run
	answered int // how many late answers were taken
	outcome  struct {
		set      bool
		err      error
		attempts int
	}
}

// run is one run of a handler.
type run struct {
	life         *life
	began, ended time.Time
	did          string // what of the plan, "" when it came to nothing or still runs
	cut          bool   // its context had ended by then
}

// deferral is a message that waits for its answer.
type deferral struct {
	op  *operation
	id  string
	ref exchange.Ref
}

var ids = [...]string{"a", "b", "c"}

func newSwarm(t *testing.T, rt *rapid.T, f *findings) *swarm {
	s := &swarm{t: rt, found: f, router: true, began: time.Now(), lives: map[string]*life{}, delays: map[string]time.Duration{}, talks: []string{envelope.NewID(), envelope.NewID()}}
	s.net = agenttest.New(sequenceTB{t, rt})
	for _, id := range ids {
		s.begin(id, s.net.Agent(id))
	}
	synctest.Wait()
	return s
}

func (s *swarm) begin(id string, a *agent.Agent) {
	l := &life{id: id, agent: a, up: true}
	s.lives[id] = l
	a.Service(exchange.Service{Name: "test.v1.Echo"})
	say.Handle(a, func(ctx context.Context, m *text) (*text, error) { return m, s.handle(ctx, l, m) })
	ask.Handle(a, func(ctx context.Context, m *text) (*text, error) { return m, s.handle(ctx, l, m) })
	tell.Handle(a, func(ctx context.Context, m *text) error { return s.handle(ctx, l, m) })
	count.Handle(a, func(ctx context.Context, m *text, out *exchange.Frames[*text]) error {
		if err := numbers(out, framesEach); err != nil {
			return err
		}
		return s.handle(ctx, l, m)
	})
	require.NoError(s.t, a.Start(s.t.Context()))
	for _, o := range s.ops {
		if o.from == id {
			s.resume(o)
		}
	}
}

// underway is how long a message is delayed.
const underway = 3 * time.Second

// framesEach is how many frames a stream has.
const framesEach = 3

// handle is what every handler does.
func (s *swarm) handle(ctx context.Context, l *life, m *text) error {
	info, _ := exchange.InfoFrom(ctx)
	s.mu.Lock()
	var n int
	_, err := fmt.Sscan(m.GetValue(), &n)
	if err != nil {
		s.t.Errorf("a handler got %q", m.GetValue())
	}
	o := s.ops[n]
	r := &run{life: l, began: time.Now()}
	does := o.plan[min(len(o.runs), len(o.plan)-1)]
	o.runs = append(o.runs, r)
	s.mu.Unlock()

	err = do(ctx, does)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ended = time.Now()
	if r.cut = ctx.Err() != nil; !r.cut || err == nil {
		r.did = does
	}
	if errors.Is(err, exchange.ErrDeferred) {
		s.deferred = append(s.deferred, deferral{o, l.id, info.Ref()})
	}
	return err
}

// plans are what a run may do, the plainest first.
var plans = []string{"succeed", "be slow", "overload", "reject", "wait", "break", "defer", "be very slow"}

func do(ctx context.Context, what string) error {
	pause := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	switch what {
	case "be slow":
		return pause(5 * time.Second)
	case "be very slow":
		return pause(longestRun) // longer than a lease
	case "overload":
		return ack.Failf(ack.Overloaded, "later")
	case "reject":
		return ack.Rejectf(ack.PermissionDenied, "no")
	case "wait":
		return ack.RetryAfter(nil, 3*time.Second)
	case "break":
		return errors.New("broken")
	case "defer":
		return exchange.ErrDeferred
	default:
		return nil
	}
}

// succeeds tells whether a run that did this has fulfilled its message.
func succeeds(did string) bool { return did == "succeed" || did == "be slow" || did == "be very slow" }

// below draws a number under n. What fails shrinks towards 0.
func (s *swarm) below(n int, what string) int { return rapid.IntRange(0, n-1).Draw(s.t, what) }

func (s *swarm) step(*rapid.T) {
	s.steps++
	switch n := 10*s.below(10, "step, tens") + s.below(10, "step, ones"); {
	case n < 45:
		s.send()
	case n < 62:
		pauses := []time.Duration{time.Millisecond, 100 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 31 * time.Second, 5 * time.Minute}
		time.Sleep(pauses[s.below(len(pauses), "pause")])
	case n < 68:
		s.crash()
	case n < 71:
		s.stop()
	case n < 80:
		s.start()
	case n < 86:
		s.turnRouter()
	case n < 91:
		s.answer()
	default:
		s.fault()
	}
	if s.below(4, "0 to let it settle") == 0 {
		synctest.Wait()
	}
}

func (s *swarm) send() {
	l := s.lives[ids[s.below(len(ids), "from")]]
	if !l.up {
		return
	}
	o := &operation{from: l.id, n: len(s.ops), sent: time.Now(), talk: s.talks[s.below(len(s.talks), "conversation")]}
	target := address.Capability("test.v1.Echo")
	if n := s.below(len(ids)+1, "to"); n < len(ids) {
		target = address.Agent(ids[n])
	}
	o.to = target.String()
	for range 1 + s.below(3, "planned runs, less one") {
		o.plan = append(o.plan, plans[s.below(len(plans), "plan")])
	}
	if o.plan[len(o.plan)-1] == "wait" {
		o.plan = append(o.plan, "succeed")
	}
	opts := []exchange.SendOption{exchange.WithCorrelation(o.talk)}
	if n := s.below(8, "5 and more for a TTL"); n > 4 {
		o.ttl = []time.Duration{time.Second, 8 * time.Second, time.Minute}[n-5]
		opts = append(opts, exchange.TTL(o.ttl))
	}
	s.mu.Lock()
	s.ops = append(s.ops, o)
	s.mu.Unlock()
	to, m := exchange.NewClient(l.agent, target), str(fmt.Sprint(o.n))
	switch o.kind = []string{"say", "tell", "ask", "count"}[s.below(4, "exchange")]; o.kind {
	case "say":
		p, err := say.Send(s.t.Context(), to, m, opts...)
		s.sent(o, p, err)
	case "ask":
		p, err := ask.Send(s.t.Context(), to, m, opts...)
		s.sent(o, p, err)
	case "tell":
		p, err := tell.Send(s.t.Context(), to, m, opts...)
		s.sent(o, p, err)
	default:
		p, err := count.Send(s.t.Context(), to, m, opts...)
		s.sent(o, p, err)
	}
}

// handle is of every kind of exchange.
type handle interface {
	Ref() exchange.Ref
	Status() exchange.Status
}

func (s *swarm) sent(o *operation, h handle, err error) {
	s.want(err == nil, o, "a send was refused")
	o.ref, o.status = h.Ref(), h.Status
}

// resume finds an operation again in the life that its agent has now.
func (s *swarm) resume(o *operation) {
	var h handle
	var err error
	ctx, a := s.t.Context(), s.lives[o.from].agent
	switch o.kind {
	case "say":
		h, err = say.Resume(ctx, a, o.ref)
	case "ask":
		h, err = ask.Resume(ctx, a, o.ref)
	case "tell":
		h, err = tell.Resume(ctx, a, o.ref)
	default:
		h, err = count.Resume(ctx, a, o.ref)
	}
	s.want(err == nil, o, "an operation is not found again")
	o.status = h.Status
}

// disturb notes that something is not as it should be.
func (s *swarm) disturb(what string) {
	s.disturbed = append(s.disturbed, time.Now())
	s.event(what)
}

func (s *swarm) event(what string) {
	s.events = append(s.events, fmt.Sprintf("%v: %s", time.Since(s.began), what))
}

func (s *swarm) crash() {
	l := s.lives[ids[s.below(len(ids), "agent that crashes")]]
	if !l.up {
		return
	}
	s.disturb(l.id + " crashes")
	s.mu.Lock()
	l.up, l.died = false, time.Now()
	s.mu.Unlock()
	s.net.Crash(l.id)
}

func (s *swarm) stop() {
	l := s.lives[ids[s.below(len(ids), "agent that stops")]]
	if !l.up {
		return
	}
	s.disturb(l.id + " stops")
	l.up = false
	require.NoError(s.t, l.agent.Close())
	s.disturb(l.id + " has stopped")
}

func (s *swarm) start() {
	if l := s.lives[ids[s.below(len(ids), "agent that starts")]]; !l.up {
		s.begin(l.id, s.net.Reopen(l.id))
		s.disturb(l.id + " starts")
	}
}

func (s *swarm) turnRouter() {
	if s.router = !s.router; s.router {
		s.disturb("the router starts")
		s.net.StartRouter()
	} else {
		s.disturb("the router stops")
		s.net.StopRouter()
	}
}

func (s *swarm) fault() {
	id := ids[s.below(len(ids), "agent with a fault")]
	switch s.below(3, "fault") {
	case 0:
		s.disturb("drop an answer to " + id)
		s.net.DropAnswer(id, 1)
	case 1:
		s.disturb("duplicate a delivery to " + id)
		s.net.Duplicate(id, 1)
	default:
		s.disturb("delay a delivery to " + id)
		s.net.Delay(id, 1, underway)
		s.delays[id] += underway
	}
}

// answer gives the answer that some message waits for, if the agent that has it lives.
func (s *swarm) answer() {
	s.mu.Lock()
	waiting := len(s.deferred)
	s.mu.Unlock()
	if waiting > 0 {
		s.answerOne(s.below(waiting, "deferred message"))
	}
}

func (s *swarm) answerOne(n int) {
	s.mu.Lock()
	d := s.deferred[n]
	s.mu.Unlock()
	l := s.lives[d.id]
	if !l.up {
		return
	}
	var err error
	switch ctx := s.t.Context(); d.op.kind {
	case "say":
		err = say.Reply(ctx, l.agent, d.ref, str("late"))
	case "ask":
		err = ask.Reply(ctx, l.agent, d.ref, str("late"))
	case "tell":
		err = tell.Reply(ctx, l.agent, d.ref)
	default:
		err = count.Fail(ctx, l.agent, d.ref, ack.Rejectf(ack.PermissionDenied, "no"))
	}
	if err == nil {
		d.op.answered++
		s.want(d.op.answered == 1, d.op, "two answers were taken")
	} else {
		s.want(errors.Is(err, exchange.ErrAnswered) || errors.Is(err, exchange.ErrUnknownRef), d.op, "an answer was refused with another error")
	}
}

package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/catalog"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/payload"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

const (
	// underWay is how many operations are open at once.
	underWay = 32
	// laneLength is how many operations with an order are one conversation.
	laneLength = 10
	// Attempts follow each other soon, so that a run is short.
	firstBackoff, lastBackoff = 20 * time.Millisecond, 500 * time.Millisecond
	ackTimeout                = time.Second
	// shortLife is long enough for most messages of an idle agent, and shorter than most faults.
	shortLife = 400 * time.Millisecond
)

// operation is one message on its way to its outcome.
type operation struct {
	key      string
	exchange catalog.Exchange
	to       address.Address
	ttl      time.Duration
	message  proto.Message
	// alone makes it an operation of its own although its payload is that of another one.
	alone bool
	// correlation is the conversation, lane names it where its order counts.
	correlation, lane string
	n                 int

	began, ended time.Time
	sent         exchange.Operation
	token        string
	// refused is why it was not even stored.
	refused error
	// err is the outcome once done.
	done bool
	err  error
}

// fulfilled tells whether the operation has ended well.
func (o *operation) fulfilled() bool { return o.done && o.refused == nil && o.err == nil }

// code returns the outcome's code, or "" for the good one and for none.
func (o *operation) code() ack.Code {
	var e *ack.Error
	if errors.As(o.err, &e) {
		return e.Code
	}
	return ack.NoCode
}

// planner draws operations.
type planner struct {
	rng       *rand.Rand
	exchanges []catalog.Exchange
	agents    []string
	ttl       time.Duration
	drawn     int
	lanes     map[string]*lane
	// keys are content keys that were used, with their exchange.
	keys map[string]bool
	// samples are the user's own payloads, by exchange.
	samples catalog.Samples
}

type lane struct {
	correlation string
	n, number   int
}

func newPlanner(seed uint64, exchanges []catalog.Exchange, agents []string) *planner {
	return &planner{
		rng: rand.New(rand.NewPCG(seed, 0)), exchanges: exchanges, agents: agents, lanes: map[string]*lane{}, keys: map[string]bool{},
	}
}

// next draws the next operation. With faults, some have a short life.
func (p *planner) next(faults bool) (*operation, error) {
	x := p.exchanges[p.drawn%len(p.exchanges)]
	if faults {
		x = p.exchanges[p.rng.IntN(len(p.exchanges))]
	}
	p.drawn++
	o := &operation{key: fmt.Sprintf("op-%04d", p.drawn), exchange: x, correlation: envelope.NewID()}
	o.to = address.Agent(p.agents[p.rng.IntN(len(p.agents))])
	if toAgent := p.rng.IntN(4) == 0; x.Capability != "" && !toAgent {
		o.to = address.Capability(x.Capability)
	}
	short := p.rng.IntN(10) == 0
	if faults && short && o.to.Kind() == address.KindCapability && x.Policy().TTL == 0 {
		o.ttl = p.ttl
	}
	if x.Policy().Order != exchange.OrderNone {
		name := x.Name() + " " + o.to.String()
		l := p.lanes[name]
		if l == nil || l.n == laneLength {
			next := 1
			if l != nil {
				next = l.number + 1
			}
			l = &lane{correlation: envelope.NewID(), number: next}
			p.lanes[name] = l
		}
		l.n++
		o.correlation, o.lane, o.n = l.correlation, fmt.Sprintf("%s %d", name, l.number), l.n
	}
	return o, p.fill(o)
}

// fill makes the payload: one that makes this an operation of its own where the payload says which operation it is.
func (p *planner) fill(o *operation) error {
	const tries = 50
	md := o.exchange.NewRequest().ProtoReflect().Descriptor()
	for range tries {
		if own := p.samples[o.exchange.Name()]; len(own) > 0 {
			o.message = proto.Clone(own[p.rng.IntN(len(own))])
		} else if m, err := payload.New(p.rng, md); err != nil {
			return &catalog.Error{Problem: "cannot be used", Fix: "leave the method out with --only", Err: err}
		} else {
			o.message = m
		}
		if o.exchange.Policy().Idempotency != exchange.ByContent {
			return nil
		}
		key, err := o.exchange.ContentKey(o.message)
		if err != nil {
			return err
		}
		// The same key at another address is another operation, but has the same token.
		if id := o.exchange.Name() + " " + string(key); !p.keys[id] {
			p.keys[id] = true
			return nil
		}
	}
	o.alone = true
	return nil
}

// sender sends operations and waits for their outcomes.
type sender struct {
	agent   *agent.Agent
	history *recorder
	slots   chan struct{}
	going   sync.WaitGroup

	mu       sync.Mutex
	all      []*operation
	ended    int
	progress chan struct{} // closed and replaced with every beginning and end
}

func newSender(a *agent.Agent, r *recorder) *sender {
	return &sender{agent: a, history: r, slots: make(chan struct{}, underWay), progress: make(chan struct{})}
}

// send stores o, once fewer than underWay are open, and follows it in a goroutine until following ends.
func (s *sender) send(ctx, following context.Context, o *operation) error {
	slots := s.slots
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	o.began = time.Now()
	s.history.add(history.Event{
		Actor: senderName, Op: history.Send, Kind: history.Call, Key: o.key, To: o.to.String(), TTL: int64(o.ttl), Lane: o.lane, N: o.n,
	})
	sent, err := s.agent.Send(ctx, s.outgoing(o))
	if ctx.Err() != nil && err != nil {
		<-slots
		return context.Cause(ctx)
	}
	if err != nil {
		<-slots
		s.mu.Lock()
		defer s.mu.Unlock()
		o.refused, o.done, o.ended = err, true, time.Now()
		s.all = append(s.all, o)
		s.ended++
		s.moved()
		return nil
	}
	o.sent = sent
	if rec, err := s.agent.Buffer().OutByMessageID(sent.Status().Attempts[0].MessageID); err == nil {
		o.token = rec.GetToken()
		s.history.name(o.token, o.key)
	}
	s.history.add(history.Event{Actor: senderName, Op: history.Send, Kind: history.Return, Key: o.key, Token: o.token})
	s.mu.Lock()
	s.all = append(s.all, o)
	s.moved()
	s.mu.Unlock()
	s.going.Go(func() {
		defer func() { <-slots }()
		s.follow(following, o)
	})
	return nil
}

// senderName names the sender in histories.
const senderName = "torture"

func (s *sender) outgoing(o *operation) *exchange.Outgoing {
	p := o.exchange.Policy()
	p.AckTimeout = min(p.AckTimeout, ackTimeout)
	p.Retry.InitialBackoff, p.Retry.MaxBackoff = min(p.Retry.InitialBackoff, firstBackoff), min(p.Retry.MaxBackoff, lastBackoff)
	if o.ttl > 0 {
		p.TTL = o.ttl
	}
	if o.alone {
		p.Idempotency = exchange.EachCall
	}
	return &exchange.Outgoing{Exchange: o.exchange.Descriptor, To: o.to, Message: o.message, Policy: p, CorrelationID: o.correlation}
}

// follow waits for the outcome and notes the stages on the way.
func (s *sender) follow(ctx context.Context, o *operation) {
	for _, stage := range []ack.Stage{ack.Received, ack.Read} {
		_ = o.sent.Wait(ctx, stage) // its end is looked at below
		s.note(o)
	}
	err := result(ctx, o)
	s.note(o)
	if ctx.Err() != nil && !o.sent.Status().Done {
		return // nobody waits any more
	}
	stage, code := ack.Fulfilled.String(), ""
	var e *ack.Error
	if errors.As(err, &e) {
		stage, code = e.Stage.String(), e.Code.String()
	}
	if err == nil || e != nil {
		s.history.add(history.Event{
			Actor: senderName, Op: history.Finish, Kind: history.Return, Key: o.key, Token: o.token, Stage: stage, Code: code,
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o.done, o.err, o.ended = true, err, time.Now()
	s.ended++
	s.moved()
}

// begin lets underWay operations be open besides those that are.
func (s *sender) begin() { s.slots = make(chan struct{}, underWay) }

// moved is called under the lock.
func (s *sender) moved() {
	close(s.progress)
	s.progress = make(chan struct{})
}

// result waits for the end. The frames of a stream are read.
func result(ctx context.Context, o *operation) error {
	stream, ok := o.sent.(exchange.StreamOperation)
	if !ok || o.exchange.Kind() != exchange.KindStream {
		_, err := o.sent.Result(ctx)
		return err
	}
	for _, err := range stream.Frames(ctx) {
		if err != nil && !errors.Is(err, exchange.ErrRestarted) {
			return err
		}
	}
	return nil
}

func (s *sender) note(o *operation) {
	for _, at := range o.sent.Status().Attempts {
		s.history.add(history.Event{
			Actor: senderName, Op: history.Stage, Kind: history.Info, Key: o.key, Token: o.token, Message: at.MessageID,
			Attempt: at.RetryCount + 1, Stage: at.Stage.String(),
		})
	}
}

// count returns how many operations were begun, how many have ended, and a channel that is closed at the next beginning or
// end.
func (s *sender) count() (begun, ended int, progress <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all), s.ended, s.progress
}

// operations returns all that were begun, and which of them are open.
func (s *sender) operations() (all, open []*operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.all {
		o := *o
		all = append(all, &o)
		if !o.done {
			open = append(open, &o)
		}
	}
	return all, open
}

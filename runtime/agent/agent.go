package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

const (
	// pruneEvery is the time between two rounds of retention.
	pruneEvery = time.Minute
	// flushTimeout bounds how long Close waits until what came is stored, and for the router to take what finished handlers owe.
	flushTimeout = 5 * time.Second
	// abandonAfter is how long Close waits for handlers whose context has ended.
	abandonAfter = 5 * time.Second
)

// Agent sends and handles messages. Make one with package sw4rm, register handlers, then Start it. Its methods may be
// called from any goroutine.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	limits   envelope.Limits
	store    store.Store
	buf      *activity.Buffer
	instance store.Instance
	clock    *envelope.Clock
	reg      *registry
	sendFn   exchange.SendFunc
	conns    connections

	outbox    *outbox
	refusals  *refusals
	work      *serial
	inflow    *inflow
	waiting   *waiting
	dispatch  *dispatcher
	link      *link
	order     atomic.Uint64
	ended     *ended
	arrivals  *arrivals
	custodies *custodies
	turns     *turns
	answering *answering
	results   chan struct{} // a place for each reply handler that may run at once

	// base carries writes to the buffer; handlers is what handler contexts come from; network ends the connections.
	base, handlers, network context.Context
	endBase                 context.CancelFunc
	endHandlers, endNetwork context.CancelCauseFunc
	stopped                 chan struct{} // closed when nothing moves any more
	leaving                 chan struct{} // closed when the agent takes no more work
	wg                      sync.WaitGroup
	offers                  sync.WaitGroup // reply handlers
	closing                 sync.Once

	mu          sync.Mutex
	state       phase
	cause       error // why the agent stopped by itself
	failed      chan struct{}
	ops         map[uint64]*operation
	withdrawals map[uint64]*operation
	flows       map[uint64]*flow
}

// phase is where the agent is in its life.
type phase int

const (
	created phase = iota
	running
	draining
	closed
)

// New returns an agent on a store, which it closes with itself. Most programs use sw4rm.New, which opens the store too.
func New(cfg Config, s store.Store) (*Agent, error) {
	cfg, err := cfg.Complete()
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("agent %s: there is no store. Fix: use sw4rm.New, or agent.NewMemory in tests", cfg.ID)
	}
	a := &Agent{
		cfg: cfg, log: cfg.Logger, limits: envelope.Limits{MaxBytes: cfg.MaxEnvelopeBytes}, store: s, instance: s.Instance(),
		clock: envelope.NewClock(cfg.ID, time.Now), reg: newRegistry(), outbox: newOutbox(), refusals: newRefusals(), work: newSerial(), ended: newEnded(),
		arrivals: newArrivals(), custodies: newCustodies(), turns: newTurns(), answering: newAnswering(), flows: map[uint64]*flow{},
		inflow: newInflow(cfg.MaxInbound, cfg.MaxInboundBytes), stopped: make(chan struct{}), leaving: make(chan struct{}), failed: make(chan struct{}),
		ops: map[uint64]*operation{}, withdrawals: map[uint64]*operation{},
	}
	a.base, a.endBase = context.WithCancel(context.Background())
	a.network, a.endNetwork = context.WithCancelCause(context.Background())
	a.handlers, a.endHandlers = context.WithCancelCause(context.Background())
	a.dispatch = newDispatcher(cfg.MaxHandlers, a.runTask)
	a.link = newLink(a)
	a.waiting = newWaiting(a.outbox)
	a.results = make(chan struct{}, cfg.MaxHandlers)
	a.sendFn = a.send
	for _, i := range slices.Backward(cfg.Interceptors) {
		if i != nil {
			a.sendFn = i.WrapSend(a.sendFn)
		}
	}
	a.buf, err = activity.Open(a.base, s, activity.Config{
		MaxOut: cfg.MaxOut, MaxIn: cfg.MaxIn, MaxDataBytes: cfg.MaxDataBytes, MaxDedupBytes: cfg.MaxDedupBytes,
		DedupWindow: cfg.DedupWindow, InKeep: cfg.InKeep, KeepBodies: cfg.KeepBodies, KeepAge: cfg.KeepAge, Logger: a.log,
	})
	if err != nil {
		return nil, fmt.Errorf("agent %s: open the activity buffer: %w", cfg.ID, err)
	}
	return a, nil
}

// NewMemory returns an agent whose buffer ends with its process. It is for tests.
func NewMemory(cfg Config) (*Agent, error) { return New(cfg, store.NewMemory()) }

// ID returns the agent's id.
func (a *Agent) ID() string { return a.cfg.ID }

// Buffer returns the activity buffer, for inspection.
func (a *Agent) Buffer() *activity.Buffer { return a.buf }

// Start begins to send, receive and handle. It needs neither router nor registry: they are tried in the background. It
// returns every mistake of registration together. ctx bounds Start itself, not the agent.
func (a *Agent) Start(ctx context.Context) error {
	if a == nil {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := a.reg.freeze(); err != nil {
		return fmt.Errorf("start agent %s: %w", a.cfg.ID, err)
	}
	a.mu.Lock()
	switch a.state {
	case running, draining:
		a.mu.Unlock()
		return fmt.Errorf("start agent %s: it is started already. Fix: call Start or Run once", a.cfg.ID)
	case closed:
		a.mu.Unlock()
		return fmt.Errorf("start agent %s: %w", a.cfg.ID, ErrClosed)
	}
	if err := a.connect(); err != nil {
		a.mu.Unlock()
		return fmt.Errorf("start agent %s: %w", a.cfg.ID, err)
	}
	a.state = running
	a.mu.Unlock()
	for _, rec := range a.buf.OpenOut() {
		o := a.handle(rec, a.reg.descriptor(rec.GetExchange()), nil)
		if !pending(rec) {
			o.askAgain()
			o.schedule()
		}
		o.tell(false, false)
	}
	a.recoverIn()
	a.offerUnhandled()
	for _, loop := range []func(context.Context){a.outbox.run, a.link.run, a.attend, a.retain, a.watch} {
		a.background(loop)
	}
	return nil
}

// Run starts the agent, waits until ctx ends or the agent fails, and closes it. It returns nil when ctx has ended it.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.Start(ctx); err != nil {
		return errors.Join(err, a.Close())
	}
	select {
	case <-ctx.Done():
	case <-a.failed:
	}
	return errors.Join(a.stopCause(), a.Close())
}

// Failed is closed when the agent has stopped by itself; Err says why. The process goes on.
func (a *Agent) Failed() <-chan struct{} { return a.failed }

// Err returns why the agent stopped by itself, nil while it works.
func (a *Agent) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cause
}

// Close takes no more work, waits for running handlers at most Config.DrainTimeout, hands what they owe to the
// router, and closes the buffer. What has not ended goes on when the agent starts again. A second Close waits for the
// first.
func (a *Agent) Close() error {
	if a == nil {
		return nil
	}
	var err error
	a.closing.Do(func() { err = a.close() })
	return err
}

func (a *Agent) close() error {
	a.mu.Lock()
	started := a.state == running
	a.state = draining
	broken := a.cause != nil
	a.mu.Unlock()
	if started && !broken {
		a.drain()
	}
	a.endHandlers(errDrain)
	a.mu.Lock()
	a.state = closed
	a.mu.Unlock()
	close(a.stopped)
	select {
	case <-a.dispatch.pause():
	case <-time.After(abandonAfter):
		a.log.Error("a handler does not heed the end of its context; it is left behind and runs again at the next start")
	}
	a.endNetwork(errDrain)
	a.wg.Wait()
	taken := make(chan struct{})
	go func() {
		a.offers.Wait()
		close(taken)
	}()
	select {
	case <-taken:
	case <-time.After(abandonAfter):
		a.log.Error("a reply handler does not heed the end of its context; it is left behind and called again at the next start")
	}
	a.work.wait()
	a.endBase()
	return errors.Join(a.conns.close(), a.closeStore())
}

func (a *Agent) closeStore() error {
	if err := a.store.Close(); err != nil {
		return fmt.Errorf("close the activity buffer of %s: %w", a.cfg.ID, err)
	}
	return nil
}

// drain takes no more work, lets running handlers end, with the answers that they wait for, and hands what they owe to the
// router.
func (a *Agent) drain() {
	a.inflow.stop()
	if s := a.outbox.current(); s != nil {
		s.drain()
	}
	idle := a.dispatch.pause()
	close(a.leaving)
	select {
	case <-idle:
	case <-time.After(a.cfg.DrainTimeout):
		a.log.Warn("handlers are still running; they run again at the next start", "after", a.cfg.DrainTimeout)
		return
	case <-a.failed:
		return
	}
	flushed := time.After(flushTimeout)
	for _, settled := range []func() <-chan struct{}{
		a.work.settled, // what is in hand is acknowledged, so that it does not come again
		func() <-chan struct{} {
			return a.outbox.settled(transportpb.Class_CLASS_SIGNAL, transportpb.Class_CLASS_ANSWER)
		},
	} {
		select {
		case <-settled():
		case <-flushed:
			return
		case <-a.failed:
			return
		}
	}
}

func (a *Agent) phase() phase {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// background runs fn in a goroutine that ends with the agent; a closed agent starts none.
func (a *Agent) background(fn func(context.Context)) { a.spawn(&a.wg, fn) }

func (a *Agent) spawn(group *sync.WaitGroup, fn func(context.Context)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state == closed {
		return
	}
	group.Go(func() { fn(a.network) })
}

// failure takes an error of the buffer. A failed store stops the agent; anything else is a defect that the log shows.
func (a *Agent) failure(doing string, err error) {
	if errors.Is(err, store.ErrFailed) {
		a.stop(storeFailed(err))
		return
	}
	if a.base.Err() == nil {
		a.log.Error("the activity buffer refused a change", "doing", doing, "error", err)
	}
}

// stop ends the agent by itself: nothing more is sent, received or started.
func (a *Agent) stop(cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cause != nil || a.state == closed {
		return
	}
	a.cause = cause
	close(a.failed)
	a.endNetwork(cause)
	a.endHandlers(cause)
	a.dispatch.pause()
	a.log.Error("the agent has stopped", "error", cause)
}

// stopCause is why waiting ends when the agent has ended.
func (a *Agent) stopCause() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cause != nil {
		return a.cause
	}
	if a.state == closed {
		return ErrClosed
	}
	return nil
}

// watch stops the agent when its store fails.
func (a *Agent) watch(ctx context.Context) {
	select {
	case <-a.store.Failed():
		a.stop(storeFailed(a.store.Err()))
	case <-ctx.Done():
	}
}

// retain applies the rules of retention from time to time, and says when the buffer is nearly full.
func (a *Agent) retain(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	var full fullness
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := a.buf.Prune(a.base); err != nil {
				a.failure("prune the activity buffer", err)
			}
			full = a.notice(full, a.buf.Stats())
		}
	}
}

// answered, withdrawn implement events.
func (a *Agent) answered(ans *transportpb.Answer) { a.outbox.answer(ans) }

func (a *Agent) withdrawn(w *transportpb.WithdrawAnswer) {
	a.mu.Lock()
	o := a.withdrawals[w.GetN()]
	delete(a.withdrawals, w.GetN())
	a.mu.Unlock()
	if o != nil {
		o.do(func() { o.withdrawn(w.GetState()) })
	}
}

func (a *Agent) newID() string { return envelope.NewID() }

var _ interface {
	exchange.Sender
	exchange.Registrar
	exchange.Responder
} = (*Agent)(nil)

var _ events = (*Agent)(nil)

package agenttest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// fakeID is the agent id of what a Fake sends and answers.
const fakeID = "fake"

// Fake stands for an agent in unit tests of code that sends: what is sent through it goes straight to the handler that is
// registered with it, without net and buffer, whatever the address. Handlers are registered as with an agent, each with
// its types. A handler's error becomes the outcome as with an agent; nothing is tried again, but for ack.RetryAfter, and
// no timeout of the exchange is kept. Its methods may be called from any goroutine.
type Fake struct {
	t   testing.TB
	ctx context.Context
	wg  sync.WaitGroup
	// data has what handlers write, and nothing else.
	data *activity.Buffer

	mu       sync.Mutex
	handlers map[string]exchange.Handler
	messages []*fakeMessage
}

// fakeMessage is one message that was sent through a Fake.
type fakeMessage struct {
	out     *exchange.Outgoing
	op      *operation
	started bool
}

var _ interface {
	exchange.Sender
	exchange.Registrar
	exchange.Responder
} = (*Fake)(nil)

// NewFake returns a Fake without handlers. The test's cleanup ends those that still run.
func NewFake(t testing.TB) *Fake {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	data, err := activity.Open(ctx, store.NewMemory(), activity.Config{})
	if err != nil {
		t.Fatalf("agenttest: %v", err)
	}
	f := &Fake{t: t, ctx: ctx, data: data, handlers: map[string]exchange.Handler{}}
	t.Cleanup(func() {
		cancel()
		f.wg.Wait()
	})
	return f
}

// Service implements exchange.Registrar. It does nothing: addresses do not matter.
func (f *Fake) Service(exchange.Service) {}

// Handle implements exchange.Registrar. A later handler of the same exchange takes the place of the earlier one.
func (f *Fake) Handle(d *exchange.Descriptor, fn exchange.Handler) {
	f.t.Helper()
	if err := d.Validate(); err != nil {
		f.t.Errorf("agenttest: %v", err)
		return
	}
	if fn == nil {
		f.t.Errorf("agenttest: the handler of %s is nil. Fix: pass a function", d.Name())
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handlers[d.Name()] = fn
}

// HandleReply implements exchange.Registrar. It fails the test: results without a waiter need an agent.
func (f *Fake) HandleReply(d *exchange.Descriptor, _ exchange.ReplyHandler) {
	f.t.Helper()
	f.t.Errorf("agenttest: a Fake offers no results of %s to a reply handler. Fix: use an agent of a Net", d.Name())
}

// Mistake implements exchange.Registrar.
func (f *Fake) Mistake(err error) {
	f.t.Helper()
	f.t.Errorf("agenttest: %v", err)
}

// Send implements exchange.Sender.
func (f *Fake) Send(ctx context.Context, out *exchange.Outgoing) (exchange.Operation, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, err := range []error{out.Exchange.Validate(), out.Policy.Validate(), out.To.Validate()} {
		if err != nil {
			return nil, fmt.Errorf("send %s to %s: %w", out.Exchange.Name(), out.To, ack.Rejectf(ack.ValidationError, "%v", err))
		}
	}
	own := *out
	own.Message = proto.Clone(out.Message)
	if own.CorrelationID == "" {
		own.CorrelationID = envelope.NewID()
	}
	f.mu.Lock()
	m := &fakeMessage{out: &own, op: newOperation(exchange.Ref(fmt.Sprintf("%s/%d", fakeID, len(f.messages)+1)))}
	f.messages = append(f.messages, m)
	fn := f.handlers[out.Exchange.Name()]
	m.started = fn != nil
	f.mu.Unlock()
	if fn == nil {
		_ = m.op.end(nil, asOutcome(ack.Rejectf(ack.UnsupportedMessageType, "nothing handles %s. Fix: register a handler with the Fake", out.Exchange.Name())), nil) // it is new
		return m.op, nil
	}
	f.wg.Go(func() { f.run(m, fn) })
	return m.op, nil
}

// Resume implements exchange.Sender.
func (f *Fake) Resume(_ context.Context, d *exchange.Descriptor, ref exchange.Ref) (exchange.Operation, error) {
	m, err := f.find(d, ref)
	if err != nil {
		return nil, err
	}
	return m.op, nil
}

// Respond implements exchange.Responder.
func (f *Fake) Respond(ctx context.Context, d *exchange.Descriptor, ref exchange.Ref, reply proto.Message, err error) error {
	m, findErr := f.find(d, ref)
	if findErr != nil {
		return findErr
	}
	end := func(tx *activity.DataTx) error { return m.op.end(reply, asOutcome(err), f.commit(tx)) }
	if writes := exchange.WritesFrom(ctx); writes != nil {
		return f.transact(ctx, writes, end)
	}
	return end(nil)
}

// RespondFrames implements exchange.Responder.
func (f *Fake) RespondFrames(ctx context.Context, d *exchange.Descriptor, ref exchange.Ref, send func(exchange.FrameWriter) error) error {
	m, err := f.find(d, ref)
	if err != nil {
		return err
	}
	if err := send(&fakeFrames{op: m.op}); err != nil {
		return err
	}
	return f.Respond(ctx, d, ref, nil, nil)
}

// Data calls fn with a transaction over what handlers have written, as the method of an agent does.
func (f *Fake) Data(ctx context.Context, fn func(tx *exchange.Tx) error) error {
	return f.transact(ctx, fn, func(tx *activity.DataTx) error { return f.data.CommitData(ctx, tx) })
}

func (f *Fake) transact(ctx context.Context, fn func(*exchange.Tx) error, commit func(*activity.DataTx) error) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		tx := f.data.BeginData(ctx)
		if err := fn(exchange.NewTx(tx)); err != nil {
			tx.Close()
			return err
		}
		if err := commit(tx); !errors.Is(err, activity.ErrConflict) {
			return err
		}
	}
}

// commit returns what stores a transaction's writes.
func (f *Fake) commit(tx *activity.DataTx) func() error {
	return func() error {
		if tx == nil {
			return nil
		}
		return f.data.CommitData(f.ctx, tx)
	}
}

func (f *Fake) find(d *exchange.Descriptor, ref exchange.Ref) (*fakeMessage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.messages {
		if m.op.ref == ref && m.out.Exchange.Name() == d.Name() {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%q: %w", ref, exchange.ErrUnknownRef)
}

// list returns what was sent, or what was handled of it.
func (f *Fake) list(handled bool) []*exchange.Outgoing {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*exchange.Outgoing
	for _, m := range f.messages {
		if m.started || !handled {
			out = append(out, m.out)
		}
	}
	return slices.Clip(out)
}

// run calls the handler until it does not ask for another run.
func (f *Fake) run(m *fakeMessage, fn exchange.Handler) {
	m.op.reach(ack.Read)
	for run := 1; ; run++ {
		info := exchange.Info{
			From: fakeID, To: m.out.To.String(), Exchange: m.out.Exchange.Name(), MessageID: string(m.op.ref),
			CorrelationID: m.out.CorrelationID, Token: string(m.op.ref), Attempt: 1, Run: run,
		}
		tx := f.data.BeginData(f.ctx)
		ctx := exchange.WithTx(exchange.NewContext(f.ctx, info.WithRef(m.op.ref)), exchange.NewTx(tx))
		if m.out.Exchange.Kind() == exchange.KindStream {
			if run > 1 && m.out.Exchange.Policy().Resume != exchange.ContinueOnResume {
				m.op.restart()
			}
			ctx = exchange.WithFrameWriter(ctx, &fakeFrames{op: m.op})
		}
		reply, err := f.call(ctx, fn, m.out.Message)
		var retry *ack.RetryError
		switch {
		case errors.Is(err, exchange.ErrDeferred):
			err = f.data.CommitData(f.ctx, tx)
		case errors.As(err, &retry):
			tx.Close()
			select {
			case <-time.After(retry.After):
				continue
			case <-f.ctx.Done():
				return
			}
		case err == nil:
			err = m.op.end(reply, nil, f.commit(tx))
		}
		if errors.Is(err, activity.ErrConflict) {
			continue
		}
		tx.Close()
		if err != nil && !errors.Is(err, exchange.ErrAnswered) {
			_ = m.op.end(nil, asOutcome(err), nil) // it may have been answered meanwhile
		}
		return
	}
}

func (f *Fake) call(ctx context.Context, fn exchange.Handler, req proto.Message) (reply proto.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.t.Logf("agenttest: a handler panicked: %v\n%s", p, debug.Stack())
			err = ack.Failf(ack.InternalError, "the handler panicked: %v", p)
		}
	}()
	return fn(ctx, proto.Clone(req))
}

// asOutcome returns a handler's error as the outcome that its sender gets, nil for nil.
func asOutcome(err error) error {
	if err == nil {
		return nil
	}
	out := &ack.Error{Stage: ack.Failed, Code: ack.InternalError, Note: err.Error(), From: fakeID}
	if e := (*ack.Error)(nil); errors.As(err, &e) && e.From == "" && (e.Stage == ack.Rejected || e.Stage == ack.Failed) {
		out.Stage, out.Code = e.Stage, e.Code
		if error(e) == err {
			out.Note = e.Note
		}
	}
	return out
}

// fakeFrames takes the frames of a stream.
type fakeFrames struct{ op *operation }

// Send implements exchange.FrameWriter.
func (w *fakeFrames) Send(frame proto.Message) error {
	w.op.frame(frame)
	return nil
}

// Recorded implements exchange.FrameWriter.
func (w *fakeFrames) Recorded() int {
	w.op.mu.Lock()
	defer w.op.mu.Unlock()
	return len(w.current())
}

// Last implements exchange.FrameWriter.
func (w *fakeFrames) Last() (proto.Message, error) {
	w.op.mu.Lock()
	defer w.op.mu.Unlock()
	if frames := w.current(); len(frames) > 0 {
		return proto.Clone(frames[len(frames)-1]), nil
	}
	return nil, nil
}

// current returns the frames that count: those since the last restart.
func (w *fakeFrames) current() []proto.Message {
	frames := w.op.frames
	for i, f := range slices.Backward(frames) {
		if f == nil {
			return frames[i+1:]
		}
	}
	return frames
}

package agenttest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// Delivered returns the handle of a one-way message that has ended: FULFILLED for nil, else with err, for example an
// *ack.Error.
func Delivered(err error) *exchange.Delivery {
	d, end := Delivery()
	end(err)
	return d
}

// Delivery returns the handle of a one-way message that has not ended, and a function that ends it. Only its first call
// counts.
func Delivery() (d *exchange.Delivery, end func(err error)) {
	op := newOperation(givenRef)
	return exchange.NewDelivery(op), func(err error) { _ = op.end(nil, err, nil) }
}

// Replied returns the handle of a request that was answered with res, or has ended with err when that is not nil.
func Replied[Res proto.Message](res Res, err error) *exchange.Pending[Res] {
	p, end := Pending[Res]()
	end(res, err)
	return p
}

// Pending returns the handle of a request that has not ended, and a function that answers it, or ends it with err when
// that is not nil. Only its first call counts.
func Pending[Res proto.Message]() (p *exchange.Pending[Res], end func(res Res, err error)) {
	op := newOperation(givenRef)
	return exchange.NewPending[Res](op), func(res Res, err error) { _ = op.end(res, err, nil) }
}

// Streamed returns the handle of a streaming request that got these frames and has ended: FULFILLED for nil, else with
// err.
func Streamed[Res proto.Message](frames []Res, err error) *exchange.PendingStream[Res] {
	p, send, end := Stream[Res]()
	for _, f := range frames {
		send(f)
	}
	end(err)
	return p
}

// Stream returns the handle of a streaming request that has not ended, a function that sends it a frame, and one that ends
// it. What comes after the first end does not count.
func Stream[Res proto.Message]() (p *exchange.PendingStream[Res], send func(frame Res), end func(err error)) {
	op := newOperation(givenRef)
	return exchange.NewPendingStream[Res](given.Descriptor(), op),
		func(frame Res) { op.frame(frame) },
		func(err error) { _ = op.end(nil, err, nil) }
}

// givenRef is the Ref of handles that belong to no agent.
const givenRef exchange.Ref = "given"

// given describes the streams that belong to no exchange.
var given = exchange.NewStream[emptypb.Empty, emptypb.Empty]("agenttest.Given/Stream")

// operation is an operation in memory.
type operation struct {
	ref exchange.Ref

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with every change
	stage   ack.Stage
	frames  []proto.Message
	done    bool
	reply   proto.Message
	err     error
}

func newOperation(ref exchange.Ref) *operation {
	return &operation{ref: ref, changed: make(chan struct{})}
}

// change calls fn and tells those who wait, unless fn returns an error or the operation has ended, which is ErrAnswered.
func (o *operation) change(fn func() error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return fmt.Errorf("answer %q: %w", o.ref, exchange.ErrAnswered)
	}
	if err := fn(); err != nil {
		return err
	}
	close(o.changed)
	o.changed = make(chan struct{})
	return nil
}

// end fixes the outcome when store, which may be nil, returns nil.
func (o *operation) end(reply proto.Message, err error, store func() error) error {
	return o.change(func() error {
		if store != nil {
			if err := store(); err != nil {
				return err
			}
		}
		o.done, o.stage, o.reply, o.err = true, ack.Fulfilled, reply, err
		if err != nil {
			o.stage, o.reply = ack.Failed, nil
			if e := (*ack.Error)(nil); errors.As(err, &e) && e.Stage.Terminal() {
				o.stage = e.Stage
			}
		}
		return nil
	})
}

// progress is change for what an operation that has ended does not take any more.
func (o *operation) progress(fn func()) {
	_ = o.change(func() error {
		fn()
		return nil
	})
}

func (o *operation) reach(stage ack.Stage) { o.progress(func() { o.stage = stage }) }

func (o *operation) frame(m proto.Message) {
	o.progress(func() { o.frames = append(o.frames, proto.Clone(m)) })
}

// restart tells the readers of frames that what they have got is void.
func (o *operation) restart() {
	o.progress(func() {
		if len(o.frames) > 0 {
			o.frames = append(o.frames, nil)
		}
	})
}

// Ref implements exchange.Operation.
func (o *operation) Ref() exchange.Ref { return o.ref }

// Status implements exchange.Operation.
func (o *operation) Status() exchange.Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	return exchange.Status{Ref: o.ref, Stage: o.stage, Done: o.done, Err: o.err}
}

// Wait implements exchange.Operation.
func (o *operation) Wait(ctx context.Context, stage ack.Stage) error {
	return o.await(ctx, func() bool { return o.stage >= stage })
}

// Result implements exchange.Operation.
func (o *operation) Result(ctx context.Context) (proto.Message, error) {
	if err := o.await(ctx, func() bool { return false }); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reply, nil
}

// await blocks until the condition is met or the operation has ended. met is called under the lock.
func (o *operation) await(ctx context.Context, met func() bool) error {
	for {
		o.mu.Lock()
		done, err, changed := o.done, o.err, o.changed
		ok := done || met()
		o.mu.Unlock()
		if done {
			return err
		}
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return exchange.NewUnfinished(o.Status(), context.Cause(ctx))
		}
	}
}

// Frames implements exchange.StreamOperation.
func (o *operation) Frames(ctx context.Context) iter.Seq2[proto.Message, error] {
	return func(yield func(proto.Message, error) bool) {
		for n := 0; ; n++ {
			if err := o.await(ctx, func() bool { return len(o.frames) > n }); err != nil && !o.has(n) {
				yield(nil, err)
				return
			}
			if !o.has(n) {
				return
			}
			o.mu.Lock()
			frame := o.frames[n]
			o.mu.Unlock()
			if frame == nil {
				if !yield(nil, exchange.ErrRestarted) {
					return
				}
				continue
			}
			if !yield(proto.Clone(frame), nil) {
				return
			}
		}
	}
}

func (o *operation) has(n int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.frames) > n
}

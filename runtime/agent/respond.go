package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Respond implements exchange.Responder. It may be called from any goroutine, and in a later process than the handler's.
func (a *Agent) Respond(ctx context.Context, d *exchange.Descriptor, ref exchange.Ref, reply proto.Message, err error) error {
	rec, refused := a.answerable(ctx, d, ref)
	if refused != nil {
		return refused
	}
	return a.answer(ctx, d, ref, rec, reply, err)
}

// RespondFrames implements exchange.Responder, as Respond does.
func (a *Agent) RespondFrames(ctx context.Context, d *exchange.Descriptor, ref exchange.Ref, send func(exchange.FrameWriter) error) error {
	rec, err := a.answerable(ctx, d, ref)
	if err != nil {
		return err
	}
	seq := rec.GetSequence()
	if t := taskFrom(ctx); t != nil && t.seq() == seq {
		return fmt.Errorf("answer %q: %w. Fix: send by what the handler was given, or return ErrDeferred first", ref, exchange.ErrNotDeferred)
	}
	leave, err := a.answering.take(ctx, seq)
	if err != nil {
		return fmt.Errorf("answer %q: %w", ref, err)
	}
	defer leave()
	if rec, err = a.deferred(ctx, seq); err != nil {
		return fmt.Errorf("answer %q: %w", ref, err)
	}
	sending, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.handlers, func() { cancel(context.Cause(a.handlers)) })()
	t := &task{a: a, rec: rec, h: &handler{d: d}, ended: true}
	w, err := a.openFrames(sending, cancel, t, rec.GetRuns(), true)
	if err == nil {
		err = send(w)
		w.close()
	}
	if err != nil {
		if now, getErr := a.buf.In(seq); getErr == nil && now.GetFinished() != 0 {
			err = exchange.ErrAnswered
		}
		return fmt.Errorf("answer %q: %w", ref, err)
	}
	return a.answer(ctx, d, ref, rec, nil, nil)
}

// answerable returns the message that an answer is for, unless it has one.
func (a *Agent) answerable(ctx context.Context, d *exchange.Descriptor, ref exchange.Ref) (*storagepb.InRecord, error) {
	if a == nil || a.phase() == closed {
		return nil, ErrClosed
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	seq, err := a.parseRef("in", ref)
	if err != nil {
		return nil, err
	}
	rec, err := a.buf.In(seq)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q: %w", ref, unknownRef(err))
	case rec.GetExchange() != d.Name():
		return nil, fmt.Errorf("%q is a message of %s, not of %s: %w", ref, rec.GetExchange(), d.Name(), exchange.ErrUnknownRef)
	case rec.GetFinished() != 0:
		return nil, fmt.Errorf("answer %q: %w", ref, exchange.ErrAnswered)
	}
	return rec, nil
}

// deferred returns a message once its handler has returned and left the answer to others.
func (a *Agent) deferred(ctx context.Context, seq uint64) (*storagepb.InRecord, error) {
	for {
		running := a.dispatch.taskOf(seq)
		rec, err := a.buf.In(seq)
		switch {
		case err != nil:
			return nil, unknownRef(err)
		case rec.GetFinished() != 0:
			return nil, exchange.ErrAnswered
		case rec.GetDeferred() && running == nil:
			return rec, nil
		case running == nil:
			return nil, exchange.ErrNotDeferred
		}
		select {
		case <-running.returned:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// answer ends a message with reply or err, and with what the context's caller writes.
func (a *Agent) answer(ctx context.Context, d *exchange.Descriptor, ref exchange.Ref, rec *storagepb.InRecord, reply proto.Message, err error) error {
	var running *conclusion
	if t := a.dispatch.taskOf(rec.GetSequence()); t != nil {
		running = t.present()
	}
	end := func(data *activity.DataTx) error {
		return running.answer(func() error {
			done, err := a.finish(&task{a: a, rec: rec, h: &handler{d: d}}, reply, err, data)
			if err == nil {
				a.pay(done)
			}
			return err
		})
	}
	var endErr error
	if writes := exchange.WritesFrom(ctx); writes != nil {
		endErr = a.transact(ctx, writes, end)
	} else {
		endErr = end(nil)
	}
	switch {
	case endErr == nil:
		return nil
	case errors.Is(endErr, activity.ErrFinished):
		return fmt.Errorf("answer %q: %w", ref, exchange.ErrAnswered)
	case errors.Is(endErr, store.ErrFailed):
		a.failure("record a deferred answer", endErr)
	}
	return fmt.Errorf("answer %q: %w", ref, endErr)
}

// answering lets one at a time answer a message with frames.
type answering struct {
	mu    sync.Mutex
	taken map[uint64]chan struct{} // closed when the turn is over
}

func newAnswering() *answering { return &answering{taken: map[uint64]chan struct{}{}} }

// take waits for a turn, until ctx ends, and returns what ends it.
func (q *answering) take(ctx context.Context, seq uint64) (leave func(), err error) {
	for {
		q.mu.Lock()
		other := q.taken[seq]
		if other == nil {
			mine := make(chan struct{})
			q.taken[seq] = mine
			q.mu.Unlock()
			return func() {
				q.mu.Lock()
				defer q.mu.Unlock()
				delete(q.taken, seq)
				close(mine)
			}, nil
		}
		q.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// unknownRef makes the buffer's error the one that callers know.
func unknownRef(err error) error {
	if errors.Is(err, activity.ErrUnknown) {
		return exchange.ErrUnknownRef
	}
	return err
}

package agent

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Respond implements exchange.Responder. It may be called from any goroutine, and in a later process than the handler's.
func (a *Agent) Respond(ctx context.Context, d *exchange.Descriptor, ref exchange.Ref, reply proto.Message, err error) error {
	if a == nil || a.phase() == closed {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	seq, refErr := a.parseRef("in", ref)
	if refErr != nil {
		return refErr
	}
	rec, getErr := a.buf.In(seq)
	switch {
	case getErr != nil:
		return fmt.Errorf("%q: %w", ref, unknownRef(getErr))
	case rec.GetExchange() != d.Name():
		return fmt.Errorf("%q is a message of %s, not of %s: %w", ref, rec.GetExchange(), d.Name(), exchange.ErrUnknownRef)
	case rec.GetFinished() != 0:
		return fmt.Errorf("answer %q: %w", ref, exchange.ErrAnswered)
	}
	var running *conclusion
	if t := a.dispatch.taskOf(seq); t != nil {
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

// unknownRef makes the buffer's error the one that callers know.
func unknownRef(err error) error {
	if errors.Is(err, activity.ErrUnknown) {
		return exchange.ErrUnknownRef
	}
	return err
}

package agent

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
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
	done, finishErr := a.finish(&task{a: a, rec: rec, h: &handler{d: d}}, reply, err)
	switch {
	case errors.Is(finishErr, activity.ErrFinished):
		return fmt.Errorf("answer %q: %w", ref, exchange.ErrAnswered)
	case finishErr != nil:
		a.failure("record a deferred answer", finishErr)
		return fmt.Errorf("answer %q: %w", ref, finishErr)
	}
	a.pay(done)
	return nil
}

// unknownRef makes the buffer's error the one that callers know.
func unknownRef(err error) error {
	if errors.Is(err, activity.ErrUnknown) {
		return exchange.ErrUnknownRef
	}
	return err
}

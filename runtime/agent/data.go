package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

const (
	// A transaction that met another one is tried again after up to conflictFirst, doubled each time up to conflictLast.
	conflictFirst = time.Millisecond
	conflictLast  = time.Second
)

// Data calls fn with a transaction over the agent's own data, outside of any handler, and stores what it writes, durably,
// when it returns nil. When what it has read was changed by another transaction meanwhile, fn is called again, until ctx
// ends. An error of fn is returned, and nothing is stored. It may be called from any goroutine before Close, before Start
// too. In a handler use exchange.TxFrom, whose writes are stored with the outcome.
func (a *Agent) Data(ctx context.Context, fn func(tx *exchange.Tx) error) error {
	return a.transact(ctx, fn, func(tx *activity.DataTx) error {
		err := a.buf.CommitData(ctx, tx)
		if errors.Is(err, store.ErrFailed) {
			a.failure("store data", err)
		}
		return err
	})
}

// transact calls fn with a transaction and stores it by commit, again for as long as others are quicker.
func (a *Agent) transact(ctx context.Context, fn func(*exchange.Tx) error, commit func(*activity.DataTx) error) error {
	if a == nil || a.phase() == closed {
		return ErrClosed
	}
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		tx := a.buf.BeginData(ctx)
		if err := fn(exchange.NewTx(tx)); err != nil {
			tx.Close()
			return err
		}
		if err := commit(tx); !errors.Is(err, activity.ErrConflict) {
			return err
		}
		select {
		case <-time.After(conflictWait(n)):
		case <-ctx.Done():
		}
	}
}

// conflictWait spreads those who have met.
func conflictWait(n int) time.Duration {
	return time.Duration(rand.Int64N(int64(doubled(conflictFirst, n, conflictLast))) + 1)
}

// withData returns the context of a run with its transaction.
func (a *Agent) withData(ctx context.Context, t *task) context.Context {
	t.data = a.buf.BeginData(ctx)
	return exchange.WithTx(ctx, exchange.NewTx(t.data))
}

// unwritten deals with a run whose writes could not be stored, and tells whether that is what err says: when another one was
// quicker the handler runs again, and when there is no room the message fails.
func (a *Agent) unwritten(t *task, err error) bool {
	var refusal *ack.Error
	switch {
	case errors.Is(err, activity.ErrConflict):
		a.conflicted(t)
	case errors.As(err, &refusal):
		a.end(t, nil, refusal, nil)
	default:
		return false
	}
	return true
}

// conflicted lets the handler run again, in its place and lane. The run does not count as a crash.
func (a *Agent) conflicted(t *task) {
	a.log.Debug("a handler runs again, since data that it has read has changed", "exchange", t.h.d.Name(), "ref", a.inRef(t.seq()))
	switch err := a.buf.RetryIn(a.base, t.seq(), time.Now()); {
	case err == nil:
		t.rerun = true
	case !errors.Is(err, activity.ErrFinished):
		a.failure("record that a handler runs again", err)
	}
}

// awaitRerun waits before the n-th further run of a task, and tells whether it is to be made now: the agent may be closing,
// and the handler runs at its next start then.
func (a *Agent) awaitRerun(t *task, n int) bool {
	select {
	case <-time.After(conflictWait(n)):
		t.renew()
		return true
	case <-a.handlers.Done():
		return false
	}
}

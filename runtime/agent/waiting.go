package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

// waiting has the timers of received messages whose handler does not run: of deferred ones for the end of their time to
// live, of others for their next run. A message has one at most, and none once it has ended.
type waiting struct {
	outbox *outbox

	mu     sync.Mutex
	timers map[uint64]*item
}

func newWaiting(o *outbox) *waiting { return &waiting{outbox: o, timers: map[uint64]*item{}} }

// until calls fn at the given time, unless the message is forgotten before. fn may not block.
func (w *waiting) until(seq uint64, at time.Time, fn func()) {
	i := &item{class: transportpb.Class_CLASS_WORK}
	i.due = func() {
		w.mu.Lock()
		current := w.timers[seq] == i
		if current {
			delete(w.timers, seq)
		}
		w.mu.Unlock()
		w.outbox.remove(i)
		if current {
			fn()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if was := w.timers[seq]; was != nil {
		w.outbox.remove(was)
	}
	w.timers[seq] = i
	w.outbox.idle(i, at)
}

// forget stops the message's timer.
func (w *waiting) forget(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := w.timers[seq]; i != nil {
		w.outbox.remove(i)
		delete(w.timers, seq)
	}
}

// deferAnswer leaves a message to a later answer.
func (a *Agent) deferAnswer(t *task) {
	switch err := a.buf.DeferIn(a.base, t.seq(), t.data); {
	case err == nil:
		a.watchTTL(t.rec)
	case a.unwritten(t, err):
	case !errors.Is(err, activity.ErrFinished): // finished: answered already
		a.failure("record a deferred answer", err)
	}
}

// retryRun leaves a message to a later run.
func (a *Agent) retryRun(t *task, retry *ack.RetryError) {
	a.log.Info("a handler asks to run again", "exchange", t.h.d.Name(), "after", retry.After, "error", retry.Err)
	at := time.Now().Add(retry.After)
	switch err := a.buf.RetryIn(a.base, t.seq(), at); {
	case err == nil:
		a.runLater(t.rec, t.h, at)
	case !errors.Is(err, activity.ErrFinished):
		a.failure("record when a handler runs again", err)
	}
}

// runLater queues the message again when its time has come. It has no place of the inbound window until then.
func (a *Agent) runLater(rec *storagepb.InRecord, h *handler, at time.Time) {
	if deadline := expiresAt(rec); !deadline.IsZero() && deadline.Before(at) {
		at = deadline
	}
	a.wakeAt(rec, at, func(current *storagepb.InRecord) {
		if current.GetNextRunAt() == nil {
			return
		}
		var refusal error
		if h == nil {
			refusal = ack.Rejectf(ack.UnsupportedMessageType, noLongerHandled, rec.GetExchange())
		}
		a.inflow.take(rec.GetPayloadBytes())
		a.queue(current, h, refusal, true, true)
	})
}

// watchTTL ends a deferred message when its time to live is over.
func (a *Agent) watchTTL(rec *storagepb.InRecord) {
	at := expiresAt(rec)
	if at.IsZero() {
		return
	}
	a.wakeAt(rec, at, func(current *storagepb.InRecord) {
		if !current.GetDeferred() {
			return
		}
		done, err := a.finish(&task{a: a, rec: current}, nil, ack.Failf(ack.TTLExpired, "ttl_expired: the answer was deferred for too long"), nil)
		switch {
		case errors.Is(err, activity.ErrFinished): // answered at the same moment
		case err != nil:
			a.failure("end a deferred message", err)
		default:
			a.pay(done)
		}
	})
}

// wakeAt calls fn with the message as it is at the given time, unless it has ended by then.
func (a *Agent) wakeAt(rec *storagepb.InRecord, at time.Time, fn func(current *storagepb.InRecord)) {
	seq := rec.GetSequence()
	a.waiting.until(seq, at, func() {
		a.background(func(context.Context) {
			if current, err := a.buf.In(seq); err == nil && current.GetFinished() == 0 {
				fn(current)
			}
		})
	})
	// It may have been answered before there was a timer to stop.
	if current, err := a.buf.In(seq); err != nil || current.GetFinished() != 0 {
		a.waiting.forget(seq)
	}
}

package router

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sw4rm/sw4rm-go/services/queue"
)

const (
	// pruneInterval is how often finished tokens are pruned, and how late an expiry may be that nobody announced.
	pruneInterval = time.Minute
	// minInterval keeps an engine that always has something to do from taking all the time.
	minInterval = 10 * time.Millisecond
)

// housekeeper makes the engine end what has run out, when it has run out.
type housekeeper struct {
	engine queue.Engine
	log    *slog.Logger
	// connected tells whether an agent has a stream open.
	connected func(agent string) bool
	// after runs after each round.
	after func()

	mu    sync.Mutex
	next  time.Time
	waker *waker
}

func newHousekeeper(e queue.Engine, log *slog.Logger, connected func(agent string) bool, after func()) *housekeeper {
	return &housekeeper{engine: e, log: log, connected: connected, after: after, waker: newWaker()}
}

// by asks for a round at t or earlier.
func (h *housekeeper) by(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.Before(h.next) {
		h.next = t
		h.waker.wake()
	}
}

// run works until ctx ends.
func (h *housekeeper) run(ctx context.Context) {
	now := time.Now()
	pruneAt := now.Add(pruneInterval)
	timer := time.NewTimer(0)
	defer timer.Stop()
	h.mu.Lock()
	h.next = now
	h.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.waker.c:
		case <-timer.C:
		}
		now := time.Now()
		h.mu.Lock()
		due := !now.Before(h.next)
		if due {
			// What is announced while the engine works counts for the next round.
			h.next = now.Add(pruneInterval)
		}
		h.mu.Unlock()
		if due {
			h.round(ctx, now)
			if !now.Before(pruneAt) {
				pruneAt = now.Add(pruneInterval)
				if err := h.engine.Prune(ctx, now, h.connected); err != nil && ctx.Err() == nil {
					h.log.ErrorContext(ctx, "finished messages could not be pruned", "error", err)
				}
			}
		}
		h.mu.Lock()
		wait := max(time.Until(h.next), minInterval)
		h.mu.Unlock()
		timer.Reset(wait)
	}
}

func (h *housekeeper) round(ctx context.Context, now time.Time) {
	next, err := h.engine.Expire(ctx, now)
	if err != nil {
		if ctx.Err() == nil {
			h.log.ErrorContext(ctx, "expired messages could not be ended", "error", err)
		}
		return
	}
	if !next.IsZero() {
		h.by(next)
	}
	h.after()
}

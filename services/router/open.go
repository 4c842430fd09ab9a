package router

import (
	"context"
	"log/slog"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// StorePrefix is where in a store that services share a router has its part.
const StorePrefix = "queue/"

// Options of a router over a store. The zero Options are the defaults.
type Options struct {
	// Limits bound the queues.
	Limits queue.Limits
	// Directory, Lease, MaxEnvelopeBytes and Logger are those of Config.
	Directory        Directory
	Lease            time.Duration
	MaxEnvelopeBytes int
	Logger           *slog.Logger
}

// Open starts a router whose queues lie in s. It uses the whole of s and does not close it.
func Open(ctx context.Context, s store.Store, o Options) (*Router, error) {
	wakeups := new(Wakeups)
	engine, err := kv.Open(ctx, s, kv.Options{Limits: o.Limits, Logger: o.Logger, Notify: wakeups.Notify})
	if err != nil {
		return nil, err
	}
	return New(Config{
		Engine: engine, Wakeups: wakeups, Directory: o.Directory,
		Lease: o.Lease, MaxEnvelopeBytes: o.MaxEnvelopeBytes, Logger: o.Logger,
	})
}

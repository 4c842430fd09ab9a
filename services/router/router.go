// Package router takes messages from producers and delivers them to agents, on top of a queue engine. It serves the
// module's own stream (sw4rm.transport.v1) and the protocol's canonical RPCs (sw4rm.router) from one core.
package router

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

const (
	// DefaultLease is how long a delivery may stay unacknowledged before it is made again.
	DefaultLease = 30 * time.Second

	// maxStreams and maxStreamsPerAgent bound the open streams of a router.
	maxStreams         = 4096
	maxStreamsPerAgent = 16
	// maxCapabilities bounds what one agent may offer.
	maxCapabilities = 256
	// helloTimeout is how long a new stream may stay silent.
	helloTimeout = 10 * time.Second
	// flushTimeout is how long an ending stream may take to write what it still has to say.
	flushTimeout = 3 * time.Second
)

// Directory knows which capabilities the agents have that cannot name them on their stream.
type Directory interface {
	// Capabilities returns an agent's capabilities, nil for an unknown agent. The caller does not change them.
	Capabilities(agentID string) []string
}

// Config says what a router works on.
type Config struct {
	// Engine holds the queues.
	Engine queue.Engine
	// Wakeups must be what the engine notifies of new messages.
	Wakeups *Wakeups
	// Directory may be nil.
	Directory Directory
	// Lease is how long a delivery may stay unacknowledged; 0 is DefaultLease.
	Lease time.Duration
	// MaxEnvelopeBytes is the largest encoded envelope; 0 is envelope.DefaultMaxBytes.
	MaxEnvelopeBytes int
	// Logger gets what operators should know, never payloads; nil is slog.Default.
	Logger *slog.Logger
}

// Router is the core that both services share. Its methods may be called from any goroutine.
type Router struct {
	engine    queue.Engine
	wakeups   *Wakeups
	directory Directory
	lease     time.Duration
	maxBytes  int
	log       *slog.Logger

	start   string // another one for every Router
	members *members
	house   *housekeeper
	streams atomic.Uint64

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	// running counts every goroutine that outlives the call that started it.
	running sync.WaitGroup
}

// New starts a router. The caller closes it after the gRPC server that serves it has stopped.
func New(c Config) (*Router, error) {
	if c.Engine == nil || c.Wakeups == nil {
		return nil, errors.New("a router needs an engine and its wakeups")
	}
	if c.Lease <= 0 {
		c.Lease = DefaultLease
	}
	if c.MaxEnvelopeBytes <= 0 {
		c.MaxEnvelopeBytes = envelope.DefaultMaxBytes
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Directory == nil {
		c.Directory = noDirectory{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Router{
		engine:    c.Engine,
		wakeups:   c.Wakeups,
		directory: c.Directory,
		lease:     c.Lease,
		maxBytes:  c.MaxEnvelopeBytes,
		log:       c.Logger,
		start:     envelope.NewID(),
		members:   newMembers(c.Lease),
		ctx:       ctx,
		cancel:    cancel,
	}
	r.house = newHousekeeper(r.engine, r.log, r.members.connected, func() {
		r.wakeups.all()
		r.members.purge()
	})
	r.running.Go(func() { r.house.run(ctx) })
	return r, nil
}

// Register enters both services.
func (r *Router) Register(s grpc.ServiceRegistrar) {
	transportpb.RegisterTransportServiceServer(s, &transportService{router: r})
	routerpb.RegisterRouterServiceServer(s, &routerService{router: r})
}

// CapabilitiesChanged tells that the directory may answer otherwise for an agent.
func (r *Router) CapabilitiesChanged(agentID string) { r.members.wake(agentID) }

// Drain refuses new streams and messages, and ends the open streams. It returns at once; the server waits for them.
func (r *Router) Drain() { r.members.drain() }

// Close stops the router and waits for its goroutines.
func (r *Router) Close() {
	r.members.drain()
	r.cancel()
	r.running.Wait()
}

type noDirectory struct{}

func (noDirectory) Capabilities(string) []string { return nil }

// failure turns an engine's error into the status that ends a call, and tells operators.
func (r *Router) failure(ctx context.Context, doing string, err error) error {
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, store.ErrClosed), r.ctx.Err() != nil:
		return status.Error(codes.Unavailable, "draining: the router is going down")
	}
	r.log.ErrorContext(ctx, "the queue engine failed", "doing", doing, "error", err)
	return status.Error(codes.Internal, "the router's store has failed")
}

// Package agenttest runs agents against the real router in the test's own process: nothing but the network and the disk
// is replaced, so it works under testing/synctest, where time passes at once. Only tests import it.
package agenttest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/registry"
	"github.com/sw4rm/sw4rm-go/services/router"
	"github.com/sw4rm/sw4rm-go/services/server"
)

// bufferSize is what a connection holds before its writer waits.
const bufferSize = 1 << 20

// Net is a router and a registry with the agents of one test. The test's cleanup ends them.
type Net struct {
	t      testing.TB
	log    *slog.Logger
	lease  time.Duration
	limits queue.Limits
	store  store.Store
	stop   func()

	mu       sync.Mutex
	listener *bufconn.Listener
}

// Option configures a Net.
type Option func(*Net)

// Lease sets the router's delivery lease. Default: 30 s.
func Lease(d time.Duration) Option { return func(n *Net) { n.lease = d } }

// Limits sets the limits of the router's queues.
func Limits(l queue.Limits) Option { return func(n *Net) { n.limits = l } }

// Logger sets what the services and agents log to. Default: nothing.
func Logger(l *slog.Logger) Option { return func(n *Net) { n.log = l } }

// New starts a router and a registry.
func New(t testing.TB, opts ...Option) *Net {
	t.Helper()
	n := &Net{t: t, log: slog.New(slog.DiscardHandler), lease: router.DefaultLease, store: store.NewMemory()}
	for _, o := range opts {
		o(n)
	}
	n.StartRouter()
	t.Cleanup(n.StopRouter)
	return n
}

// StartRouter starts router and registry on what they have stored; New has done so.
func (n *Net) StartRouter() {
	n.t.Helper()
	ctx := context.Background()
	reg, err := registry.Open(ctx, store.Sub(n.store, "registry/"), registry.Options{Logger: n.log})
	if err != nil {
		n.t.Fatalf("open the registry: %v", err)
	}
	core, err := router.Open(ctx, store.Sub(n.store, "queue/"), router.Options{
		Limits: n.limits, Directory: reg, Lease: n.lease, Logger: n.log,
	})
	if err != nil {
		n.t.Fatalf("open the router: %v", err)
	}
	s := grpc.NewServer(server.Options()...)
	core.Register(s)
	reg.Register(s)
	l := bufconn.Listen(bufferSize)
	n.mu.Lock()
	n.listener = l
	n.mu.Unlock()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	n.stop = func() {
		s.Stop()
		core.Close()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			n.t.Errorf("serve: %v", err)
		}
	}
}

// StopRouter ends router and registry as a crash would: nothing is told to the agents. A second call does nothing.
func (n *Net) StopRouter() {
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

// Agent returns an agent of the net with its buffer in memory. The test registers its handlers and starts it; cleanup
// closes it.
func (n *Net) Agent(id string) *agent.Agent {
	return n.AgentOn(agent.Config{ID: id}, store.NewMemory())
}

// AgentOn returns an agent with this configuration on this store.
func (n *Net) AgentOn(cfg agent.Config, s store.Store) *agent.Agent {
	n.t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = n.log
	}
	cfg.DialOptions = append(cfg.DialOptions, n.Dial())
	a, err := agent.New(cfg, s)
	if err != nil {
		n.t.Fatalf("make agent %s: %v", cfg.ID, err)
	}
	n.t.Cleanup(func() {
		if err := a.Close(); err != nil {
			n.t.Errorf("close agent %s: %v", cfg.ID, err)
		}
	})
	return a
}

// Dial makes gRPC connections reach the net's router and registry, whatever their address.
func (n *Net) Dial() grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		n.mu.Lock()
		l := n.listener
		n.mu.Unlock()
		return l.DialContext(ctx)
	})
}

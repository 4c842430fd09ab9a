package agenttest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/registry"
	"github.com/sw4rm/sw4rm-go/services/router"
	"github.com/sw4rm/sw4rm-go/services/server"
)

// bufferSize is what a connection holds before its writer waits.
const bufferSize = 256 << 10

var errNoRouter = errors.New("the test has stopped the router")

// Net is a router and a registry with the agents of one test. The test's cleanup ends them.
type Net struct {
	t      testing.TB
	log    *slog.Logger
	lease  time.Duration
	limits queue.Limits
	store  store.Store
	stop   func()

	mu       sync.Mutex
	listener *bufconn.Listener    // nil while the router is stopped
	agents   map[string]*instance // the latest of each id
	faults   map[string]*faults
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
	n := &Net{
		t: t, log: slog.New(slog.DiscardHandler), lease: router.DefaultLease, store: store.NewMemory(),
		agents: map[string]*instance{}, faults: map[string]*faults{},
	}
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
	reg, err := registry.Open(ctx, store.Sub(n.store, registry.StorePrefix), registry.Options{Logger: n.log})
	if err != nil {
		n.t.Fatalf("open the registry: %v", err)
	}
	core, err := router.Open(ctx, store.Sub(n.store, router.StorePrefix), router.Options{
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
		n.mu.Lock()
		n.listener = nil
		n.mu.Unlock()
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

// RestartRouter ends router and registry as a crash would, and starts them again on what they have stored.
func (n *Net) RestartRouter() {
	n.t.Helper()
	n.StopRouter()
	n.StartRouter()
}

// Agent returns an agent of the net with its buffer in memory. The test registers its handlers and starts it; cleanup
// closes it.
func (n *Net) Agent(id string) *agent.Agent {
	n.t.Helper()
	return n.AgentOn(agent.Config{ID: id}, store.NewMemory())
}

// AgentOn returns an agent with this configuration on this store.
func (n *Net) AgentOn(cfg agent.Config, s store.Store) *agent.Agent {
	n.t.Helper()
	i := &instance{net: n, cfg: cfg, cut: make(chan struct{})}
	i.disk, _ = s.(*store.Memory)
	n.mu.Lock()
	if n.faults[cfg.ID] == nil {
		n.faults[cfg.ID] = &faults{}
	}
	i.faults = n.faults[cfg.ID]
	n.agents[cfg.ID] = i
	n.mu.Unlock()

	if cfg.Logger == nil {
		cfg.Logger = n.log
	}
	cfg.DialOptions = slices.Concat(cfg.DialOptions, i.dialOptions(), []grpc.DialOption{n.Dial()})
	cfg.Interceptors = slices.Concat(cfg.Interceptors, []exchange.Interceptor{i})
	a, err := agent.New(cfg, s)
	if err != nil {
		n.t.Fatalf("make agent %s: %v", cfg.ID, err)
	}
	i.agent = a
	n.t.Cleanup(func() {
		if err := a.Close(); err != nil {
			n.t.Errorf("close agent %s: %v", cfg.ID, err)
		}
	})
	return a
}

// instanceOf returns the latest opening of the agent, and ends the test when there is none.
func (n *Net) instanceOf(id string) *instance {
	n.t.Helper()
	n.mu.Lock()
	i := n.agents[id]
	n.mu.Unlock()
	if i == nil || i.agent == nil {
		n.t.Fatalf("agenttest: the net has no agent %q. Fix: make it before its faults", id)
	}
	return i
}

func (n *Net) faultsOf(id string) *faults {
	n.t.Helper()
	return n.instanceOf(id).faults
}

// Dial makes gRPC connections reach the net's router and registry, whatever their address.
func (n *Net) Dial() grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		n.mu.Lock()
		l := n.listener
		n.mu.Unlock()
		if l == nil {
			return nil, errNoRouter
		}
		return l.DialContext(ctx)
	})
}

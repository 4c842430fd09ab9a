package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

const (
	// The waits between attempts to reach the router.
	reconnectFirst = 50 * time.Millisecond
	reconnectLast  = 2 * time.Second
	// sayUnreachable is how long the router may be away before the agent says so.
	sayUnreachable = time.Second
	// maxReceive is the largest gRPC message that is taken: a batch, or one envelope of any permitted size.
	maxReceive = 16 << 20
	// probeEvery and probePatience find a connection that is dead without saying so where the session itself does not.
	// More often, servers with gRPC's usual settings take it for abuse.
	probeEvery    = 5*time.Minute + 30*time.Second
	probePatience = 20 * time.Second
	// version is what the hello names.
	version = "0.1.0"
)

// connections are those to router and registry. They connect when first used.
type connections struct{ router, registry *grpc.ClientConn }

func (a *Agent) connect() error {
	router, err := a.dial(a.cfg.RouterAddr)
	if err != nil {
		return fmt.Errorf("router address %q: %w", a.cfg.RouterAddr, err)
	}
	registry, err := a.dial(a.cfg.RegistryAddr)
	if err != nil {
		return errors.Join(fmt.Errorf("registry address %q: %w", a.cfg.RegistryAddr, err), router.Close())
	}
	a.conns = connections{router: router, registry: registry}
	return nil
}

func (a *Agent) dial(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient(dialTarget(addr), append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive)),
		grpc.WithDisableServiceConfig(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: probeEvery, Timeout: probePatience}),
	}, a.cfg.DialOptions...)...)
}

// redial replaces a connection that was silent for too long. It may be dead without saying so, and gRPC would open the
// next stream on it again.
func (a *Agent) redial(conn **grpc.ClientConn, addr string) {
	fresh, err := a.dial(addr)
	if err != nil { // the same options have worked before
		a.log.Warn("a silent connection cannot be replaced", "address", addr, "error", err)
		return
	}
	if err := (*conn).Close(); err != nil {
		a.log.Debug("close a silent connection", "address", addr, "error", err)
	}
	*conn = fresh
}

// silent tells whether an error is the silence of the other side.
func silent(err error) bool {
	return errors.Is(err, errSilent) || errors.Is(err, errNoWelcome) || status.Code(err) == codes.DeadlineExceeded
}

// dialTarget makes host:port a target that gRPC hands to the dialer as it is.
func dialTarget(addr string) string { return "passthrough:///" + addr }

func (c *connections) close() error {
	var errs []error
	for _, conn := range []*grpc.ClientConn{c.router, c.registry} {
		if conn != nil {
			if err := conn.Close(); err != nil {
				errs = append(errs, fmt.Errorf("close a connection: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// link keeps a session to the router, and knows when there has been none for a while.
type link struct {
	a *Agent

	mu    sync.Mutex
	lost  error             // the error of the last attempt while there is no session
	away  *UnreachableError // set once the router has been away for sayUnreachable
	timer *time.Timer
	// admitted is closed when a router has admitted this instance for the first time.
	admitted chan struct{}
	once     sync.Once

	// router is the last router's start, and ours tells that it is known to be one of this module; used by run alone.
	router string
	ours   bool
}

func newLink(a *Agent) *link { return &link{a: a, admitted: make(chan struct{})} }

// run opens a session, serves it until it ends, and opens the next one, until ctx ends.
func (l *link) run(ctx context.Context) {
	defer l.stopTimer()
	for n := 0; ctx.Err() == nil; n++ {
		l.down()
		s, err := l.open(ctx)
		if err == nil {
			l.up(s)
			began := time.Now()
			err = s.run(ctx)
			l.ours = l.ours || errors.Is(err, errShownLate)
			if time.Since(began) > reconnectLast { // else a router that ends every session would be asked without pause
				n = 0
			}
			l.a.outbox.use(nil)
			l.a.inflow.use(nil)
			if ctx.Err() != nil {
				return
			}
		}
		l.note(err)
		if fatal := fatalGoodbye(err); fatal != nil {
			l.a.stop(fatal)
			return
		}
		if silent(err) {
			l.a.redial(&l.a.conns.router, l.a.cfg.RouterAddr)
		}
		wait := doubled(reconnectFirst, n, reconnectLast)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
	}
}

// open opens our stream, or the canonical one at a router that does not offer it.
func (l *link) open(ctx context.Context) (session, error) {
	a := l.a
	hello := &transportpb.Hello{
		AgentId: a.cfg.ID, StoreId: a.instance.ID, Epoch: a.instance.Epoch, Version: version,
		Capabilities: a.reg.capabilities(), Credit: a.inflow.hello(),
	}
	a.conns.router.ResetConnectBackoff()
	s, err := openStream(ctx, a.conns.router, hello, a)
	if err == nil {
		return s, nil
	}
	if status.Code(err) != codes.Unimplemented {
		return nil, err
	}
	c, err := openCanonical(ctx, a.conns.router, hello, a)
	if err != nil {
		return nil, err
	}
	patience := headerPatience
	if l.ours {
		patience = headerPatienceOurs
	}
	if err := c.identify(ctx, patience); err != nil {
		c.cancel(err)
		return nil, err
	}
	l.ours = c.ours != ""
	return c, nil
}

func (l *link) up(s session) {
	l.stopTimer()
	l.mu.Lock()
	if l.away != nil {
		l.a.log.Info("the router is reachable again", "router", l.a.cfg.RouterAddr)
	}
	l.lost, l.away = nil, nil
	l.mu.Unlock()
	l.once.Do(func() { close(l.admitted) })
	l.a.outbox.use(s)
	l.a.inflow.use(s)
	// Before the first delivery: numbers of another router may be the same, and mean other messages.
	l.a.askCustody(s)
	if start := s.routerStart(); start != "" && start != l.router {
		l.router = start
		l.a.askAccepted()
	}
}

// down starts the time after which the agent says that there is no router.
func (l *link) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil && l.away == nil {
		l.timer = time.AfterFunc(sayUnreachable, l.say)
	}
}

func (l *link) say() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		return
	}
	l.timer = nil
	l.away = &UnreachableError{Addr: l.a.cfg.RouterAddr, Err: l.lost}
	if l.lost == nil {
		l.away.Err = errors.New("no connection yet")
	}
	l.a.log.Warn(l.away.Error())
}

// note keeps why there is no session. While the router is away, it is said again when the reason is another.
func (l *link) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = err
	if l.away == nil || err == nil {
		return
	}
	was := l.away.Error()
	l.away = &UnreachableError{Addr: l.a.cfg.RouterAddr, Err: err}
	if now := l.away.Error(); now != was {
		l.a.log.Warn(now)
	}
}

func (l *link) stopTimer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// unreachable returns the error that says that the router has been away for a while, nil while it is here.
func (a *Agent) unreachable() error {
	a.link.mu.Lock()
	defer a.link.mu.Unlock()
	if a.link.away == nil {
		return nil
	}
	return a.link.away
}

// fatalGoodbye returns the error with which an agent stops for good: somebody else has its place.
func fatalGoodbye(err error) error {
	var bye *goodbyeError
	if !errors.As(err, &bye) {
		return nil
	}
	switch bye.reason {
	case transportpb.Goodbye_REASON_SUPERSEDED:
		return fmt.Errorf("%w: %s. Fix: run one process for each data directory", ErrSuperseded, bye.note)
	case transportpb.Goodbye_REASON_STORE_ROLLED_BACK:
		return fmt.Errorf("%w: %s. Fix: use the newest data directory, or restore this one with sw4rm buffer restore --new-instance", ErrStoreRolledBack, bye.note)
	default:
		return nil
	}
}

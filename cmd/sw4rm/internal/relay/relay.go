// Package relay stands between agents and their router, on a socket of its own, and does to their traffic what networks do.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

// maxRelayed is the largest gRPC message that a relay passes on, as the router's own limit.
const maxRelayed = 16 << 20

// Observer is told what passes.
type Observer interface {
	// Sent tells of a frame that the router gets, Told of one that an agent gets.
	Sent(agent string, f *transportpb.AgentFrame)
	Told(agent string, f *transportpb.RouterFrame)
}

// Gate decides what passes, before faults happen to it. Its methods may block, which holds up what comes behind, until ctx
// ends with the stream.
type Gate interface {
	// Up is asked about a frame of an agent, Down about one of the router. What is not let through is dropped, and nobody
	// is told.
	Up(ctx context.Context, agent string, f *transportpb.AgentFrame) bool
	Down(ctx context.Context, agent string, f *transportpb.RouterFrame) bool
}

// Config says what a relay does.
type Config struct {
	// Upstream is the router's address.
	Upstream string
	// Canonical does not offer the module's own stream, so that agents speak the protocol's RPCs.
	Canonical bool
	// Slow is for how long Delay holds messages back, Silent for how long a half-open connection says nothing.
	Slow, Silent time.Duration
	// Observer is told of the frames of the module's own stream; nil for nobody.
	Observer Observer
	// Gate decides about the same frames; nil lets all of them through.
	Gate Gate
	// Happened is told of every fault; nil for nobody. It must not call the relay.
	Happened func(agent string, f Fault)
}

// Relay is a running relay. Its methods may be called from any goroutine.
type Relay struct {
	transportpb.UnimplementedTransportServiceServer
	routerpb.UnimplementedRouterServiceServer

	config Config
	conns  *conns
	faults *faults
	out    *grpc.ClientConn // for the canonical RPCs
	server *grpc.Server
	served chan error

	mu    sync.Mutex
	lines map[*line]bool
}

// Start lets a relay serve on l, which it closes.
func Start(l net.Listener, c Config) (*Relay, error) {
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if c.Gate == nil {
		c.Gate = open{}
	}
	r := &Relay{config: c, conns: newConns(l), faults: newFaults(c.Happened), served: make(chan error, 1), lines: map[*line]bool{}}
	var err error
	if r.out, err = r.dial(); err != nil {
		return nil, errors.Join(fmt.Errorf("relay to %s: %w", c.Upstream, err), l.Close())
	}
	r.server = grpc.NewServer(grpc.MaxRecvMsgSize(maxRelayed))
	routerpb.RegisterRouterServiceServer(r.server, r)
	if !c.Canonical {
		transportpb.RegisterTransportServiceServer(r.server, r)
	}
	go func() { r.served <- r.server.Serve(r.conns) }()
	return r, nil
}

// Addr is where agents reach the relay.
func (r *Relay) Addr() string { return r.conns.Addr().String() }

// Arm lets a fault happen to a message of the agent, later. Drops have a direction of their own. It is false while an
// earlier fault of this agent waits: a network that breaks every connection at its first message is none.
func (r *Relay) Arm(agent string, f Armed) bool { return r.faults.arm(agent, f) }

// Counts returns how many faults of each kind have happened.
func (r *Relay) Counts() map[Fault]int { return r.faults.counts() }

// SilenceAll lets every open connection fall silent for good, both ways, and returns how many there are.
func (r *Relay) SilenceAll() int { return r.conns.silenceAll() }

// Cut ends the connections on which an agent has its streams, without a word, and returns how many.
func (r *Relay) Cut(agent string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for l := range r.lines {
		if l.agent == agent {
			l.cut()
			n++
		}
	}
	return n
}

// enter remembers a line until leave is called.
func (r *Relay) enter(l *line) (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[l] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.lines, l)
	}
}

// Close ends the relay and all that is connected to it.
func (r *Relay) Close() error {
	r.server.Stop()
	err := <-r.served
	if errors.Is(err, grpc.ErrServerStopped) {
		err = nil
	}
	return errors.Join(err, r.out.Close())
}

type nobody struct{}

func (nobody) Sent(string, *transportpb.AgentFrame)  {}
func (nobody) Told(string, *transportpb.RouterFrame) {}

type open struct{}

func (open) Up(context.Context, string, *transportpb.AgentFrame) bool    { return true }
func (open) Down(context.Context, string, *transportpb.RouterFrame) bool { return true }

func (r *Relay) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(r.config.Upstream, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxRelayed)))
}

// connOf is the connection that a call came by, nil when it is closed.
func (r *Relay) connOf(ctx context.Context) *conn {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return nil
	}
	return r.conns.from(p.Addr.String())
}

// line is one agent's stream through the relay.
type line struct {
	relay    *Relay
	agent    string
	conn     *conn
	down     grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]
	up       grpc.BidiStreamingClient[transportpb.ConnectRequest, transportpb.ConnectResponse]
	sleeping context.Context
}

// errCutOff ends a line that a fault has broken.
var errCutOff = status.Error(codes.Unavailable, "the network has failed")

// Connect implements transportpb.TransportServiceServer.
func (r *Relay) Connect(down grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
	first, err := down.Recv()
	if err != nil {
		return err
	}
	cc, err := r.dial()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(down.Context())
	var ending sync.WaitGroup
	defer func() { // receiving from down ends when this call has returned
		cancel()
		_ = cc.Close()
		ending.Wait()
	}()
	up, err := transportpb.NewTransportServiceClient(cc).Connect(ctx)
	if err != nil {
		return err
	}
	l := &line{relay: r, conn: r.connOf(ctx), down: down, up: up, sleeping: ctx}
	if frames := first.GetFrames(); len(frames) > 0 {
		l.agent = frames[0].GetHello().GetAgentId()
	}
	defer r.enter(l)()
	ended := make(chan error, 2)
	go func() {
		if err := l.upward(first); err != nil {
			ended <- err
		}
	}()
	ending.Go(func() { ended <- l.downward() })
	return <-ended
}

// upward carries what the agent sends. It returns nil when the router has closed its side, and the other direction knows
// why.
func (l *line) upward(req *transportpb.ConnectRequest) error {
	for {
		frames, err := l.leaving(req.GetFrames())
		if len(frames) > 0 {
			for _, f := range frames {
				l.relay.config.Observer.Sent(l.agent, f)
			}
			if l.up.Send(&transportpb.ConnectRequest{Frames: frames}) != nil && err == nil {
				return nil
			}
		}
		if err != nil {
			l.cut()
			return err
		}
		if req, err = l.down.Recv(); errors.Is(err, io.EOF) {
			return l.up.CloseSend()
		} else if err != nil {
			return err
		}
	}
}

// downward carries what the router sends until it ends the stream.
func (l *line) downward() error {
	for {
		res, err := l.up.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		frames, err := l.arriving(res.GetFrames())
		for _, f := range frames {
			l.relay.config.Observer.Told(l.agent, f)
		}
		if len(frames) > 0 {
			if sending := l.down.Send(&transportpb.ConnectResponse{Frames: frames}); sending != nil && err == nil {
				return sending
			}
		}
		if err != nil {
			l.cut()
			return err
		}
	}
}

// cut ends the agent's connection without a word.
func (l *line) cut() {
	if l.conn != nil {
		l.conn.reset()
	}
}

// leaving does to frames of the agent what is due, and returns what the router gets of them. With an error the line is
// cut after them.
func (l *line) leaving(frames []*transportpb.AgentFrame) ([]*transportpb.AgentFrame, error) {
	return through(l, Upwards, DropRequest, frames,
		func(f *transportpb.AgentFrame) bool { return l.relay.config.Gate.Up(l.sleeping, l.agent, f) },
		func(f *transportpb.AgentFrame) bool { return f.GetSubmit() != nil || f.GetDeliveryAck() != nil })
}

// arriving is leaving for frames of the router.
func (l *line) arriving(frames []*transportpb.RouterFrame) ([]*transportpb.RouterFrame, error) {
	return through(l, Downwards, DropAnswer, frames,
		func(f *transportpb.RouterFrame) bool { return l.relay.config.Gate.Down(l.sleeping, l.agent, f) },
		func(f *transportpb.RouterFrame) bool {
			return f.GetAnswer() != nil || f.GetAckAnswer() != nil || f.GetDelivery() != nil
		})
}

// through does what is due to those frames of a direction that pass the gate and may be struck. drop is the fault that loses
// one.
func through[F any](l *line, d Direction, drop Fault, frames []F, passes, strikes func(F) bool) ([]F, error) {
	var out []F
	for _, f := range frames {
		if !passes(f) {
			continue
		}
		if !strikes(f) {
			out = append(out, f)
			continue
		}
		switch l.next(d) {
		case drop:
			return out, errCutOff
		case Duplicate:
			out = append(out, f)
		case Delay:
			l.wait()
		case Reset:
			l.tear()
		case HalfOpen:
			return out, l.silence()
		}
		out = append(out, f)
	}
	return out, nil
}

func (l *line) next(d Direction) Fault { return l.relay.faults.next(l.agent, d) }

func (l *line) tear() {
	if l.conn != nil {
		l.conn.tear()
	}
}

// wait holds back a direction, and all that comes behind, for longer than a lease.
func (l *line) wait() { l.sleep(l.relay.config.Slow) }

// silence lets the connection stay open and carry nothing, for longer than a lease, and then ends it.
func (l *line) silence() error {
	if l.conn != nil {
		l.conn.silence()
	}
	l.sleep(l.relay.config.Silent)
	return errCutOff
}

func (l *line) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.sleeping.Done():
	}
}

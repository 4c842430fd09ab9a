package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

// relay stands between the agents and the router, on sockets of its own, and does to their traffic what networks do.
type relay struct {
	transportpb.UnimplementedTransportServiceServer
	routerpb.UnimplementedRouterServiceServer

	addr     string
	upstream string
	conns    *conns
	faults   *netFaults
	observe  observer
	out      *grpc.ClientConn // for the canonical RPCs
}

// observer is told what passes.
type observer interface {
	// sent tells of a frame that the router gets, told of one that an agent gets.
	sent(agent string, f *transportpb.AgentFrame)
	told(agent string, f *transportpb.RouterFrame)
}

// newRelay starts a relay to the router at upstream. A canonical one does not offer the module's own stream, so that
// agents speak the protocol's RPCs.
func newRelay(t *testing.T, upstream string, canonical bool, observe observer) *relay {
	t.Helper()
	l, err := net.Listen("tcp", freeAddr(t))
	require.NoError(t, err)
	r := &relay{addr: l.Addr().String(), upstream: upstream, conns: newConns(l), faults: newNetFaults(), observe: observe}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxRelayed))
	if canonical {
		r.out, err = r.dial()
		require.NoError(t, err)
		routerpb.RegisterRouterServiceServer(s, r)
	} else {
		transportpb.RegisterTransportServiceServer(s, r)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(r.conns) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; !errors.Is(err, grpc.ErrServerStopped) {
			require.NoError(t, err)
		}
		if r.out != nil {
			require.NoError(t, r.out.Close())
		}
	})
	return r
}

func (r *relay) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(r.upstream, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxRelayed)))
}

// connOf is the connection that a call came by, nil when it is closed.
func (r *relay) connOf(ctx context.Context) *conn {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return nil
	}
	return r.conns.from(p.Addr.String())
}

// line is one agent's stream through the relay.
type line struct {
	relay    *relay
	agent    string
	conn     *conn
	down     grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]
	up       grpc.BidiStreamingClient[transportpb.ConnectRequest, transportpb.ConnectResponse]
	sleeping context.Context
}

// errCutOff ends a line that a fault has broken.
var errCutOff = status.Error(codes.Unavailable, "the network has failed")

// Connect implements transportpb.TransportServiceServer.
func (r *relay) Connect(down grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
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
				l.relay.observe.sent(l.agent, f)
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
			l.relay.observe.told(l.agent, f)
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
	var out []*transportpb.AgentFrame
	for _, f := range frames {
		if f.GetSubmit() == nil && f.GetDeliveryAck() == nil {
			out = append(out, f)
			continue
		}
		switch l.next(upwards) {
		case dropRequest:
			return out, errCutOff
		case duplicate:
			out = append(out, f)
		case delay:
			l.wait()
		case reset:
			l.tear()
		case halfOpen:
			return out, l.silence()
		}
		out = append(out, f)
	}
	return out, nil
}

// arriving is leaving for frames of the router.
func (l *line) arriving(frames []*transportpb.RouterFrame) ([]*transportpb.RouterFrame, error) {
	var out []*transportpb.RouterFrame
	for _, f := range frames {
		if f.GetAnswer() == nil && f.GetAckAnswer() == nil && f.GetDelivery() == nil {
			out = append(out, f)
			continue
		}
		switch l.next(downwards) {
		case dropAnswer:
			return out, errCutOff
		case duplicate:
			out = append(out, f)
		case delay:
			l.wait()
		case reset:
			l.tear()
		case halfOpen:
			return out, l.silence()
		}
		out = append(out, f)
	}
	return out, nil
}

func (l *line) next(d direction) netFault { return l.relay.faults.next(l.agent, d) }

func (l *line) tear() {
	if l.conn != nil {
		l.conn.tear()
	}
}

// wait holds back a direction, and all that comes behind, for longer than a lease.
func (l *line) wait() { l.sleep(slowFor) }

// silence lets the connection stay open and carry nothing, for longer than a lease, and then ends it.
func (l *line) silence() error {
	if l.conn != nil {
		l.conn.silence()
	}
	l.sleep(l.relay.faults.silentFor())
	return errCutOff
}

func (l *line) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.sleeping.Done():
	}
}

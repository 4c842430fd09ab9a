package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/router"
	"github.com/sw4rm/sw4rm-go/services/server"
)

// peer is a gRPC server that agents take for their router and registry.
type peer struct {
	t        *testing.T
	listener *bufconn.Listener
}

func newPeer(t *testing.T, register func(s *grpc.Server)) *peer {
	t.Helper()
	p := &peer{t: t, listener: bufconn.Listen(1 << 20)}
	s := grpc.NewServer(server.Options()...)
	register(s)
	served := make(chan error, 1)
	go func() { served <- s.Serve(p.listener) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	return p
}

func (p *peer) agent(id string) *agent.Agent {
	p.t.Helper()
	return p.agentOn(id, store.NewMemory())
}

func (p *peer) agentOn(id string, s store.Store, opts ...grpc.DialOption) *agent.Agent {
	p.t.Helper()
	a, err := agent.New(agent.Config{
		ID: id, Logger: slog.New(slog.DiscardHandler),
		DialOptions: append(opts, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return p.listener.DialContext(ctx)
		})),
	}, s)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { assert.NoError(p.t, a.Close()) })
	return a
}

// only registers the services of one name.
type only struct {
	*grpc.Server
	name string
}

func (o only) RegisterService(d *grpc.ServiceDesc, impl any) {
	if d.ServiceName == o.name {
		o.Server.RegisterService(d, impl)
	}
}

// newCanonicalPeer serves the router of this module without its own stream.
func newCanonicalPeer(t *testing.T, wrap func(s *grpc.Server) grpc.ServiceRegistrar) *peer {
	t.Helper()
	core, err := router.Open(t.Context(), store.NewMemory(), router.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(core.Close)
	return newPeer(t, func(s *grpc.Server) { core.Register(wrap(s)) })
}

func canonicalOnly(s *grpc.Server) grpc.ServiceRegistrar {
	return only{s, routerpb.RouterService_ServiceDesc.ServiceName}
}

// exchangeEverything runs every kind of exchange between two agents.
func exchangeEverything(t *testing.T, p *peer) {
	t.Helper()
	handling, client := p.agent("server"), p.agent("client")
	var told, failed atomic.Int32
	say.Handle(handling, echo)
	tell.Handle(handling, func(context.Context, *text) error {
		told.Add(1)
		return nil
	})
	ask.Handle(handling, func(context.Context, *text) (*text, error) {
		if failed.Add(1) == 1 {
			return nil, ack.Failf(ack.AgentUnavailable, "not now")
		}
		return nil, ack.Rejectf(ack.PermissionDenied, "never")
	})
	count.Handle(handling, counting(200))
	tool.Handle(handling, func(_ context.Context, req *text) (*text, error) {
		return nil, ack.Failf(ack.ToolTimeout, "%s is broken", req.GetValue())
	})
	start(t, handling, client)
	got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
	require.NoError(t, err)
	assert.Equal(t, upTo(200), got)
	_, err = tool.Call(t.Context(), to(client, "server"), str("hammer"))
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.ToolTimeout})
	for _, word := range []string{"one", "two", "three"} {
		res, err := say.Call(t.Context(), to(client, "server"), str(word))
		require.NoError(t, err)
		assert.Equal(t, word, res.GetValue())
		require.NoError(t, tell.Call(t.Context(), to(client, "server"), str(word)))
	}
	assert.EqualValues(t, 3, told.Load())
	_, err = ask.Call(t.Context(), to(client, "server"), str("x"))
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied})
	assert.EqualValues(t, 2, failed.Load(), "a retryable failure runs again")
}

func TestCanonicalRouterOfThisModule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newCanonicalPeer(t, canonicalOnly)
		exchangeEverything(t, p)
	})
}

// served lets one agent serve test.v1.Echo.
type served string

func (s served) Capabilities(agent string) []string {
	if agent == string(s) {
		return []string{"test.v1.Echo"}
	}
	return nil
}

// TestCanonicalCapability has a stream of several windows, and a router whose word on custody is slow: what was sent to a
// capability runs after it.
func TestCanonicalCapability(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, err := router.Open(t.Context(), store.NewMemory(), router.Options{Directory: served("server"), Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(core.Close)
		p := newPeer(t, func(s *grpc.Server) { core.Register(canonicalOnly(s)) })
		const slow = 5 * time.Second
		server := p.agentOn("server", store.NewMemory(), grpc.WithUnaryInterceptor(
			func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				err := invoker(ctx, method, req, reply, cc, opts...)
				if ack, ok := req.(*routerpb.DeliveryAckRequest); ok && ack.GetAgentId() == "server" {
					time.Sleep(slow)
				}
				return err
			}))
		began := make(chan time.Time, 1)
		count.Handle(server, func(ctx context.Context, _ *text, out *exchange.Frames[*text]) error {
			began <- time.Now()
			info, _ := exchange.InfoFrom(ctx)
			assert.Equal(t, "capability:test.v1.Echo", info.To)
			return numbers(out, 200)
		})
		client := p.agent("client")
		start(t, server)
		sent := time.Now()
		c := exchange.NewClient(client, address.Capability("test.v1.Echo"))
		stream, err := count.Send(t.Context(), c, str("x"))
		require.NoError(t, err)
		synctest.Wait()
		start(t, client)
		got, err := collect(stream.Frames(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, upTo(200), got)
		assert.GreaterOrEqual(t, (<-began).Sub(sent), slow)
	})
}

// TestCanonicalCapabilitySurvivesARefusedStream has a stream that fails before the router has shown which one it is.
func TestCanonicalCapabilitySurvivesARefusedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Int32
		p := newCanonicalPeer(t, func(s *grpc.Server) grpc.ServiceRegistrar {
			return refusing{canonicalOnly(s), &refused}
		})
		client := p.agent("client")
		sent, err := tell.Send(t.Context(), exchange.NewClient(client, address.Capability("test.v1.Echo")), str("x"))
		require.NoError(t, err)
		start(t, client)
		time.Sleep(30 * time.Second)
		require.GreaterOrEqual(t, refused.Load(), int32(3))
		assert.False(t, sent.Status().Done, "%v", sent.Status().Err)
	})
}

// refusing makes the first streams end before their header.
type refusing struct {
	grpc.ServiceRegistrar
	refused *atomic.Int32
}

func (r refusing) RegisterService(d *grpc.ServiceDesc, impl any) {
	changed := *d
	changed.Streams = append([]grpc.StreamDesc(nil), d.Streams...)
	handle := changed.Streams[0].Handler
	changed.Streams[0].Handler = func(srv any, s grpc.ServerStream) error {
		if r.refused.Add(1) <= 3 {
			return status.Error(codes.Unavailable, "starting")
		}
		return handle(srv, s)
	}
	r.ServiceRegistrar.RegisterService(&changed, impl)
}

// broadcaster is a router as others write it: what it gets goes to every stream, without a number, and nothing can be
// acknowledged but by messages.
type broadcaster struct {
	routerpb.UnimplementedRouterServiceServer
	mu      sync.Mutex
	streams map[chan *commonpb.Envelope]struct{}
	// fail refuses a message with a status.
	fail func(*commonpb.Envelope) error
	// lose accepts a message and delivers it to nobody.
	lose func(*commonpb.Envelope) bool
	sent atomic.Int32
	ackD func() (*routerpb.DeliveryAckResponse, error)
	seq  int64
}

func newBroadcaster() *broadcaster {
	return &broadcaster{streams: map[chan *commonpb.Envelope]struct{}{}}
}

func (b *broadcaster) register(s *grpc.Server) { routerpb.RegisterRouterServiceServer(s, b) }

func (b *broadcaster) AckDelivery(ctx context.Context, req *routerpb.DeliveryAckRequest) (*routerpb.DeliveryAckResponse, error) {
	if b.ackD == nil {
		return b.UnimplementedRouterServiceServer.AckDelivery(ctx, req)
	}
	return b.ackD()
}

func (b *broadcaster) SendMessage(_ context.Context, req *routerpb.SendMessageRequest) (*routerpb.SendMessageResponse, error) {
	if b.fail != nil {
		if err := b.fail(req.GetMsg()); err != nil {
			return nil, err
		}
	}
	if b.lose == nil || !b.lose(req.GetMsg()) {
		b.broadcast(req.GetMsg())
	}
	return &routerpb.SendMessageResponse{Accepted: true, Reason: "ok"}, nil
}

func (b *broadcaster) broadcast(env *commonpb.Envelope) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.streams {
		s <- env
	}
}

func (b *broadcaster) StreamIncoming(_ *routerpb.StreamRequest, s grpc.ServerStreamingServer[routerpb.StreamItem]) error {
	items := make(chan *commonpb.Envelope, 1000)
	b.mu.Lock()
	b.streams[items] = struct{}{}
	b.mu.Unlock()
	b.sent.Add(1)
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.streams, items)
	}()
	for {
		select {
		case env := <-items:
			if err := s.Send(&routerpb.StreamItem{Msg: env, Seq: b.seq}); err != nil {
				return err
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func TestForeignBroadcastRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster()
		p := newPeer(t, b.register)
		other := p.agent("other")
		say.Handle(other, func(context.Context, *text) (*text, error) {
			t.Error("a message for somebody else ran")
			return nil, nil
		})
		start(t, other)
		time.Sleep(10 * time.Second)
		exchangeEverything(t, p)
		assert.EqualValues(t, 3, b.sent.Load(), "one stream an agent")
		err := tell.Call(t.Context(), exchange.NewClient(other, address.Capability("test.v1.Echo")), str("x"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.NoRoute})
	})
}

// TestForeignRouterThatRefusesByStatus has a router with one message that it always fails, and failing acknowledgements.
func TestForeignRouterThatRefusesByStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster()
		b.seq = 7
		b.ackD = func() (*routerpb.DeliveryAckResponse, error) {
			return nil, status.Error(codes.NotFound, "no such delivery")
		}
		b.fail = func(env *commonpb.Envelope) error {
			if ct, _ := envelope.ParseContentType(env.GetContentType()); ct.Method == once.Name() {
				return status.Error(codes.Internal, "cannot parse this")
			}
			return nil
		}
		p := newPeer(t, b.register)
		handling, client := p.agent("server"), p.agent("client")
		say.Handle(handling, echo)
		start(t, handling, client)
		bad, err := once.Send(t.Context(), to(client, "server"), str("bad"))
		require.NoError(t, err)
		for range 10 {
			time.Sleep(time.Second)
			_, err := say.Call(t.Context(), to(client, "server"), str("good"))
			require.NoError(t, err)
		}
		assert.EqualValues(t, 2, b.sent.Load(), "the streams stay")
		assert.ErrorContains(t, bad.Status().Err, "cannot parse this")
	})
}

// TestForeignPeersUnderstandAcknowledgements has a peer that compares content types exactly.
func TestForeignPeersUnderstandAcknowledgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster()
		types := make(chan string, 10)
		b.fail = func(env *commonpb.Envelope) error {
			if env.GetMessageType() == commonpb.MessageType_ACKNOWLEDGEMENT {
				types <- env.GetContentType()
			}
			return nil
		}
		p := newPeer(t, b.register)
		handling, client := p.agent("server"), p.agent("client")
		tell.Handle(handling, func(context.Context, *text) error { return nil })
		start(t, handling, client)
		require.NoError(t, tell.Call(t.Context(), to(client, "server"), str("x")))
		assert.Equal(t, ack.ContentType, <-types)
	})
}

func TestEndlessTimeToLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster()
		a := newPeer(t, b.register).agent("a")
		ran := make(chan string, 1)
		tell.Handle(a, func(_ context.Context, req *text) error {
			ran <- req.GetValue()
			return nil
		})
		start(t, a)
		time.Sleep(5 * time.Second)
		b.broadcast(&commonpb.Envelope{
			MessageId: envelope.NewID(), ProducerId: "other", CorrelationId: envelope.NewID(), MessageType: commonpb.MessageType_DATA,
			ContentType: "application/json", ContentLength: 3, Payload: []byte(`"x"`), TtlMs: math.MaxUint64,
		})
		select {
		case got := <-ran:
			assert.Equal(t, "x", got)
		case <-time.After(time.Minute):
			t.Error("the handler did not run")
		}
	})
}

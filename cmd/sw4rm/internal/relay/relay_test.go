package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRouter answers each submission, and counts what it gets.
type fakeRouter struct {
	transportpb.UnimplementedTransportServiceServer
	routerpb.UnimplementedRouterServiceServer

	mu  sync.Mutex
	got map[uint64]int
}

func (r *fakeRouter) Connect(s grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
	for {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, f := range req.GetFrames() {
			n := f.GetSubmit().GetN()
			r.mu.Lock()
			r.got[n]++
			r.mu.Unlock()
			if f.GetSubmit() == nil {
				continue
			}
			answer := &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Answer{Answer: &transportpb.Answer{N: n}}}
			if err := s.Send(&transportpb.ConnectResponse{Frames: []*transportpb.RouterFrame{answer}}); err != nil {
				return err
			}
		}
	}
}

func (r *fakeRouter) SendMessage(context.Context, *routerpb.SendMessageRequest) (*routerpb.SendMessageResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got[0]++
	return &routerpb.SendMessageResponse{Accepted: true}, nil
}

func (r *fakeRouter) StreamIncoming(_ *routerpb.StreamRequest, s grpc.ServerStreamingServer[routerpb.StreamItem]) error {
	return s.Send(&routerpb.StreamItem{Seq: 5})
}

func (r *fakeRouter) count(n uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[n]
}

// scene is a router, a relay before it, and an agent's stream.
type scene struct {
	t      *testing.T
	router *fakeRouter
	relay  *Relay
	conn   *grpc.ClientConn
	stream grpc.BidiStreamingClient[transportpb.ConnectRequest, transportpb.ConnectResponse]
}

func newScene(t *testing.T, c Config) *scene {
	t.Helper()
	router := &fakeRouter{got: map[uint64]int{}}
	up, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	transportpb.RegisterTransportServiceServer(server, router)
	routerpb.RegisterRouterServiceServer(server, router)
	served := make(chan error, 1)
	go func() { served <- server.Serve(up) }()
	t.Cleanup(func() { server.Stop(); <-served })

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c.Upstream, c.Slow, c.Silent = up.Addr().String(), time.Millisecond, time.Millisecond
	relay, err := Start(l, c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, relay.Close()) })
	conn, err := grpc.NewClient(relay.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	s := &scene{t: t, router: router, relay: relay, conn: conn}
	if !c.Canonical {
		s.connect()
	}
	return s
}

func (s *scene) context() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *scene) connect() {
	s.t.Helper()
	var err error
	s.stream, err = transportpb.NewTransportServiceClient(s.conn).Connect(s.context())
	require.NoError(s.t, err)
	s.send(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Hello{Hello: &transportpb.Hello{AgentId: "a"}}})
}

func (s *scene) send(f *transportpb.AgentFrame) {
	s.t.Helper()
	require.NoError(s.t, s.stream.Send(&transportpb.ConnectRequest{Frames: []*transportpb.AgentFrame{f}}))
}

func (s *scene) submit(n uint64) {
	s.t.Helper()
	s.send(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Submit{Submit: &transportpb.Submit{N: n, Envelope: &commonpb.Envelope{}}}})
}

// answered returns the number of the next answer.
func (s *scene) answered() (uint64, error) {
	res, err := s.stream.Recv()
	if err != nil {
		return 0, err
	}
	return res.GetFrames()[0].GetAnswer().GetN(), nil
}

func (s *scene) expect(n uint64) {
	s.t.Helper()
	got, err := s.answered()
	require.NoError(s.t, err)
	require.Equal(s.t, n, got)
}

// TestFaults has each fault happen to the second of three messages.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		fault Fault
		way   Direction
		// reaches tells how often the second message comes to the router, whole that the stream goes on.
		reaches int
		whole   bool
	}{
		{DropRequest, Downwards, 0, false}, // which way is the fault's own affair
		{DropAnswer, Upwards, 1, false},
		{Duplicate, Upwards, 2, true},
		{Delay, Upwards, 1, true},
		{Delay, Downwards, 1, true},
		{Reset, Downwards, 1, false},
		{HalfOpen, Upwards, 0, false},
	} {
		t.Run(test.fault.String(), func(t *testing.T) {
			var mu sync.Mutex
			var happened []string
			s := newScene(t, Config{Happened: func(agent string, f Fault) {
				mu.Lock()
				defer mu.Unlock()
				happened = append(happened, agent+" "+f.String())
			}})
			require.True(t, s.relay.Arm("a", Armed{Fault: test.fault, Way: test.way, Passes: 1}))
			require.False(t, s.relay.Arm("a", Armed{Fault: Reset}), "one waits already")
			s.submit(1)
			s.expect(1)
			s.submit(2)
			if test.whole {
				s.expect(2)
				if test.reaches == 2 {
					s.expect(2)
				}
			} else {
				_, err := s.answered()
				require.Error(t, err)
				s.connect()
			}
			s.submit(3)
			s.expect(3)
			require.Equal(t, test.reaches, s.router.count(2))
			require.Equal(t, map[Fault]int{test.fault: 1}, s.relay.Counts())
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, []string{"a " + test.fault.String()}, happened)
		})
	}
}

// gate lets through what is odd.
type gate struct{}

func (gate) Up(_ context.Context, agent string, f *transportpb.AgentFrame) bool {
	return f.GetSubmit() == nil || agent == "a" && f.GetSubmit().GetN()%2 == 1
}

func (gate) Down(_ context.Context, _ string, f *transportpb.RouterFrame) bool {
	return f.GetAnswer().GetN() != 3
}

func TestGate(t *testing.T) {
	s := newScene(t, Config{Gate: gate{}})
	for n := range uint64(6) {
		s.submit(n)
	}
	s.expect(1)
	s.expect(5)
	require.Zero(t, s.router.count(2))
	require.Equal(t, 1, s.router.count(3))
}

func TestSilence(t *testing.T) {
	s := newScene(t, Config{})
	s.submit(1)
	s.expect(1)
	require.Equal(t, 1, s.relay.SilenceAll())
	s.submit(2)
	require.Zero(t, s.router.count(2))
}

func TestCut(t *testing.T) {
	s := newScene(t, Config{})
	s.submit(1)
	s.expect(1)
	require.Zero(t, s.relay.Cut("b"))
	require.Equal(t, 1, s.relay.Cut("a"))
	_, err := s.answered()
	require.Error(t, err)
	s.connect()
	s.submit(2)
	s.expect(2)
}

// TestCanonical speaks the protocol's RPCs, which a canonical relay offers alone.
func TestCanonical(t *testing.T) {
	s := newScene(t, Config{Canonical: true})
	none, err := transportpb.NewTransportServiceClient(s.conn).Connect(s.context())
	require.NoError(t, err)
	_, err = none.Recv()
	require.Equal(t, codes.Unimplemented, status.Code(err))
	router := routerpb.NewRouterServiceClient(s.conn)
	send := func() error {
		_, err := router.SendMessage(s.context(), &routerpb.SendMessageRequest{Msg: &commonpb.Envelope{ProducerId: "a"}})
		return err
	}
	for _, test := range []struct {
		fault   Fault
		reaches int
		whole   bool
	}{{DropRequest, 0, false}, {DropAnswer, 1, false}, {Duplicate, 2, true}, {Delay, 1, true}, {HalfOpen, 0, false}} {
		before := s.router.count(0)
		require.True(t, s.relay.Arm("a", Armed{Fault: test.fault}))
		require.Equal(t, test.whole, send() == nil, test.fault)
		require.Equal(t, before+test.reaches, s.router.count(0), test.fault)
	}
	stream, err := router.StreamIncoming(s.context(), &routerpb.StreamRequest{AgentId: "a"})
	require.NoError(t, err)
	item, err := stream.Recv()
	require.NoError(t, err)
	require.EqualValues(t, 5, item.GetSeq())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestNames(t *testing.T) {
	for f := Fault(0); f < Faults; f++ {
		require.NotEqual(t, "unknown", f.String())
	}
	require.Equal(t, "unknown", Faults.String())
	require.Equal(t, "unknown", Fault(-1).String())
}

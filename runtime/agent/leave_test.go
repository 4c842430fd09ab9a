package agent_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// counter counts what is delivered over a connection besides acknowledgements.
type counter struct{ deliveries atomic.Int32 }

func (c *counter) dial() grpc.DialOption {
	return grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := streamer(ctx, desc, cc, method, opts...)
		return &countingStream{s, c}, err
	})
}

func (c *counter) count(env *commonpb.Envelope) {
	if env != nil && env.GetMessageType() != commonpb.MessageType_ACKNOWLEDGEMENT {
		c.deliveries.Add(1)
	}
}

type countingStream struct {
	grpc.ClientStream
	c *counter
}

func (s *countingStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	switch m := m.(type) {
	case *routerpb.StreamItem:
		s.c.count(m.GetMsg())
	case *transportpb.ConnectResponse:
		for _, f := range m.GetFrames() {
			s.c.count(f.GetDelivery().GetEnvelope())
		}
	}
	return err
}

// TestCloseHandsOverWhatItHasAcknowledged closes an agent in the moment in which it has taken a reply. What it has
// acknowledged by then must not come again.
func TestCloseHandsOverWhatItHasAcknowledged(t *testing.T) {
	for name, register := range map[string]func(*router.Router, *grpc.Server){
		"stream":    func(r *router.Router, s *grpc.Server) { r.Register(s) },
		"canonical": func(r *router.Router, s *grpc.Server) { r.Register(canonicalOnly(s)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, err := router.Open(t.Context(), store.NewMemory(), router.Options{Logger: slog.New(slog.DiscardHandler)})
				require.NoError(t, err)
				t.Cleanup(core.Close)
				p := newPeer(t, func(s *grpc.Server) { register(core, s) })
				handling := p.agent("server")
				say.Handle(handling, echo)
				start(t, handling)
				disk := store.NewMemory()
				for range 20 {
					client := p.agentOn("client", disk)
					start(t, client)
					_, err := say.Call(t.Context(), to(client, "server"), str("x"))
					require.NoError(t, err)
					began := time.Now()
					require.NoError(t, client.Close())
					assert.Less(t, time.Since(began), time.Second, "a router that answers is not waited for")
					disk = disk.Reopen()
				}
				count := &counter{}
				again := p.agentOn("client", disk, count.dial())
				start(t, again)
				time.Sleep(time.Minute)
				assert.Zero(t, count.deliveries.Load())
			})
		})
	}
}

// TestCloseLetsHandlersGetTheirAnswers closes an agent whose handlers wait: for a reply of another agent, and for the reader
// of their frames.
func TestCloseLetsHandlersGetTheirAnswers(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (server, client, third *agent.Agent){
		"stream": func(t *testing.T) (_, _, _ *agent.Agent) {
			net := agenttest.New(t)
			return net.Agent("server"), net.Agent("client"), net.Agent("third")
		},
		"canonical": func(t *testing.T) (_, _, _ *agent.Agent) {
			core, err := router.Open(t.Context(), store.NewMemory(), router.Options{Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			t.Cleanup(core.Close)
			p := newPeer(t, func(s *grpc.Server) { core.Register(canonicalOnly(s)) })
			return p.agent("server"), p.agent("client"), p.agent("third")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client, third := open(t)
				say.Handle(third, func(_ context.Context, req *text) (*text, error) {
					time.Sleep(5 * time.Second)
					return req, nil
				})
				var runs atomic.Int32
				say.Handle(server, func(ctx context.Context, req *text) (*text, error) {
					runs.Add(1)
					return say.Call(ctx, to(server, "third"), req)
				})
				count.Handle(server, counting(3*exchange.FrameWindow))
				start(t, server, client, third)
				asked, err := say.Send(t.Context(), to(client, "server"), str("x"))
				require.NoError(t, err)
				streamed, err := count.Send(t.Context(), to(client, "server"), str("x"))
				require.NoError(t, err)
				time.Sleep(time.Second) // the stream's handler waits for a reader now
				closed := make(chan time.Duration)
				go func() {
					began := time.Now()
					assert.NoError(t, server.Close())
					closed <- time.Since(began)
				}()
				synctest.Wait()
				got, err := collect(streamed.Frames(t.Context()))
				require.NoError(t, err)
				assert.Equal(t, upTo(3*exchange.FrameWindow), got)
				_, err = asked.Response(t.Context())
				require.NoError(t, err)
				assert.Less(t, <-closed, 6*time.Second)
				assert.EqualValues(t, 1, runs.Load())
			})
		})
	}
}

// TestCloseTakesNoWorkFromANewSession has the router end the session of an agent that is closing.
func TestCloseTakesNoWorkFromANewSession(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		disk := store.NewMemory()
		server, client := net.AgentOn(agent.Config{ID: "server"}, disk), net.Agent("client")
		say.Handle(server, func(_ context.Context, req *text) (*text, error) {
			time.Sleep(20 * time.Second)
			return req, nil
		})
		start(t, server, client)
		first, err := say.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		synctest.Wait()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			assert.NoError(t, server.Close())
		}()
		synctest.Wait()
		net.StopRouter()
		net.StartRouter()
		_, err = say.Send(t.Context(), to(client, "server"), str("y"))
		require.NoError(t, err)
		_, err = first.Response(t.Context())
		require.NoError(t, err)
		<-closed
		again := net.AgentOn(agent.Config{ID: "server"}, disk.Reopen())
		assert.Zero(t, again.Buffer().Stats().InActive)
	})
}

// TestCloseDoesNotWaitForASilentRouter has a router that neither reads nor ends the stream.
func TestCloseDoesNotWaitForASilentRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newPeer(t, func(s *grpc.Server) {
			transportpb.RegisterTransportServiceServer(s, &silent{release: release})
		})
		defer close(release)
		a := p.agent("a")
		start(t, a)
		synctest.Wait()
		began := time.Now()
		require.NoError(t, a.Close())
		assert.Equal(t, time.Second, time.Since(began).Round(100*time.Millisecond))
	})
}

// silent welcomes agents and says nothing more.
type silent struct {
	transportpb.UnimplementedTransportServiceServer
	release chan struct{}
}

func (s *silent) Connect(stream grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
	welcome := &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Welcome{Welcome: &transportpb.Welcome{RouterStoreId: "r"}}}
	if err := stream.Send(&transportpb.ConnectResponse{Frames: []*transportpb.RouterFrame{welcome}}); err != nil {
		return err
	}
	select {
	case <-stream.Context().Done():
	case <-s.release:
	}
	return nil
}

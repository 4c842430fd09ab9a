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

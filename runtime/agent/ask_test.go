package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

// restarting is a router that takes every message, ends its stream when it is told to, and then has the given start.
type restarting struct {
	transportpb.UnimplementedTransportServiceServer
	starts    chan string
	end       chan struct{}
	submitted chan string
}

func (r *restarting) Connect(s grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
	send := func(f *transportpb.RouterFrame) error {
		return s.Send(&transportpb.ConnectResponse{Frames: []*transportpb.RouterFrame{f}})
	}
	if err := send(&transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Welcome{Welcome: &transportpb.Welcome{
		RouterStoreId: "r", RouterStart: <-r.starts,
	}}}); err != nil {
		return err
	}
	submits := make(chan *transportpb.Submit)
	go func() { // ends with the stream
		for {
			req, err := s.Recv()
			if err != nil {
				return
			}
			for _, f := range req.GetFrames() {
				if f.GetSubmit() != nil {
					select {
					case submits <- f.GetSubmit():
					case <-s.Context().Done():
					}
				}
			}
		}
	}()
	for {
		select {
		case m := <-submits:
			if err := send(&transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Answer{Answer: &transportpb.Answer{
				N: m.GetN(), State: transportpb.Answer_STATE_QUEUED,
			}}}); err != nil {
				return err
			}
			r.submitted <- m.GetEnvelope().GetMessageId()
		case <-r.end:
			return nil
		case <-s.Context().Done():
			return nil
		}
	}
}

// TestARouterThatStartedAnewIsAskedSoon: its store may be older than what it has accepted. One whose connection broke is
// asked when it is time.
func TestARouterThatStartedAnewIsAskedSoon(t *testing.T) {
	for next, asked := range map[string]bool{"another start": true, "one start": false, "": false} {
		t.Run(next, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &restarting{starts: make(chan string, 2), end: make(chan struct{}), submitted: make(chan string, 100)}
				p := newPeer(t, func(s *grpc.Server) { transportpb.RegisterTransportServiceServer(s, r) })
				a := p.agent("a")
				r.starts <- "one start"
				start(t, a)
				_, err := tell.Send(t.Context(), to(a, "b"), str("x"))
				require.NoError(t, err)
				first := <-r.submitted
				time.Sleep(15 * time.Second) // the first question, which is due when nothing is heard of a message
				require.Equal(t, first, <-r.submitted)
				require.Empty(t, r.submitted)
				r.end <- struct{}{}
				r.starts <- next
				time.Sleep(7 * time.Second) // to connect again, and to ask; the next question is due after half a minute
				if !asked {
					assert.Empty(t, r.submitted)
					return
				}
				require.Len(t, r.submitted, 1)
				assert.Equal(t, first, <-r.submitted)
			})
		})
	}
}

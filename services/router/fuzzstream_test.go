package router

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// FuzzConnect lets an agent say anything on the module's own stream. Each submission is answered, and each of the router's
// messages can be encoded; the stream ends as it should, or with a status that blames the agent.
func FuzzConnect(f *testing.F) {
	add := func(frames ...*transportpb.AgentFrame) {
		b, err := proto.Marshal(&transportpb.ConnectRequest{Frames: frames})
		require.NoError(f, err)
		f.Add(b)
	}
	said := &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Hello{Hello: hello("worker", "store", 1, "c")}}
	add()
	add(said)
	add(said, said)
	add(said,
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Submit{Submit: &transportpb.Submit{N: 1, To: "agent:worker", Envelope: envelopeOf("m", "worker")}}},
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Submit{Submit: &transportpb.Submit{N: 2, To: "capability:c", Class: 9, DeadlineLeftMs: -1}}},
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Withdraw{Withdraw: &transportpb.Withdraw{N: 3, MessageId: "m"}}},
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_DeliveryAck{DeliveryAck: &transportpb.DeliveryAck{Seq: 1, MessageId: "m", Outcome: 2}}},
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Credit{Credit: &transportpb.Credit{Class: work, Messages: 1 << 31, Bytes: 1 << 63}}},
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Ping{Ping: &transportpb.Ping{N: 4}}},
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Drain{Drain: &transportpb.Drain{}}},
		&transportpb.AgentFrame{},
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		var req transportpb.ConnectRequest
		if proto.Unmarshal(b, &req) != nil || len(req.GetFrames()) > 64 {
			return
		}
		r, err := Open(t.Context(), store.NewMemory(), Options{Logger: quiet(), Limits: queue.Limits{MaxWork: 10}})
		require.NoError(t, err)
		defer r.Close()
		s := &scripted{ctx: t.Context(), req: &req}
		err = (&transportService{router: r}).Connect(s)
		switch status.Code(err) {
		case codes.OK, codes.InvalidArgument, codes.PermissionDenied, codes.FailedPrecondition:
		default:
			t.Fatalf("%v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.welcomed {
			return
		}
		asked := 0
		for _, frame := range req.GetFrames() {
			if frame.GetSubmit() != nil {
				asked++
			}
		}
		require.Equal(t, asked, s.answers, "each submission is answered")
	})
}

// scripted is a stream on which an agent says one thing and waits for what the router says to it.
type scripted struct {
	grpc.ServerStream
	ctx context.Context
	req *transportpb.ConnectRequest

	mu       sync.Mutex
	said     bool
	welcomed bool
	answers  int
}

func (s *scripted) Context() context.Context { return s.ctx }

func (s *scripted) Recv() (*transportpb.ConnectRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said {
		return nil, io.EOF
	}
	s.said = true
	return s.req, nil
}

func (s *scripted) Send(res *transportpb.ConnectResponse) error {
	if _, err := proto.Marshal(res); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range res.GetFrames() {
		switch f.GetFrame().(type) {
		case *transportpb.RouterFrame_Welcome:
			s.welcomed = true
		case *transportpb.RouterFrame_Answer:
			s.answers++
		}
	}
	return nil
}

package agent_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

func TestStartTwiceLeavesTheRunningAgentAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		say.Handle(server, echo)
		start(t, server)
		var started atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if client.Start(t.Context()) == nil {
					started.Add(1)
				}
			})
		}
		all.Wait()
		assert.EqualValues(t, 1, started.Load())
		_, err := say.Call(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		require.NoError(t, client.Close())
		require.ErrorIs(t, client.Start(t.Context()), agent.ErrClosed)
	})
}

func TestCloseInsideAReplyHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		say.Handle(server, echo)
		closed := make(chan error, 1)
		say.HandleReply(client, func(context.Context, *text, *text, error) error {
			closed <- client.Close()
			return nil
		})
		start(t, server, client)
		_, err := say.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		select {
		case err := <-closed:
			require.NoError(t, err)
		case <-time.After(10 * time.Minute):
			t.Fatal("Close waits for its own caller")
		}
	})
}

func TestCloseInsideAHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.AgentOn(agent.Config{ID: "server", DrainTimeout: time.Second}, store.NewMemory()), net.Agent("client")
		closed := make(chan error, 1)
		tell.Handle(server, func(context.Context, *text) error {
			closed <- server.Close()
			return nil
		})
		start(t, server, client)
		_, err := tell.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		require.NoError(t, <-closed)
	})
}

// TestAnAgentThatStoppedHoldsNobody takes the place of an agent whose calls wait and whose handlers queue.
func TestAnAgentThatStoppedHoldsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		disk := store.NewMemory()
		old := net.AgentOn(agent.Config{ID: "a", MaxHandlers: 1}, disk)
		client := net.Agent("client")
		var runs atomic.Int32
		say.Handle(old, func(ctx context.Context, _ *text) (*text, error) {
			runs.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		start(t, old, client)
		pending, err := say.Send(t.Context(), to(client, "a"), str("1"))
		require.NoError(t, err)
		_, err = say.Send(t.Context(), to(client, "a"), str("2"))
		require.NoError(t, err)
		called := make(chan error, 1)
		go func() {
			_, err := say.Call(context.Background(), to(old, "nobody"), str("x"))
			called <- err
		}()
		synctest.Wait()

		copied := disk.Reopen() // a copy of the directory, opened later
		young := net.AgentOn(agent.Config{ID: "a"}, copied)
		start(t, young)
		<-old.Failed()
		require.ErrorIs(t, old.Err(), agent.ErrSuperseded)
		require.ErrorContains(t, old.Err(), "Fix: run one process for each data directory")
		select {
		case err := <-called:
			require.ErrorIs(t, err, agent.ErrSuperseded)
		case <-time.After(time.Minute):
			t.Error("the call waits for an agent that has stopped")
		}
		_, err = say.Send(t.Context(), to(old, "client"), str("x"))
		require.ErrorIs(t, err, agent.ErrSuperseded)
		assert.EqualValues(t, 1, runs.Load(), "no handler starts any more")
		_ = pending
	})
}

// TestALateReturnIsNotTheNextRunsOutcome has a handler that outlives its timeout, and returns while the next attempt waits.
func TestALateReturnIsNotTheNextRunsOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		timed := exchange.NewCall[text, text]("test.v1.Echo/Timed", exchange.HandlerTimeout(time.Minute), exchange.MaxAttempts(2))
		server, client := net.Agent("server"), net.Agent("client")
		var runs atomic.Int32
		timed.Handle(server, func(ctx context.Context, req *text) (*text, error) {
			if runs.Add(1) == 1 {
				<-ctx.Done()
				time.Sleep(10 * time.Second)
				return nil, context.Cause(ctx)
			}
			return req, nil
		})
		start(t, server, client)
		res, err := timed.Call(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		assert.Equal(t, "x", res.GetValue())
		assert.EqualValues(t, 2, runs.Load())
	})
}

// TestSeveralCallsOfOneHandlerShareItsPlace has handlers whose goroutines call side by side, with every limit at one.
func TestSeveralCallsOfOneHandlerShareItsPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server := net.Agent("server")
		middle := net.AgentOn(agent.Config{ID: "middle", MaxHandlers: 1, MaxInbound: 1}, store.NewMemory())
		client := net.Agent("client")
		say.Handle(server, func(_ context.Context, req *text) (*text, error) {
			time.Sleep(time.Second)
			return req, nil
		})
		ask.Handle(middle, func(ctx context.Context, req *text) (*text, error) {
			var calls sync.WaitGroup
			for range 3 {
				calls.Go(func() {
					_, err := say.Call(ctx, to(middle, "server"), req)
					assert.NoError(t, err)
				})
			}
			// One that outlives its handler gives its place back all the same.
			go func() { _, _ = say.Call(ctx, to(middle, "server"), req) }()
			calls.Wait()
			return req, nil
		})
		start(t, server, middle, client)
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				_, err := ask.Call(t.Context(), to(client, "middle"), str("x"))
				assert.NoError(t, err)
			})
		}
		all.Wait()
	})
}

func TestNotesThatAreNotTextEndTheMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		say.Handle(server, func(context.Context, *text) (*text, error) {
			return nil, errors.New("bad \xff" + strings.Repeat("long", 1000))
		})
		start(t, server, client)
		_, err := say.Call(t.Context(), to(client, "server"), str("x"), exchange.MaxAttempts(1))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.InternalError})
		assert.ErrorContains(t, err, "longlong")
	})
}

// deaf is a router that welcomes an agent and then reads nothing, as one behind a dead connection.
type deaf struct {
	transportpb.UnimplementedTransportServiceServer
	connected chan struct{}
}

func (d *deaf) Connect(s grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	d.connected <- struct{}{}
	err := s.Send(&transportpb.ConnectResponse{Frames: []*transportpb.RouterFrame{
		{Frame: &transportpb.RouterFrame_Welcome{Welcome: &transportpb.Welcome{RouterStoreId: "r"}}},
	}})
	if err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

// brief is a router that welcomes an agent and ends its stream.
type brief struct {
	transportpb.UnimplementedTransportServiceServer
	connected atomic.Int32
}

func (b *brief) Connect(s grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
	b.connected.Add(1)
	return s.Send(&transportpb.ConnectResponse{Frames: []*transportpb.RouterFrame{
		{Frame: &transportpb.RouterFrame_Welcome{Welcome: &transportpb.Welcome{RouterStoreId: "r"}}},
	}})
}

func TestShortSessionsAreNotRepeatedAtFullSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &brief{}
		p := newPeer(t, func(s *grpc.Server) { transportpb.RegisterTransportServiceServer(s, b) })
		start(t, p.agent("a"))
		time.Sleep(time.Minute)
		assert.Less(t, b.connected.Load(), int32(100))
	})
}

func TestASilentRouterIsLeftWhileABatchIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deaf{connected: make(chan struct{}, 100)}
		p := newPeer(t, func(s *grpc.Server) { transportpb.RegisterTransportServiceServer(s, d) })
		a := p.agent("a")
		start(t, a)
		<-d.connected
		big := make([]byte, 1<<20)
		for i := range big {
			big[i] = 'x'
		}
		for range 8 {
			_, err := tell.Send(t.Context(), to(a, "b"), str(string(big)))
			require.NoError(t, err)
		}
		select {
		case <-d.connected:
		case <-time.After(5 * time.Minute):
			t.Error("the agent does not leave a router that is silent")
		}
	})
}

// stale is a router that answers an attempt after the next one was made.
type stale struct {
	transportpb.UnimplementedTransportServiceServer
	submitted chan *transportpb.Submit
	frames    chan *transportpb.RouterFrame
}

func (r *stale) Connect(s grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
	r.frames <- &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Welcome{Welcome: &transportpb.Welcome{RouterStoreId: "r"}}}
	go func() {
		for {
			req, err := s.Recv()
			if err != nil {
				return
			}
			for _, f := range req.GetFrames() {
				if f.GetSubmit() != nil {
					r.submitted <- f.GetSubmit()
				}
			}
		}
	}()
	for {
		select {
		case f := <-r.frames:
			if err := s.Send(&transportpb.ConnectResponse{Frames: []*transportpb.RouterFrame{f}}); err != nil {
				return err
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func TestAnAnswerCountsForTheAttemptThatItIsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &stale{submitted: make(chan *transportpb.Submit, 100), frames: make(chan *transportpb.RouterFrame, 100)}
		p := newPeer(t, func(s *grpc.Server) { transportpb.RegisterTransportServiceServer(s, r) })
		a := p.agent("a")
		start(t, a)
		sent, err := tell.Send(t.Context(), to(a, "b"), str("x"))
		require.NoError(t, err)
		first := <-r.submitted
		r.frames <- delivery(failed(first.GetEnvelope()))
		time.Sleep(2 * time.Second) // the backoff of the second attempt
		require.Len(t, sent.Status().Attempts, 2)
		r.frames <- &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Answer{Answer: &transportpb.Answer{
			N: first.GetN(), State: transportpb.Answer_STATE_DONE, Stage: commonpb.AckStage_FAILED, Code: commonpb.ErrorCode_VALIDATION_ERROR,
		}}}
		select {
		case second := <-r.submitted:
			assert.Equal(t, sent.Status().Attempts[1].MessageID, second.GetEnvelope().GetMessageId())
		case <-time.After(5 * time.Second):
			t.Error("the second attempt is not submitted")
		}
		assert.False(t, sent.Status().Done, "%v", sent.Status().Err)
	})
}

// failed is the acknowledgement of a message whose handler failed for now.
func failed(env *commonpb.Envelope) *commonpb.Envelope {
	payload := ack.Ack{ForMessageID: env.GetMessageId(), Stage: ack.Failed, Code: ack.AgentUnavailable}.Marshal()
	return &commonpb.Envelope{
		MessageId: envelope.NewID(), ProducerId: "b", CorrelationId: env.GetCorrelationId(),
		MessageType: commonpb.MessageType_ACKNOWLEDGEMENT, ContentType: ack.ContentType,
		ContentLength: uint64(len(payload)), Payload: payload,
	}
}

func delivery(env *commonpb.Envelope) *transportpb.RouterFrame {
	return &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Delivery{Delivery: &transportpb.Delivery{
		Seq: 1, To: "agent:a", Class: transportpb.Class_CLASS_SIGNAL, Envelope: env,
	}}}
}

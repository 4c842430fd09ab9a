package agent_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// scripted is a router that does what a test says, over the stream of one agent at a time.
type scripted struct {
	transportpb.UnimplementedTransportServiceServer
	store    string
	sessions chan chan *transportpb.RouterFrame // what to say to each next session; closing it ends the session
	acks     chan *transportpb.DeliveryAck
}

// newScripted returns one, and the peer that serves it.
func newScripted(t *testing.T) (*scripted, *peer) {
	s := &scripted{store: "router", sessions: make(chan chan *transportpb.RouterFrame), acks: make(chan *transportpb.DeliveryAck, 100)}
	return s, newPeer(t, func(g *grpc.Server) { transportpb.RegisterTransportServiceServer(g, s) })
}

func (s *scripted) Connect(stream grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
	say := make(chan *transportpb.RouterFrame)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			for _, f := range req.GetFrames() {
				if f.GetDeliveryAck() != nil {
					s.acks <- f.GetDeliveryAck()
				}
			}
		}
	}()
	send := func(f *transportpb.RouterFrame) error {
		return stream.Send(&transportpb.ConnectResponse{Frames: []*transportpb.RouterFrame{f}})
	}
	if err := send(&transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Welcome{Welcome: &transportpb.Welcome{RouterStoreId: s.store}}}); err != nil {
		return err
	}
	select {
	case s.sessions <- say:
	case <-ended:
		return nil
	}
	for {
		select {
		case f, ok := <-say:
			if !ok {
				return nil
			}
			if err := send(f); err != nil {
				return err
			}
		case <-ended:
			return nil
		}
	}
}

// deliver is work for tell in one conversation.
func deliver(seq int64, text string, ttl time.Duration) *transportpb.RouterFrame {
	payload, _ := proto.Marshal(str(text)) // always possible
	return &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Delivery{Delivery: &transportpb.Delivery{
		Seq: seq, To: "agent:server", Class: transportpb.Class_CLASS_WORK,
		Envelope: &commonpb.Envelope{
			MessageId: fmt.Sprintf("00000000-0000-4000-8000-%012d", len(text)), ProducerId: "client", IdempotencyToken: "client:" + text + ":0",
			CorrelationId: "00000000-0000-4000-8000-000000000099", SequenceNumber: 1, MessageType: commonpb.MessageType_DATA,
			ContentType: envelope.ContentType{Media: envelope.MediaProtobuf, Message: "google.protobuf.StringValue", Method: "test.v1.Echo/Tell"}.String(),
			Payload:     payload, ContentLength: uint64(len(payload)), TtlMs: uint64(ttl.Milliseconds()),
		},
	}}}
}

func recorded(seq int64, yes bool) *transportpb.RouterFrame {
	return &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_AckAnswer{AckAnswer: &transportpb.AckAnswer{Seq: seq, Recorded: yes}}}
}

// TestWhatMayRunOutWaitsForItsRecord delivers to one agent a message with a time to live, and others of its lane. Until the
// router says that the agent has it, it may run out in the router's queue: so it does not run before, and those behind it
// wait for their turn.
func TestWhatMayRunOutWaitsForItsRecord(t *testing.T) {
	const ttl = time.Hour
	tests := []struct {
		name string
		// play tells the agent; restart ends it and starts the next on its store.
		play func(t *testing.T, r *scripted, restart func())
		want []string
	}{
		{"recorded", func(t *testing.T, r *scripted, _ func()) {
			say := <-r.sessions
			say <- deliver(1, "a", ttl)
			say <- deliver(2, "bb", 0)
			synctest.Wait()
			say <- recorded(2, true)
			time.Sleep(time.Second)
			say <- recorded(1, true)
		}, []string{"a", "bb"}},
		{"recorded in another order", func(t *testing.T, r *scripted, _ func()) {
			say := <-r.sessions
			say <- deliver(1, "a", ttl)
			say <- deliver(2, "bb", 0)
			say <- deliver(3, "ccc", ttl)
			synctest.Wait()
			say <- recorded(3, true)
			say <- recorded(2, true)
			synctest.Wait()
			say <- recorded(1, true)
		}, []string{"a", "bb", "ccc"}},
		{"somebody else has it", func(t *testing.T, r *scripted, _ func()) {
			say := <-r.sessions
			say <- deliver(1, "a", ttl)
			say <- deliver(2, "bb", 0)
			synctest.Wait()
			say <- recorded(2, true)
			say <- recorded(1, false)
		}, []string{"bb"}},
		{"the answer is lost", func(t *testing.T, r *scripted, _ func()) {
			say := <-r.sessions
			say <- deliver(1, "a", ttl)
			say <- deliver(2, "bb", 0)
			synctest.Wait()
			say <- recorded(2, true)
			close(say)
			say = <-r.sessions
			synctest.Wait()
			asked := (&transportpb.DeliveryAck{Seq: 1, MessageId: "00000000-0000-4000-8000-000000000001"}).String()
			var last string
			for len(r.acks) > 0 {
				last = (<-r.acks).String()
			}
			assert.Equal(t, asked, last)
			say <- recorded(1, true)
		}, []string{"a", "bb"}},
		{"the answer is lost, and it comes again under another number", func(t *testing.T, r *scripted, _ func()) {
			say := <-r.sessions
			say <- deliver(1, "a", ttl)
			synctest.Wait()
			close(say)
			say = <-r.sessions
			say <- deliver(7, "a", ttl)
			synctest.Wait()
			close(say)
			say = <-r.sessions
			synctest.Wait()
			say <- recorded(7, true)
		}, []string{"a"}},
		{"the agent starts again", func(t *testing.T, r *scripted, restart func()) {
			say := <-r.sessions
			say <- deliver(1, "a", ttl)
			say <- deliver(2, "bb", 0)
			synctest.Wait()
			restart()
			say = <-r.sessions
			synctest.Wait()
			say <- recorded(1, true)
		}, []string{"a", "bb"}},
		{"another router does not know it", func(t *testing.T, r *scripted, _ func()) {
			say := <-r.sessions
			say <- deliver(1, "a", ttl)
			say <- deliver(2, "bb", 0)
			synctest.Wait()
			r.store = "another"
			close(say)
			say = <-r.sessions
			synctest.Wait()
			say <- deliver(1, "ccc", ttl) // which gives it the same number
			synctest.Wait()
			say <- recorded(1, true)
		}, []string{"bb", "ccc"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, p := newScripted(t)
				var ran []string
				disk := store.NewMemory()
				var a *agent.Agent
				launch := func() {
					a = p.agentOn("server", disk)
					tell.Handle(a, func(_ context.Context, m *text) error {
						ran = append(ran, m.GetValue())
						return nil
					})
					start(t, a)
				}
				launch()
				test.play(t, r, func() {
					assert.Empty(t, ran)
					require.NoError(t, a.Close())
					disk = disk.Reopen()
					launch()
				})
				synctest.Wait()
				assert.Equal(t, test.want, ran)
			})
		})
	}
}

// TestAnEarlierAttemptSaysNothingOfTheNext: while the router has still to say who has a further attempt, it delivers a copy of
// the one before, which has ended here. That it records who has the copy is no leave to run the further one.
func TestAnEarlierAttemptSaysNothingOfTheNext(t *testing.T) {
	attempt := func(seq int64, retry uint32, id string) *transportpb.RouterFrame {
		f := deliver(seq, "x", time.Hour)
		f.GetDelivery().To = "capability:test.v1.Echo"
		f.GetDelivery().GetEnvelope().MessageId, f.GetDelivery().GetEnvelope().RetryCount = id, retry
		return f
	}
	const first, second, third = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002", "00000000-0000-4000-8000-000000000003"
	tests := map[string]struct {
		play func(say chan *transportpb.RouterFrame, restart func() chan *transportpb.RouterFrame)
		runs int
	}{
		"another agent has it": {func(say chan *transportpb.RouterFrame, _ func() chan *transportpb.RouterFrame) {
			say <- recorded(3, true)
			synctest.Wait()
			say <- recorded(2, false)
		}, 1},
		"another agent has it, and this one is started again": {func(say chan *transportpb.RouterFrame, restart func() chan *transportpb.RouterFrame) {
			say <- recorded(3, true)
			synctest.Wait()
			say = restart()
			say <- recorded(3, true)
			say <- recorded(2, false)
		}, 1},
		"this agent has it": {func(say chan *transportpb.RouterFrame, _ func() chan *transportpb.RouterFrame) {
			say <- recorded(3, true)
			say <- recorded(2, true)
		}, 2},
		"it comes again under another number": {func(say chan *transportpb.RouterFrame, restart func() chan *transportpb.RouterFrame) {
			say <- attempt(9, 1, second)
			synctest.Wait()
			say = restart()
			say <- recorded(9, true)
		}, 2},
		"a later attempt comes": {func(say chan *transportpb.RouterFrame, restart func() chan *transportpb.RouterFrame) {
			say <- attempt(9, 2, third)
			say <- attempt(10, 1, second)
			synctest.Wait()
			say = restart()
			say <- recorded(9, true)
		}, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, p := newScripted(t)
				runs, disk := 0, store.NewMemory()
				var a *agent.Agent
				launch := func() chan *transportpb.RouterFrame {
					a = p.agentOn("server", disk)
					tell.Handle(a, func(context.Context, *text) error {
						if runs++; runs == 1 {
							return ack.Failf(ack.Overloaded, "not now")
						}
						return nil
					})
					start(t, a)
					say := <-r.sessions
					synctest.Wait()
					return say
				}
				say := launch()
				say <- attempt(1, 0, first)
				synctest.Wait()
				say <- recorded(1, true)
				synctest.Wait()
				require.Equal(t, 1, runs)
				say <- attempt(2, 1, second)
				synctest.Wait()
				say <- attempt(3, 0, first) // the sender has asked what became of it
				synctest.Wait()
				test.play(say, func() chan *transportpb.RouterFrame {
					require.NoError(t, a.Close())
					disk = disk.Reopen()
					return launch()
				})
				synctest.Wait()
				assert.Equal(t, test.runs, runs)
			})
		})
	}
}

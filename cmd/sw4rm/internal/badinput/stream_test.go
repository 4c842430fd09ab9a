package badinput

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
)

func helloBy(agent, store string, epoch uint64, capabilities ...string) *transportpb.AgentFrame {
	return &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Hello{Hello: &transportpb.Hello{
		AgentId: agent, StoreId: store, Epoch: epoch, Capabilities: capabilities,
	}}}
}

func submit(n uint64, to string, e *commonpb.Envelope, class transportpb.Class) *transportpb.AgentFrame {
	return &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Submit{Submit: &transportpb.Submit{N: n, To: to, Envelope: e, Class: class}}}
}

// say opens a stream, says the frames and a ping behind them, and returns everything that comes until all of them are answered,
// or the stream ends.
func say(t *testing.T, client transportpb.TransportServiceClient, frames ...*transportpb.AgentFrame) (got []*transportpb.RouterFrame, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.Connect(ctx)
	require.NoError(t, err)
	defer func() { // the router has let go of the agent by then
		cancel()
		for err := error(nil); err == nil; _, err = stream.Recv() {
		}
	}()
	answers := 1
	for _, f := range frames {
		if f.GetSubmit() != nil || f.GetWithdraw() != nil || f.GetDeliveryAck() != nil {
			answers++
		}
	}
	frames = append(frames, &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Ping{Ping: &transportpb.Ping{N: 99}}})
	require.NoError(t, stream.Send(&transportpb.ConnectRequest{Frames: frames}))
	for {
		res, err := stream.Recv()
		if err != nil {
			return got, err
		}
		for _, f := range res.GetFrames() {
			got = append(got, f)
			if f.GetPong() != nil || f.GetAnswer() != nil || f.GetWithdrawAnswer() != nil || f.GetAckAnswer() != nil {
				answers--
			}
		}
		if answers == 0 {
			return got, nil
		}
	}
}

func streams(tb table) {
	p := newPost(tb.T)
	client := transportpb.NewTransportServiceClient(dial(tb.T, p.net))
	refused := func(name string, code codes.Code, frames ...*transportpb.AgentFrame) {
		tb.row(name, func(t *testing.T) {
			_, err := say(t, client, frames...)
			require.Equal(t, code, status.Code(err), "%v", err)
			require.NotEmpty(t, status.Convert(err).Message())
		})
	}
	refused("no hello", codes.InvalidArgument)
	refused("an empty frame first", codes.InvalidArgument, &transportpb.AgentFrame{})
	refused("a submission first", codes.InvalidArgument, submit(1, "agent:ours", good("bad"), 0))
	refused("an empty hello", codes.InvalidArgument, &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Hello{Hello: &transportpb.Hello{}}})
	for _, bad := range badNames {
		refused("agent id: "+bad.name, codes.InvalidArgument, helloBy(bad.value, "store", 1))
		refused("store id: "+bad.name, codes.InvalidArgument, helloBy("peer", bad.value, 1))
		refused("capability: "+bad.name, codes.InvalidArgument, helloBy("peer", "store", 1, "good", bad.value))
	}
	refused("epoch 0", codes.InvalidArgument, helloBy("peer", "store", 0))
	refused("the router's id", codes.PermissionDenied, helloBy("sw4rm-router", "store", 1))
	refused("a thousand capabilities", codes.InvalidArgument, helloBy("peer", "store", 1, strings.Split(strings.Repeat("c,", 999)+"c", ",")...))

	// What is said behind a hello is answered, and the stream goes on.
	answered := func(name string, code commonpb.ErrorCode, to string, e *commonpb.Envelope, class transportpb.Class) {
		tb.row(name, func(t *testing.T) {
			got, err := say(t, client, helloBy("streamer", "store", 1), submit(7, to, e, class))
			require.NoError(t, err)
			var answers []*transportpb.Answer
			for _, f := range got {
				if a := f.GetAnswer(); a != nil {
					answers = append(answers, a)
				}
			}
			require.Len(t, answers, 1)
			require.EqualValues(t, 7, answers[0].GetN())
			require.Equal(t, transportpb.Answer_STATE_REFUSED, answers[0].GetState())
			require.Equal(t, code, answers[0].GetCode(), "%v", answers[0])
			require.NotEmpty(t, answers[0].GetNote())
		})
	}
	invalid, denied, noRoute := commonpb.ErrorCode_VALIDATION_ERROR, commonpb.ErrorCode_PERMISSION_DENIED, commonpb.ErrorCode_NO_ROUTE
	bad := func() *commonpb.Envelope {
		e := good("bad")
		e.ProducerId = "streamer"
		return e
	}
	foreign := good("bad")
	answered("a submission without an envelope", invalid, "agent:ours", nil, 0)
	answered("an empty envelope", invalid, "agent:ours", &commonpb.Envelope{}, 0)
	answered("another's envelope", denied, "agent:ours", foreign, 0)
	answered("to no kind of address", invalid, "ours", bad(), 0)
	answered("to the router", noRoute, "agent:sw4rm-router", bad(), 0)
	answered("work as a signal", invalid, "agent:ours", bad(), transportpb.Class_CLASS_SIGNAL)
	answered("an unknown class", invalid, "agent:ours", bad(), 77)
	answered("a negative class", invalid, "agent:ours", bad(), -1)

	// What concerns nothing changes nothing.
	harmless := func(name string, frames ...*transportpb.AgentFrame) {
		tb.row(name, func(t *testing.T) {
			got, err := say(t, client, append([]*transportpb.AgentFrame{helloBy("streamer", "store", 1)}, frames...)...)
			require.NoError(t, err)
			for _, f := range got {
				require.Nil(t, f.GetGoodbye())
				if a := f.GetAckAnswer(); a != nil {
					require.False(t, a.GetRecorded())
				}
				if a := f.GetWithdrawAnswer(); a != nil {
					require.Equal(t, transportpb.WithdrawAnswer_STATE_UNKNOWN, a.GetState())
				}
			}
		})
	}
	custody := func(seq int64, id string, outcome int32) *transportpb.AgentFrame {
		return &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_DeliveryAck{DeliveryAck: &transportpb.DeliveryAck{
			Seq: seq, MessageId: id, Outcome: transportpb.DeliveryAck_Outcome(outcome),
		}}}
	}
	credit := func(class int32, messages uint32, bytes uint64) *transportpb.AgentFrame {
		return &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Credit{Credit: &transportpb.Credit{Class: transportpb.Class(class), Messages: messages, Bytes: bytes}}}
	}
	withdraw := func(to, token, id string) *transportpb.AgentFrame {
		return &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Withdraw{Withdraw: &transportpb.Withdraw{N: 1, To: to, Token: token, MessageId: id}}}
	}
	harmless("hello twice", helloBy("streamer", "store", 1))
	harmless("hello as another", helloBy("other", "else", 9))
	harmless("an empty frame", &transportpb.AgentFrame{})
	for _, seq := range []int64{0, -1, 1, 1 << 62} {
		for _, outcome := range []int32{0, 1, 2, 77, -1} {
			harmless(fmt.Sprintf("custody of %d as %d", seq, outcome), custody(seq, p.sent[0], outcome))
		}
	}
	harmless("custody without a message", custody(1, "", 0))
	for _, class := range []int32{0, 1, 3, 77, -1} {
		harmless(fmt.Sprint("credit beyond its type, class ", class), credit(class, 1<<31, 1<<63), credit(class, 1<<31, 1<<63), credit(class, 1<<32-1, 1<<64-1))
	}
	harmless("withdrawal of nothing", withdraw("", "", ""))
	harmless("withdrawal of an unknown message", withdraw("agent:ours", "token", "unknown"))
	harmless("withdrawal at a bad address", withdraw("ours", "", "unknown"))
	tb.row("withdrawal of another's message", func(t *testing.T) {
		got, err := say(t, client, helloBy("stranger", "store", 1), withdraw("agent:ours", "peer:op:"+p.sent[0], p.sent[0]))
		require.NoError(t, err)
		for _, f := range got {
			if a := f.GetWithdrawAnswer(); a != nil {
				require.Equal(t, transportpb.WithdrawAnswer_STATE_UNKNOWN, a.GetState())
			}
		}
	})
	tb.row("an older opening of a store", func(t *testing.T) {
		_, err := say(t, client, helloBy("aged", "store", 9))
		require.NoError(t, err)
		got, err := say(t, client, helloBy("aged", "store", 8))
		require.Error(t, err, "the stream ends")
		require.Equal(t, transportpb.Goodbye_REASON_STORE_ROLLED_BACK, got[len(got)-1].GetGoodbye().GetReason())
	})
	p.nothingLost()
}

func canonicalStreams(tb table) {
	p := newPost(tb.T)
	incoming := func(name string, code codes.Code, agent string, kv ...string) {
		tb.row("StreamIncoming, "+name, func(t *testing.T) {
			stream, err := p.router.StreamIncoming(metadata.AppendToOutgoingContext(t.Context(), kv...), &routerpb.StreamRequest{AgentId: agent})
			require.NoError(t, err)
			_, err = stream.Recv()
			require.Equal(t, code, status.Code(err), "%v", err)
		})
	}
	for _, bad := range badNames {
		incoming("agent id: "+bad.name, codes.InvalidArgument, bad.value)
	}
	incoming("the router's id", codes.PermissionDenied, "sw4rm-router")
	for _, instance := range []string{"", "store", "store/", "/1", "store/0", "store/-1", "store/x", "store/1/2", "a b/1", "store/18446744073709551616"} {
		incoming("instance "+instance, codes.InvalidArgument, "peer", "sw4rm-instance", instance)
	}
	incoming("two instances", codes.InvalidArgument, "peer", "sw4rm-instance", "a/1", "sw4rm-instance", "b/1")
	ack := func(name string, req *routerpb.DeliveryAckRequest) {
		tb.row("AckDelivery, "+name, func(t *testing.T) {
			res, err := p.router.AckDelivery(t.Context(), req)
			require.NoError(t, err)
			require.False(t, res.GetRecorded())
		})
	}
	ack("empty", &routerpb.DeliveryAckRequest{})
	for _, bad := range badNames {
		ack("agent id: "+bad.name, &routerpb.DeliveryAckRequest{AgentId: bad.value, Seq: 1, MessageId: p.sent[0]})
	}
	for _, seq := range []int64{0, -1, 1, 1 << 62} {
		ack(fmt.Sprint("number ", seq), &routerpb.DeliveryAckRequest{AgentId: "ours", Seq: seq, MessageId: p.sent[0]})
	}
	for _, outcome := range []int32{1, 2, 3, 77, -1} {
		ack(fmt.Sprint("outcome ", outcome), &routerpb.DeliveryAckRequest{AgentId: "ours", Seq: 1, MessageId: p.sent[0], Outcome: routerpb.DeliveryAckOutcome(outcome)})
	}
	p.nothingLost()
}

func registryCalls(tb table) {
	client := registrypb.NewRegistryServiceClient(dial(tb.T, agenttest.New(tb.T)))
	register := func(name, says string, edit func(*registrypb.AgentDescriptor)) {
		tb.row("register: "+name, func(t *testing.T) {
			d := &registrypb.AgentDescriptor{AgentId: "peer"}
			edit(d)
			res, err := client.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{Agent: d})
			require.NoError(t, err)
			require.False(t, res.GetAccepted())
			require.True(t, strings.HasPrefix(res.GetReason(), "validation_error: "), res.GetReason())
			require.Contains(t, res.GetReason(), says)
		})
	}
	tb.row("register: nobody", func(t *testing.T) {
		res, err := client.RegisterAgent(t.Context(), &registrypb.RegisterAgentRequest{})
		require.NoError(t, err)
		require.False(t, res.GetAccepted())
		require.Contains(t, res.GetReason(), "validation_error: ")
	})
	for _, bad := range badNames {
		register("agent id, "+bad.name, "agent id", func(d *registrypb.AgentDescriptor) { d.AgentId = bad.value })
		register("capability, "+bad.name, "capability", func(d *registrypb.AgentDescriptor) { d.Capabilities = []string{"good", bad.value} })
	}
	many := func(n int) []string { return strings.Split(strings.Repeat("c,", n-1)+"c", ",") }
	long := strings.Repeat("x", 20_000)
	register("the router's id", "reserved", func(d *registrypb.AgentDescriptor) { d.AgentId = "sw4rm-router" })
	register("a long name", "name", func(d *registrypb.AgentDescriptor) { d.Name = long })
	register("a long description", "description", func(d *registrypb.AgentDescriptor) { d.Description = long })
	register("a wordy description", "words", func(d *registrypb.AgentDescriptor) { d.Description = strings.Repeat("a ", 201) })
	register("many capabilities", "capabilities", func(d *registrypb.AgentDescriptor) { d.Capabilities = many(257) })
	register("many modalities", "modalities", func(d *registrypb.AgentDescriptor) { d.ModalitiesSupported = many(65) })
	register("a long modality", "modalities", func(d *registrypb.AgentDescriptor) { d.ModalitiesSupported = []string{long} })
	register("many connectors", "connectors", func(d *registrypb.AgentDescriptor) { d.ReasoningConnectors = many(65) })
	register("a large key", "public_key", func(d *registrypb.AgentDescriptor) { d.PublicKey = []byte(long) })
	for _, id := range []string{"", "unknown", "a b", long} {
		tb.row(fmt.Sprintf("heartbeat of %.10q", id), func(t *testing.T) {
			res, err := client.Heartbeat(t.Context(), &registrypb.HeartbeatRequest{AgentId: id, Health: map[string]string{long: long}})
			require.NoError(t, err)
			require.False(t, res.GetOk())
		})
		tb.row(fmt.Sprintf("deregistration of %.10q", id), func(t *testing.T) {
			res, err := client.DeregisterAgent(t.Context(), &registrypb.DeregisterAgentRequest{AgentId: id, Reason: long})
			require.NoError(t, err)
			require.False(t, res.GetOk())
		})
	}
}

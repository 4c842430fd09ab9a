package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// foreigner is an agent of another make, on the canonical RPCs of the net's router.
type foreigner struct {
	t      *testing.T
	id     string
	client routerpb.RouterServiceClient
	got    chan *commonpb.Envelope // all but acknowledgements
	acks   chan ack.Ack
}

func newForeigner(t *testing.T, net *agenttest.Net, id string) *foreigner {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///router", grpc.WithTransportCredentials(insecure.NewCredentials()), net.Dial())
	require.NoError(t, err)
	f := &foreigner{
		t: t, id: id, client: routerpb.NewRouterServiceClient(conn),
		got: make(chan *commonpb.Envelope, 100), acks: make(chan ack.Ack, 100),
	}
	in, err := f.client.StreamIncoming(t.Context(), &routerpb.StreamRequest{AgentId: id})
	require.NoError(t, err)
	_, err = in.Header()
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			item, err := in.Recv()
			if err != nil {
				return
			}
			f.take(item)
		}
	}()
	t.Cleanup(func() {
		assert.NoError(t, conn.Close())
		<-ended
	})
	return f
}

func (f *foreigner) take(item *routerpb.StreamItem) {
	env := item.GetMsg()
	if sig, err := ack.Parse(env.GetContentType(), env.GetPayload()); env.GetMessageType() == commonpb.MessageType_ACKNOWLEDGEMENT {
		assert.NoError(f.t, err)
		assert.Equal(f.t, "application/json", env.GetContentType())
		f.acks <- sig
	} else {
		f.got <- env
	}
	_, err := f.client.AckDelivery(f.t.Context(), &routerpb.DeliveryAckRequest{
		AgentId: f.id, Seq: item.GetSeq(), MessageId: env.GetMessageId(),
	})
	assert.True(f.t, err == nil || f.t.Context().Err() != nil, "%v", err)
}

// send sends a payload to an agent and returns the message's id.
func (f *foreigner) send(to string, typ commonpb.MessageType, contentType, payload string) *commonpb.Envelope {
	f.t.Helper()
	env := &commonpb.Envelope{
		MessageId: envelope.NewID(), ProducerId: f.id, CorrelationId: envelope.NewID(), SequenceNumber: 1, MessageType: typ,
		ContentType: contentType, ContentLength: uint64(len(payload)), Payload: []byte(payload),
	}
	ctx := metadata.AppendToOutgoingContext(f.t.Context(), "sw4rm-to", to)
	res, err := f.client.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: env})
	require.NoError(f.t, err)
	require.True(f.t, res.GetAccepted(), res.GetReason())
	return env
}

// outcome returns the terminal acknowledgement of a message.
func (f *foreigner) outcome(env *commonpb.Envelope) ack.Ack {
	f.t.Helper()
	for sig := range f.acks {
		if sig.ForMessageID == env.GetMessageId() && sig.Stage.Terminal() {
			return sig
		}
	}
	return ack.Ack{}
}

const command = "application/vnd.sw4rm.scheduler.command+json;v=1"

var (
	note  = exchange.NewPayload[text]("google.protobuf.StringValue", exchange.Notification)
	order = exchange.NewCall[text, text]("test.v1.Echo/Order", exchange.Control, exchange.ContentType(command))
	halt  = exchange.NewCall[text, text]("test.v1.Echo/Halt", exchange.Control)
)

// named answers with its name, so that it shows which handler ran.
func named(name string) func(context.Context, *text) (*text, error) {
	return func(_ context.Context, m *text) (*text, error) { return str(name + " " + m.GetValue()), nil }
}

func TestPayloadsWithoutAService(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client, peer := net.Agent("server"), net.Agent("client"), newForeigner(t, net, "peer")
		got := make(chan string, 10)
		note.Handle(server, func(ctx context.Context, m *text) error {
			info, _ := exchange.InfoFrom(ctx)
			got <- info.From + " " + info.Exchange + " " + m.GetValue()
			return nil
		})
		say.Handle(server, echo) // of the same message
		start(t, server, client)
		d, err := note.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		require.NoError(t, d.Outcome(t.Context()))
		assert.Equal(t, "client google.protobuf.StringValue x", <-got)
		require.NoError(t, note.Call(t.Context(), to(client, "server"), str("y"), exchange.JSON))
		assert.Equal(t, "client google.protobuf.StringValue y", <-got)

		// By name, whatever the message type.
		env := peer.send("agent:server", commonpb.MessageType_DATA, `application/json; message="google.protobuf.StringValue"`, `"z"`)
		assert.Equal(t, ack.Fulfilled, peer.outcome(env).Stage)
		assert.Equal(t, "peer google.protobuf.StringValue z", <-got)

		again, err := note.Resume(t.Context(), client, d.Ref())
		require.NoError(t, err)
		assert.Equal(t, ack.Fulfilled, again.Status().Stage)

		err = note.Call(t.Context(), to(server, "client"), str("x"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.UnsupportedMessageType})
		assert.ErrorContains(t, err, "this agent does not handle google.protobuf.StringValue. Fix: register its handler, or address another agent")
	})
}

func TestPayloadOnTheWire(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		client, peer := net.Agent("client"), newForeigner(t, net, "peer")
		start(t, client)
		for want, opts := range map[string][]exchange.SendOption{
			`application/protobuf; message="google.protobuf.StringValue"`: nil,
			`application/json; message="google.protobuf.StringValue"`:     {exchange.JSON},
			"application/json": {exchange.ContentType("application/json")},
			`application/protobuf; message="google.protobuf.StringValue"; order="agent"; handler-timeout="1s"; retry-on="10"`: {
				exchange.OrderAgent, exchange.HandlerTimeout(time.Second), exchange.RetryOn(ack.ToolTimeout),
			},
		} {
			_, err := note.Send(t.Context(), to(client, "peer"), str("x"), opts...)
			require.NoError(t, err)
			env := <-peer.got
			assert.Equal(t, want, env.GetContentType())
			assert.Equal(t, commonpb.MessageType_NOTIFICATION, env.GetMessageType())
		}
		_, err := note.Send(t.Context(), to(client, "peer"), str("x"), exchange.ContentType("application/json"), exchange.OrderAgent)
		require.ErrorContains(t, err, "no place for the call's own order")
		_, err = note.Send(t.Context(), to(client, "peer"), str("x"), exchange.ContentType("text/plain"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
	})
}

func TestBareContentTypesReachAnExchange(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		one, several, peer := net.Agent("one"), net.Agent("several"), newForeigner(t, net, "peer")
		halt.Handle(one, named("halt"))
		say.Handle(one, named("say"))
		halt.Handle(several, named("halt"))
		order.Handle(several, named("order"))
		say.Handle(several, named("say"))
		start(t, one, several)
		proto, err := envelope.Encode(str("x"), exchange.Protobuf)
		require.NoError(t, err)
		control, data := commonpb.MessageType_CONTROL, commonpb.MessageType_DATA
		for _, test := range []struct {
			to, contentType string
			typ             commonpb.MessageType
			payload         string
			reply, format   string
		}{
			{"agent:one", "application/json", control, `"x"`, `"halt x"`, "application/json"},
			{"agent:one", command, control, `"x"`, `"halt x"`, "application/json"},
			{"agent:one", "application/json", data, `"x"`, `"say x"`, "application/json"},
			{"agent:one", "application/protobuf", data, string(proto), "\n\x05say x", "application/protobuf"},
			{"agent:several", command, control, `"x"`, `"order x"`, "application/json"},
			{"agent:several", "Application/vnd.sw4rm.scheduler.command+json; V=\"1\"", control, `"x"`, `"order x"`, "application/json"},
		} {
			env := peer.send(test.to, test.typ, test.contentType, test.payload)
			assert.Equal(t, ack.Fulfilled, peer.outcome(env).Stage, "%+v", test)
			reply := <-peer.got
			assert.Equal(t, test.reply, string(reply.GetPayload()), "%+v", test)
			assert.Equal(t, test.format, reply.GetContentType(), "%+v", test)
			assert.Equal(t, env.GetCorrelationId(), reply.GetCorrelationId())
		}
		for contentType, problem := range map[string]string{
			"application/json": "does not say which exchange is meant: test.v1.Echo/Halt, test.v1.Echo/Order.",
			"application/vnd.sw4rm.scheduler.command+json; v=2":                                                      "test.v1.Echo/Halt, test.v1.Echo/Order",
			`application/json; message="google.protobuf.StringValue"; order="sometimes"`:                             "test.v1.Echo/Halt",
			`application/json; method="test.v1.Echo/Halt"; message="google.protobuf.StringValue"; order="sometimes"`: `the parameter order has the value "sometimes"`,
		} {
			sig := peer.outcome(peer.send("agent:several", control, contentType, `"x"`))
			assert.Equal(t, ack.Rejected, sig.Stage, contentType)
			assert.Equal(t, ack.ValidationError, sig.Code, contentType)
			assert.Contains(t, sig.Note, problem)
		}
	})
}

func TestABareContentTypeBetweenAgents(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client, peer := net.Agent("server"), net.Agent("client"), newForeigner(t, net, "peer")
		order.Handle(server, named("order"))
		halt.Handle(server, named("halt"))
		start(t, server, client)
		res, err := order.Call(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		assert.Equal(t, "order x", res.GetValue())

		// A peer answers with a plain message in the same conversation.
		p, err := order.Send(t.Context(), to(client, "peer"), str("x"))
		require.NoError(t, err)
		env := <-peer.got
		assert.Equal(t, command, env.GetContentType(), "as it is")
		assert.Equal(t, `"x"`, string(env.GetPayload()))
		ctx := metadata.AppendToOutgoingContext(t.Context(), "sw4rm-to", "agent:client")
		_, err = peer.client.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: &commonpb.Envelope{
			MessageId: envelope.NewID(), ProducerId: "peer", CorrelationId: env.GetCorrelationId(), SequenceNumber: 1,
			MessageType: commonpb.MessageType_CONTROL, ContentType: "application/json", ContentLength: 3, Payload: []byte(`"y"`),
		}})
		require.NoError(t, err)
		res, err = p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "y", res.GetValue())
	})
}

// TestBareContentTypesStayAsTheyAre has a broadcasting router, on which types of this module get a recipient.
func TestBareContentTypesStayAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster()
		types := make(chan string, 10)
		b.fail = func(env *commonpb.Envelope) error {
			if env.GetMessageType() != commonpb.MessageType_ACKNOWLEDGEMENT {
				types <- env.GetContentType()
			}
			return nil
		}
		p := newPeer(t, b.register)
		handling, client := p.agent("server"), p.agent("client")
		order.Handle(handling, named("order"))
		start(t, handling, client)
		res, err := order.Call(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		assert.Equal(t, "order x", res.GetValue())
		assert.Equal(t, command, <-types)
		assert.Equal(t, "application/json", <-types)
	})
}

func TestOverridesThatTheReceiverObeys(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		slow := func(ctx context.Context, m *text) (*text, error) {
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(30 * time.Second):
				return m, nil
			}
		}
		say.Handle(server, slow)
		hurry.Handle(server, slow)
		attempts := 0
		once.Handle(server, func(ctx context.Context, m *text) (*text, error) {
			if attempts++; attempts == 1 {
				return nil, ack.Failf(ack.ToolTimeout, "slow tool")
			}
			return m, nil
		})
		start(t, server, client)

		_, err := say.Call(t.Context(), to(client, "server"), str("x"), exchange.HandlerTimeout(time.Second), exchange.MaxAttempts(1))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.InternalError})
		require.ErrorContains(t, err, "handler_timeout: the handler ran longer than 1s")
		_, err = hurry.Call(t.Context(), to(client, "server"), str("x"), exchange.HandlerTimeout(20*time.Second))
		require.ErrorContains(t, err, "longer than 20s")
		_, err = hurry.Call(t.Context(), to(client, "server"), str("x"), exchange.HandlerTimeout(time.Hour))
		require.NoError(t, err, "30 s are within the handler's own minute")

		_, err = once.Call(t.Context(), to(client, "server"), str("x"), exchange.RetryOn(ack.ToolTimeout))
		require.NoError(t, err, "the receiver runs again what its sender tries again")
		assert.Equal(t, 2, attempts)
	})
}

func TestTheOrderOfOneCall(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		gate := make(chan struct{})
		say.Handle(server, func(_ context.Context, m *text) (*text, error) {
			gate <- struct{}{}
			return m, nil
		})
		note.Handle(server, func(context.Context, *text) error {
			gate <- struct{}{}
			return nil
		})
		start(t, server, client)
		const n = 4
		inTurn := make([]*exchange.Pending[*text], n)
		atOnce := make([]*exchange.Delivery, n)
		for i := range n {
			var err error
			inTurn[i], err = say.Send(t.Context(), to(client, "server"), str("x"), exchange.OrderAgent)
			require.NoError(t, err)
			atOnce[i], err = note.Send(t.Context(), to(client, "server"), str("x"), exchange.OrderNone, exchange.WithCorrelation("talk"))
			require.NoError(t, err)
		}
		synctest.Wait()
		atOnceNow, inTurnNow := 0, 0
		for i := range n {
			if atOnce[i].Status().Stage == ack.Read {
				atOnceNow++
			}
			if inTurn[i].Status().Stage == ack.Read {
				inTurnNow++
			}
		}
		assert.Equal(t, n, atOnceNow, "one-way messages of one conversation run at once when the call says so")
		assert.Equal(t, 1, inTurnNow, "requests run one after another when the call says so")
		for range 2 * n {
			<-gate
		}
		for i := range n {
			require.NoError(t, atOnce[i].Outcome(t.Context()))
			_, err := inTurn[i].Response(t.Context())
			require.NoError(t, err)
		}
	})
}

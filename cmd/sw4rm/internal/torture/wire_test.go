package torture

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

// line is what an agent and a router tell each other, without either.
type line struct {
	t *testing.T
	*wire
	n uint64
}

func newLine(t *testing.T) *line {
	t.Helper()
	l := &line{t: t, wire: newWire("sender", newRecorder(), func(_ string, payload []byte) []byte { return payload })}
	l.hello("sender")
	l.hello("agent")
	return l
}

func (l *line) up(agent string, f *transportpb.AgentFrame) bool {
	l.t.Helper()
	passes := l.Up(l.t.Context(), agent, f)
	if passes {
		l.Sent(agent, f)
	}
	return passes
}

func (l *line) down(agent string, f *transportpb.RouterFrame) {
	l.t.Helper()
	require.True(l.t, l.Down(l.t.Context(), agent, f))
	l.Told(agent, f)
}

func (l *line) hello(agent string) {
	l.t.Helper()
	l.up(agent, &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Hello{Hello: &transportpb.Hello{AgentId: agent, StoreId: "s-" + agent, Epoch: 1}}})
	l.down(agent, &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Welcome{Welcome: &transportpb.Welcome{}}})
}

func (l *line) submit(agent string, class transportpb.Class, e *commonpb.Envelope) bool {
	l.t.Helper()
	l.n++
	return l.up(agent, &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Submit{Submit: &transportpb.Submit{N: l.n, To: "agent:agent", Class: class, Envelope: e}}})
}

// work has the sender submit a message, which the router accepts.
func (l *line) work(id string) {
	l.t.Helper()
	l.submit("sender", transportpb.Class_CLASS_WORK, &commonpb.Envelope{MessageId: id, IdempotencyToken: "t-" + id, CorrelationId: "c"})
	l.history.name("t-"+id, "op-"+id)
	l.down("sender", &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Answer{Answer: &transportpb.Answer{N: l.n, State: transportpb.Answer_STATE_NEW}}})
}

func (l *line) deliver(id string, seq int64) {
	l.t.Helper()
	l.down("agent", &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Delivery{Delivery: &transportpb.Delivery{
		Seq: seq, Class: transportpb.Class_CLASS_WORK, Envelope: &commonpb.Envelope{MessageId: id},
	}}})
}

func (l *line) ackDelivery(id string, seq int64) bool {
	l.t.Helper()
	return l.up("agent", &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_DeliveryAck{DeliveryAck: &transportpb.DeliveryAck{Seq: seq, MessageId: id}}})
}

func (l *line) reply(id, payload string) bool {
	l.t.Helper()
	return l.submit("agent", transportpb.Class_CLASS_ANSWER, &commonpb.Envelope{IdempotencyToken: envelope.ReplyToken("t-" + id), Payload: []byte(payload)})
}

// frame submits a frame, or with last what ends the stream.
func (l *line) frame(id string, n uint64, payload, last string) bool {
	l.t.Helper()
	ct := envelope.ContentType{Media: envelope.MediaProtobuf, Kind: envelope.KindFrame}
	content := []byte(payload)
	if last != "" {
		ct.Extra = []envelope.Param{{Name: "last", Value: last}}
		var err error
		content, err = proto.Marshal(&commonpb.Ack{AckForMessageId: id, AckStage: commonpb.AckStage_FULFILLED})
		require.NoError(l.t, err)
	}
	return l.submit("agent", transportpb.Class_CLASS_ANSWER, &commonpb.Envelope{
		IdempotencyToken: envelope.FrameToken("t-"+id, 1, n), ContentType: ct.String(), Payload: content,
	})
}

func (l *line) end(id string, stage ack.Stage, code ack.Code) bool {
	l.t.Helper()
	return l.submit("agent", transportpb.Class_CLASS_SIGNAL, &commonpb.Envelope{
		MessageType: commonpb.MessageType_ACKNOWLEDGEMENT, Payload: ack.Ack{ForMessageID: id, Stage: stage, Code: code}.Marshal(),
	})
}

// TestForgotten lets a handler run twice for nobody and for somebody, as the fault does.
func TestForgotten(t *testing.T) {
	for _, test := range []struct {
		name          string
		first, second func(l *line) bool
		again         int
		contrary      int
	}{
		{"the same reply", func(l *line) bool { return l.reply("a", "x") }, func(l *line) bool { return l.reply("a", "x") }, 1, 0},
		{"another reply", func(l *line) bool { return l.reply("a", "x") }, func(l *line) bool { return l.reply("a", "y") }, 1, 1},
		{
			"another outcome",
			func(l *line) bool { return l.end("a", ack.Fulfilled, ack.NoCode) },
			func(l *line) bool { return l.end("a", ack.Rejected, ack.ValidationError) }, 1, 1,
		},
		{"the same frame", func(l *line) bool { return l.frame("a", 1, "x", "") }, func(l *line) bool { return l.frame("a", 1, "x", "") }, 1, 0},
		{"another frame", func(l *line) bool { return l.frame("a", 1, "x", "") }, func(l *line) bool { return l.frame("a", 1, "y", "") }, 1, 1},
		{"more frames", func(l *line) bool { return l.frame("a", 3, "", "2") }, func(l *line) bool { return l.frame("a", 4, "", "3") }, 1, 1},
		{"the end in place of a frame", func(l *line) bool { return l.frame("a", 1, "x", "") }, func(l *line) bool { return l.frame("a", 1, "", "0") }, 0, 0},
		{
			"expired since",
			func(l *line) bool { return l.end("a", ack.Fulfilled, ack.NoCode) },
			func(l *line) bool { return l.end("a", ack.Failed, ack.TTLExpired) }, 0, 0,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLine(t)
			l.work("a")
			l.deliver("a", 1)
			l.mute()
			require.True(t, l.ackDelivery("a", 1))
			require.False(t, l.await(ended(t), l.allHandled), "its handler has not run")
			l.deafen()
			l.deliver("b", 2)
			require.False(t, l.ackDelivery("b", 2), "what comes after the copy is known to nobody")
			l.release()
			require.False(t, test.first(l), "nobody hears of it")
			l.end("a", ack.Failed, ack.InternalError)
			require.True(t, l.await(t.Context(), l.allHandled))
			require.Equal(t, 1, l.unmute())
			require.True(t, test.second(l))
			again, contrary := l.repeated()
			require.Equal(t, test.again, again)
			require.Len(t, contrary, test.contrary)
		})
	}
}

func ended(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestCustody keeps the router's word from the agent for a while, and notes it once it has come.
func TestCustody(t *testing.T) {
	l := newLine(t)
	l.work("a")
	l.deliver("a", 1)
	l.mute()
	l.ackDelivery("a", 1)
	word := &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_AckAnswer{AckAnswer: &transportpb.AckAnswer{Seq: 1, Recorded: true}}}
	require.False(t, l.Down(t.Context(), "agent", word))
	require.True(t, l.Down(t.Context(), "sender", word))
	l.deafen()
	l.release()
	require.True(t, l.ackDelivery("a", 1), "it asks again")
	l.down("agent", word)
	l.end("a", ack.Fulfilled, ack.NoCode)
	l.unmute()
	l.end("a", ack.Fulfilled, ack.NoCode)
	custody := map[history.Kind]int{}
	for _, e := range l.history.all() {
		if e.Op == history.Custody {
			require.Equal(t, "op-a", e.Key)
			require.Equal(t, "s-agent", e.Store)
			custody[e.Kind]++
		}
	}
	require.Equal(t, map[history.Kind]int{history.Call: 1, history.Return: 1}, custody)
}

// TestDisorder compares the order of deliveries with that of submissions, where both are known for sure.
func TestDisorder(t *testing.T) {
	l := newLine(t)
	for _, id := range []string{"a", "b", "c"} {
		l.work(id)
	}
	l.deliver("a", 1)
	l.deliver("c", 3)
	l.deliver("b", 2)
	found, compared := l.disorder()
	require.Equal(t, 2, compared)
	require.Len(t, found, 1)
	require.ErrorContains(t, found[0], "message c was delivered before b, which was submitted before it")

	l = newLine(t)
	l.work("a")
	l.work("b")
	l.hello("agent") // the stream before may have brought a
	l.deliver("b", 2)
	l.deliver("a", 1)
	found, compared = l.disorder()
	require.Zero(t, compared)
	require.Empty(t, found)

	l = newLine(t)
	l.work("a")
	l.work("b")
	l.work("a") // once more
	l.deliver("b", 2)
	l.deliver("a", 1)
	found, _ = l.disorder()
	require.Empty(t, found)
}

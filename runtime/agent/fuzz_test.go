package agent

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// FuzzDispatch lets a router say anything to an agent that has sent a message. The agent takes it, or ends the session, and its
// store works on.
func FuzzDispatch(f *testing.F) {
	work := &commonpb.Envelope{
		MessageId: "m", ProducerId: "p", CorrelationId: "c", IdempotencyToken: "p:o:1", MessageType: commonpb.MessageType_DATA,
		ContentType: `application/protobuf; message="google.protobuf.StringValue"; method="test.v1.Work/Do"`, Payload: []byte("\n\x01x"), ContentLength: 3,
	}
	signal := &commonpb.Envelope{
		MessageId: "k", ProducerId: "p", CorrelationId: "c", MessageType: commonpb.MessageType_ACKNOWLEDGEMENT,
		ContentType: "application/json", Payload: []byte(`{"ack_for_message_id":"m","ack_stage":3}`),
	}
	reply := proto.CloneOf(work)
	reply.IdempotencyToken, reply.ContentType = "worker:o:1:response:v1", work.GetContentType()+"; kind=reply"
	frame := proto.CloneOf(work)
	frame.IdempotencyToken, frame.ContentType = "worker:o:1:frame:1.1:v1", work.GetContentType()+"; kind=frame"
	add := func(frames ...*transportpb.RouterFrame) {
		b, err := proto.Marshal(&transportpb.ConnectResponse{Frames: frames})
		require.NoError(f, err)
		f.Add(b)
	}
	for n, e := range []*commonpb.Envelope{work, signal, reply, frame, {}, nil} {
		for _, to := range []string{"agent:worker", "capability:test.v1.Work", ""} {
			add(&transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Delivery{Delivery: &transportpb.Delivery{
				Seq: int64(n), To: to, Class: transportpb.Class(n % 4), Envelope: e,
			}}}, &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_AckAnswer{AckAnswer: &transportpb.AckAnswer{Seq: int64(n), Recorded: n%2 == 0}}})
		}
	}
	add(&transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Answer{Answer: &transportpb.Answer{N: 1, State: 99, Stage: 99, Code: 99}}},
		&transportpb.RouterFrame{Frame: &transportpb.RouterFrame_WithdrawAnswer{WithdrawAnswer: &transportpb.WithdrawAnswer{N: 1}}})
	add(&transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Goodbye{Goodbye: &transportpb.Goodbye{Reason: 3}}}, &transportpb.RouterFrame{})

	do := exchange.NewCall[wrapperspb.StringValue, wrapperspb.StringValue]("test.v1.Work/Do")
	f.Fuzz(func(t *testing.T, b []byte) {
		var res transportpb.ConnectResponse
		if proto.Unmarshal(b, &res) != nil || len(res.GetFrames()) > 64 {
			return
		}
		a, err := NewMemory(Config{ID: "worker", Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		do.Handle(a, func(_ context.Context, m *wrapperspb.StringValue) (*wrapperspb.StringValue, error) { return m, nil })
		require.NoError(t, a.reg.freeze())
		a.outbox.use(quietSession{})
		to := exchange.NewClient(a, address.Agent("peer"))
		_, err = do.Send(t.Context(), to, wrapperspb.String("x"))
		require.NoError(t, err)
		if err := (&stream{events: a}).dispatch(res.GetFrames()); err != nil {
			var goodbye *goodbyeError
			require.ErrorAs(t, err, &goodbye)
		}
		a.work.wait()
		_, err = do.Send(t.Context(), to, wrapperspb.String("y"))
		require.NoError(t, err, "its store works on")
		require.NoError(t, a.Close())
	})
}

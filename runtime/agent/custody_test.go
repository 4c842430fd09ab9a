package agent

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestCapabilityNeedsSession delivers a capability's message of a session that has ended by the time it is looked at.
// Without the router's word another member may get it, so it must not run here.
func TestCapabilityNeedsSession(t *testing.T) {
	type text = wrapperspb.StringValue
	a, err := NewMemory(Config{ID: "worker", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	tell := exchange.NewOneWay[text]("test.v1.Work/Tell")
	tell.Handle(a, func(context.Context, *text) error {
		t.Error("the handler ran")
		return nil
	})
	require.NoError(t, a.reg.freeze())

	a.delivered(&transportpb.Delivery{
		Seq: 1, To: "capability:test.v1.Work", Class: transportpb.Class_CLASS_WORK,
		Envelope: &commonpb.Envelope{
			MessageId: envelope.NewID(), ProducerId: "client", CorrelationId: envelope.NewID(), MessageType: commonpb.MessageType_DATA,
			ContentType: envelope.ContentType{Media: envelope.MediaProtobuf, Message: "google.protobuf.StringValue", Method: "test.v1.Work/Tell"}.String(),
		},
	})
	a.work.wait()
	require.Empty(t, a.buf.OpenIn())
	require.Zero(t, a.inflow.used)
}

// quietSession is a session to a router that answers nothing by itself.
type quietSession struct{}

func (quietSession) submit(*transportpb.Submit)               {}
func (quietSession) withdraw(*transportpb.Withdraw)           {}
func (quietSession) ackDelivery(*transportpb.DeliveryAck)     {}
func (quietSession) credit(transportpb.Class, uint32, uint64) {}
func (quietSession) drain()                                   {}
func (quietSession) asks() bool                               { return true }
func (quietSession) routerStart() string                      { return "" }
func (quietSession) routerID() string                         { return "router" }
func (quietSession) run(context.Context) error                { return nil }

// TestCustodyUnderAnotherNumber loses the router's word on a message, and has it delivered again under another number: that is
// how the router reminds an agent of what it has. The word on the new number counts, and that on the former does not.
func TestCustodyUnderAnotherNumber(t *testing.T) {
	a, err := NewMemory(Config{ID: "worker", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	tell := exchange.NewOneWay[wrapperspb.StringValue]("test.v1.Work/Tell")
	tell.Handle(a, func(context.Context, *wrapperspb.StringValue) error { return nil })
	require.NoError(t, a.reg.freeze())
	a.outbox.use(quietSession{})
	d := &transportpb.Delivery{
		To: "capability:test.v1.Work", Class: transportpb.Class_CLASS_WORK,
		Envelope: &commonpb.Envelope{
			MessageId: envelope.NewID(), ProducerId: "client", CorrelationId: envelope.NewID(), MessageType: commonpb.MessageType_DATA,
			ContentType: envelope.ContentType{Media: envelope.MediaProtobuf, Message: "google.protobuf.StringValue", Method: "test.v1.Work/Tell"}.String(),
		},
	}
	for _, number := range []int64{1, 2} {
		d.Seq = number
		a.delivered(d)
		a.work.wait()
		require.Len(t, a.buf.OpenIn(), 1)
		require.True(t, a.buf.OpenIn()[0].GetAwaitsCustody())
	}
	a.custody(&transportpb.AckAnswer{Seq: 1})
	a.work.wait()
	require.Len(t, a.buf.OpenIn(), 1, "the word on the former number drops nothing")
	require.True(t, a.buf.OpenIn()[0].GetAwaitsCustody())
	a.custody(&transportpb.AckAnswer{Seq: 2, Recorded: true})
	a.work.wait()
	for _, rec := range a.buf.OpenIn() {
		require.False(t, rec.GetAwaitsCustody())
	}
	require.Empty(t, a.custodies.waiting())
}

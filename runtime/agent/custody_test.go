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

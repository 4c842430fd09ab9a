package exchange_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestDynamic describes an exchange by descriptors, as the same one is described by its types.
func TestDynamic(t *testing.T) {
	request := dynamicpb.NewMessageType((&wrapperspb.StringValue{}).ProtoReflect().Descriptor())
	reply := dynamicpb.NewMessageType((&durationpb.Duration{}).ProtoReflect().Descriptor())
	opts := []exchange.Option{exchange.ToolCall, exchange.MaxAttempts(3), exchange.Idempotent()}
	typed := exchange.NewCall[wrapperspb.StringValue, durationpb.Duration]("a.S/M", opts...).Descriptor()
	d := exchange.NewDynamic("a.S/M", exchange.KindCall, request, reply, opts...)
	require.NoError(t, d.Validate())
	require.Equal(t, typed.Name(), d.Name())
	require.Equal(t, typed.Kind(), d.Kind())
	require.Equal(t, typed.Policy(), d.Policy())
	require.Equal(t, typed.RequestName(), d.RequestName())
	require.Equal(t, typed.ReplyName(), d.ReplyName())
	m := d.NewRequest()
	require.NoError(t, proto.Unmarshal([]byte{0x0a, 1, 'x'}, m))
	got, err := d.ContentKey(m)
	require.NoError(t, err)
	want, err := typed.ContentKey(wrapperspb.String("x"))
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NotSame(t, d.NewReply(), d.NewReply())
	require.Nil(t, exchange.NewDynamic("a.S/M", exchange.KindOneWay, request, nil).NewReply())
}

package envelope_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

// FuzzEnvelope: whatever bytes come as an envelope are refused with a code, or valid, and then the same after having been
// encoded again. The same holds for its payload.
func FuzzEnvelope(f *testing.F) {
	for _, e := range []*commonpb.Envelope{
		{},
		{MessageId: "m", ProducerId: "p", CorrelationId: "c", MessageType: commonpb.MessageType_DATA},
		{
			MessageId: "m", ProducerId: "p", CorrelationId: "c", MessageType: commonpb.MessageType_ACKNOWLEDGEMENT, IdempotencyToken: "p:o:1",
			ContentType: "application/json", Payload: []byte(`{"a":[1,null]}`), ContentLength: 14, TtlMs: 1, HlcTimestamp: "HLC:1:2:n",
		},
		{
			MessageId: "m", ProducerId: "p", CorrelationId: "c", MessageType: 77, ContentType: "application/protobuf; message=\"a.B\"",
			Payload: []byte("\n\x05\n\x01k\x12\x00"), ContentLength: 9, SequenceNumber: 1 << 63, RetryCount: 1 << 31,
		},
	} {
		b, err := proto.Marshal(e)
		require.NoError(f, err)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	const limit = 1 << 16
	f.Fuzz(func(t *testing.T, b []byte) {
		var e commonpb.Envelope
		if proto.Unmarshal(b, &e) != nil {
			return
		}
		var refused *ack.Error
		if err := envelope.Validate(&e, envelope.Limits{MaxBytes: limit}); err != nil {
			require.ErrorAs(t, err, &refused)
			require.Equal(t, ack.Rejected, refused.Stage)
			require.NotEmpty(t, refused.Note)
			return
		}
		require.LessOrEqual(t, proto.Size(&e), limit)
		out, err := proto.Marshal(&e)
		require.NoError(t, err)
		var again commonpb.Envelope
		require.NoError(t, proto.Unmarshal(out, &again))
		require.True(t, proto.Equal(&e, &again))
		require.NoError(t, envelope.Validate(&again, envelope.Limits{MaxBytes: limit}))

		var payload structpb.Struct
		if err := envelope.Decode(e.GetContentType(), e.GetPayload(), &payload); err != nil {
			require.ErrorAs(t, err, &refused)
			return
		}
		coded, err := proto.Marshal(&payload)
		require.NoError(t, err)
		var same structpb.Struct
		require.NoError(t, envelope.Decode(envelope.MediaProtobuf, coded, &same))
		require.True(t, proto.Equal(&payload, &same))
	})
}

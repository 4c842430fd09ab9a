package envelope_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

func valid() *commonpb.Envelope {
	return &commonpb.Envelope{
		MessageId: envelope.NewID(), ProducerId: "a-1", CorrelationId: envelope.NewID(), IdempotencyToken: "a-1:op:0011223344556677",
		MessageType: commonpb.MessageType_DATA, ContentType: envelope.MediaProtobuf, ContentLength: 3, Payload: []byte("abc"),
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*commonpb.Envelope)
		want   string // empty: valid
	}{
		"valid":                 {func(*commonpb.Envelope) {}, ""},
		"foreign content type":  {func(e *commonpb.Envelope) { e.ContentType = "application/vnd.sw4rm.x+json;v=1" }, ""},
		"ids without UUID":      {func(e *commonpb.Envelope) { e.MessageId, e.CorrelationId = "m1", "wf:7" }, ""},
		"no token":              {func(e *commonpb.Envelope) { e.IdempotencyToken = "" }, ""},
		"token of other script": {func(e *commonpb.Envelope) { e.IdempotencyToken = "λ agent:操作:1237c18398ffb569" }, ""},
		"no payload":            {func(e *commonpb.Envelope) { e.Payload, e.ContentLength, e.ContentType = nil, 0, "" }, ""},
		"zero sequence":         {func(e *commonpb.Envelope) { e.SequenceNumber = 0 }, ""},
		"no message id":         {func(e *commonpb.Envelope) { e.MessageId = "" }, "message_id is empty"},
		"bad message id":        {func(e *commonpb.Envelope) { e.MessageId = "a\nb" }, "message_id"},
		"no producer":           {func(e *commonpb.Envelope) { e.ProducerId = "" }, "producer_id is empty"},
		"bad producer":          {func(e *commonpb.Envelope) { e.ProducerId = strings.Repeat("p", 129) }, "129 bytes"},
		"no correlation":        {func(e *commonpb.Envelope) { e.CorrelationId = "" }, "correlation_id is empty"},
		"no type":               {func(e *commonpb.Envelope) { e.MessageType = 0 }, "message_type is missing"},
		"unknown type":          {func(e *commonpb.Envelope) { e.MessageType = 77 }, "message_type 77"},
		"short length":          {func(e *commonpb.Envelope) { e.ContentLength = 2 }, "content_length is 2"},
		"length without bytes":  {func(e *commonpb.Envelope) { e.Payload = nil }, "content_length is 3"},
		"no content type":       {func(e *commonpb.Envelope) { e.ContentType = "" }, "content_type is missing"},
		"bad content type":      {func(e *commonpb.Envelope) { e.ContentType = "json" }, "content type"},
		"long token":            {func(e *commonpb.Envelope) { e.IdempotencyToken = strings.Repeat("t", 513) }, "513 bytes"},
		"token with line feed":  {func(e *commonpb.Envelope) { e.IdempotencyToken = "a\nb" }, "not printable"},
		"token with bad UTF-8":  {func(e *commonpb.Envelope) { e.IdempotencyToken = "a\xffb" }, "not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := valid()
			tc.change(e)
			err := envelope.Validate(e, envelope.Limits{})
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
			assert.Contains(t, err.Error(), tc.want)
		})
	}
}

func TestValidateSize(t *testing.T) {
	t.Parallel()
	e := valid()
	size := proto.Size(e)
	require.NoError(t, envelope.Validate(e, envelope.Limits{MaxBytes: size}))
	err := envelope.Validate(e, envelope.Limits{MaxBytes: size - 1})
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.OversizePayload})
	assert.ErrorContains(t, err, "the limit is")

	e.Payload = make([]byte, envelope.DefaultMaxBytes)
	e.ContentLength = uint64(len(e.GetPayload()))
	require.ErrorIs(t, envelope.Validate(e, envelope.Limits{}), &ack.Error{Code: ack.OversizePayload})
	require.ErrorIs(t, envelope.Validate(nil, envelope.Limits{}), &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
}

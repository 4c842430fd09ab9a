package envelope_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

func TestCodec(t *testing.T) {
	t.Parallel()
	m := &commonpb.Ack{AckForMessageId: "m", Note: "é"}
	for name, tc := range map[string]struct {
		format exchange.Format
		media  string
	}{
		"protobuf":         {exchange.Protobuf, envelope.MediaProtobuf},
		"with parameters":  {exchange.Protobuf, `Application/Protobuf ; message="x"`},
		"protobuf suffix":  {exchange.Protobuf, "application/vnd.x+protobuf;v=1"},
		"JSON":             {exchange.JSON, envelope.MediaJSON},
		"JSON suffix":      {exchange.JSON, "application/vnd.x+JSON"},
		"media of format":  {exchange.JSON, envelope.Media(exchange.JSON)},
		"media of default": {exchange.Protobuf, envelope.Media(exchange.Protobuf)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := envelope.Encode(m, tc.format)
			require.NoError(t, err)
			var got commonpb.Ack
			require.NoError(t, envelope.Decode(tc.media, b, &got))
			assert.True(t, proto.Equal(m, &got))
		})
	}
	t.Run("unknown JSON fields", func(t *testing.T) {
		t.Parallel()
		var got commonpb.Ack
		require.NoError(t, envelope.Decode(envelope.MediaJSON, []byte(`{"note":"n","other":{"a":1}}`), &got))
		assert.Equal(t, "n", got.GetNote())
	})
}

func TestCodecErrors(t *testing.T) {
	t.Parallel()
	var missing *commonpb.Ack
	deep := []byte{}
	for range 101 { // Value{list_value: ListValue{values: [Value …]}}
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), deep)
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), deep)
	}
	encode := func(m proto.Message, f exchange.Format) error {
		_, err := envelope.Encode(m, f)
		return err
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"encode nil":       {encode(nil, exchange.Protobuf), "nil"},
		"encode typed nil": {encode(missing, exchange.JSON), "nil"},
		"encode format":    {encode(&commonpb.Ack{}, 7), "format 7"},
		"encode bad text":  {encode(&commonpb.Ack{Note: "\xff"}, exchange.Protobuf), "encode sw4rm.common.Ack"},
		"decode into nil":  {envelope.Decode(envelope.MediaJSON, nil, nil), "decode into"},
		"decode typed nil": {envelope.Decode(envelope.MediaJSON, nil, missing), "decode into"},
		"decode media":     {envelope.Decode("text/plain", nil, &commonpb.Ack{}), `"text/plain"`},
		"decode no media":  {envelope.Decode("", nil, &commonpb.Ack{}), `""`},
		"decode protobuf":  {envelope.Decode(envelope.MediaProtobuf, []byte{0xff}, &commonpb.Ack{}), "decode sw4rm.common.Ack"},
		"decode JSON":      {envelope.Decode(envelope.MediaJSON, []byte("{"), &commonpb.Ack{}), "decode sw4rm.common.Ack"},
		"decode deep":      {envelope.Decode(envelope.MediaProtobuf, deep, &structpb.Value{}), "recursion"},
		"decode deep JSON": {envelope.Decode(envelope.MediaJSON, []byte(strings.Repeat("[", 200)), &structpb.Value{}), "recursion"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, tc.err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
			assert.Contains(t, tc.err.Error(), tc.want)
		})
	}
}

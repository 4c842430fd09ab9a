package envelope

import (
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// recursionLimit bounds how deep a payload's messages are nested; a deeper one costs more stack than it is worth.
const recursionLimit = 100

// Encode returns m's payload in format f. A nil message, an unknown format and a message that cannot be encoded are an
// *ack.Error, REJECTED with VALIDATION_ERROR.
func Encode(m proto.Message, f exchange.Format) ([]byte, error) {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil, ack.Rejectf(ack.ValidationError, "the message is nil")
	}
	var b []byte
	var err error
	switch f {
	case exchange.Protobuf:
		b, err = proto.Marshal(m)
	case exchange.JSON:
		b, err = protojson.Marshal(m)
	default:
		return nil, ack.Rejectf(ack.ValidationError, "payload format %d is unknown", f)
	}
	if err != nil {
		return nil, ack.Rejectf(ack.ValidationError, "encode %s: %v", proto.MessageName(m), err)
	}
	return b, nil
}

// Media returns the media type of what Encode returns for f.
func Media(f exchange.Format) string {
	if f == exchange.JSON {
		return MediaJSON
	}
	return MediaProtobuf
}

// Decode reads a payload of the given content type or media type into a message: application/protobuf and types ending in
// +protobuf as protobuf, application/json and types ending in +json as protobuf's JSON with unknown fields left out. Any
// other type, and a payload that does not decode, are an *ack.Error, REJECTED with VALIDATION_ERROR.
func Decode(media string, payload []byte, into proto.Message) error {
	if into == nil || !into.ProtoReflect().IsValid() {
		return ack.Rejectf(ack.ValidationError, "there is no message to decode into")
	}
	format, ok := exchange.FormatOf(media)
	if !ok {
		return ack.Rejectf(ack.ValidationError, "content type %q is neither protobuf nor JSON", media)
	}
	var err error
	if format == exchange.JSON {
		err = protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: recursionLimit}.Unmarshal(payload, into)
	} else {
		err = proto.UnmarshalOptions{RecursionLimit: recursionLimit}.Unmarshal(payload, into)
	}
	if err != nil {
		return ack.Rejectf(ack.ValidationError, "decode %s from %s: %v", proto.MessageName(into), bare(media), err)
	}
	return nil
}

// bare is a media type without parameters, in lower case.
func bare(media string) string {
	kind, _, _ := strings.Cut(media, ";")
	return strings.ToLower(trim(kind))
}

package envelope

import (
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// DefaultMaxBytes is the largest encoded envelope: what gRPC clients receive unless told otherwise, less room for the
// message around it.
const DefaultMaxBytes = 4<<20 - 64<<10

// Limits bound an envelope.
type Limits struct {
	// MaxBytes is the largest encoded size; 0 and less mean DefaultMaxBytes.
	MaxBytes int
}

// Validate returns an *ack.Error, REJECTED with VALIDATION_ERROR or OVERSIZE_PAYLOAD, unless e may be stored and sent. It
// asks for the fields that SW4RM requires (messages.md, spec 11) and for nothing else: ids need not be UUIDs, and any
// well-formed content type will do.
func Validate(e *commonpb.Envelope, l Limits) error {
	if e == nil {
		return ack.Rejectf(ack.ValidationError, "the envelope is missing")
	}
	limit := l.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	if size := proto.Size(e); size > limit {
		return ack.Rejectf(ack.OversizePayload, "the envelope has %d bytes, the limit is %d", size, limit)
	}
	for _, id := range []struct{ what, value string }{
		{"message_id", e.GetMessageId()},
		{"producer_id", e.GetProducerId()},
		{"correlation_id", e.GetCorrelationId()},
	} {
		if err := CheckID(id.what, id.value); err != nil {
			return ack.Rejectf(ack.ValidationError, "%v", err)
		}
	}
	if err := checkToken(e.GetIdempotencyToken()); err != nil {
		return err
	}
	if t := e.GetMessageType(); t == commonpb.MessageType_MESSAGE_TYPE_UNSPECIFIED {
		return ack.Rejectf(ack.ValidationError, "message_type is missing")
	} else if _, known := commonpb.MessageType_name[int32(t)]; !known {
		return ack.Rejectf(ack.ValidationError, "message_type %d is unknown", int32(t))
	}
	return checkPayload(e)
}

func checkToken(token string) error {
	if len(token) > MaxToken {
		return ack.Rejectf(ack.ValidationError, "idempotency_token has %d bytes, more than %d", len(token), MaxToken)
	}
	if !utf8.ValidString(token) {
		return ack.Rejectf(ack.ValidationError, "idempotency_token is not UTF-8")
	}
	for _, r := range token {
		if !unicode.IsPrint(r) {
			return ack.Rejectf(ack.ValidationError, "idempotency_token has %q, which is not printable", r)
		}
	}
	return nil
}

func checkPayload(e *commonpb.Envelope) error {
	if n := uint64(len(e.GetPayload())); e.GetContentLength() != n {
		return ack.Rejectf(ack.ValidationError, "content_length is %d, the payload has %d bytes", e.GetContentLength(), n)
	}
	if e.GetContentType() == "" {
		if len(e.GetPayload()) > 0 {
			return ack.Rejectf(ack.ValidationError, "content_type is missing")
		}
		return nil
	}
	if _, err := ParseContentType(e.GetContentType()); err != nil {
		return ack.Rejectf(ack.ValidationError, "content_type: %v", err)
	}
	return nil
}

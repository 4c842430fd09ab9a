package router

import (
	"strings"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

// classOf returns the class of an envelope whose sender named none: acknowledgements are signals; replies, frames, what
// their reader says of them and tool results are answers; the rest is work.
func classOf(e *commonpb.Envelope, t envelope.ContentType) transportpb.Class {
	switch e.GetMessageType() {
	case commonpb.MessageType_ACKNOWLEDGEMENT:
		return transportpb.Class_CLASS_SIGNAL
	case commonpb.MessageType_TOOL_RESULT, commonpb.MessageType_TOOL_ERROR:
		return transportpb.Class_CLASS_ANSWER
	}
	for _, kind := range []string{envelope.KindReply, envelope.KindFrame, envelope.KindWindow} {
		if strings.EqualFold(t.Kind, kind) {
			return transportpb.Class_CLASS_ANSWER
		}
	}
	// Peers with content types of their own mark a reply by its token alone.
	if _, ok := envelope.RequestToken(e.GetIdempotencyToken()); ok {
		return transportpb.Class_CLASS_ANSWER
	}
	return transportpb.Class_CLASS_WORK
}

// checkClass returns the class to use for an envelope whose sender may have named one.
func checkClass(named transportpb.Class, e *commonpb.Envelope, t envelope.ContentType) (transportpb.Class, error) {
	own := classOf(e, t)
	switch named {
	case transportpb.Class_CLASS_UNSPECIFIED:
		return own, nil
	case transportpb.Class_CLASS_WORK, transportpb.Class_CLASS_ANSWER, transportpb.Class_CLASS_SIGNAL:
	default:
		return 0, ack.Rejectf(ack.ValidationError, "class %d is unknown", int32(named))
	}
	if (own == transportpb.Class_CLASS_SIGNAL) != (named == transportpb.Class_CLASS_SIGNAL) {
		return 0, ack.Rejectf(ack.ValidationError, "class %s does not fit message type %s", named, e.GetMessageType())
	}
	return named, nil
}

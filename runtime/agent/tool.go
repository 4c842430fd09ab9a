package agent

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	toolpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/tool"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// paramStage is the parameter of a tool's error that tells the stage of the acknowledgement beside it.
const paramStage = "stage"

// The names of the messages that peers wrap a tool's results in.
var (
	toolFrameName = string(proto.MessageName((*toolpb.ToolFrame)(nil)))
	toolErrorName = string(proto.MessageName((*toolpb.ToolError)(nil)))
)

func isToolCall(rec *storagepb.InRecord) bool {
	return rec.GetMessageType() == commonpb.MessageType_TOOL_CALL
}

// resultType is the message type of what a message is answered with.
func resultType(rec *storagepb.InRecord) commonpb.MessageType {
	if isToolCall(rec) {
		return commonpb.MessageType_TOOL_RESULT
	}
	return commonpb.MessageType_DATA
}

// isToolError tells whether a finished message is answered with a tool's error.
func isToolError(rec *storagepb.InRecord) bool {
	return isToolCall(rec) && ack.Stage(rec.GetOutcome().GetStage()) != ack.Fulfilled
}

// toolError says of what a tool has failed.
func toolError(rec *storagepb.InRecord) *toolpb.ToolError {
	o := rec.GetOutcome()
	e := &toolpb.ToolError{CallId: requestID(rec), Message: o.GetNote()}
	if code := ack.Code(o.GetCode()); code != ack.NoCode {
		e.ErrorCode = code.String()
	}
	return e
}

// toolErrorEnvelope makes the envelope of a tool's error beside the acknowledgement of its failure.
func (a *Agent) toolErrorEnvelope(rec *storagepb.InRecord, messageID string) (*commonpb.Envelope, error) {
	request, err := envelope.ParseContentType(rec.GetContentType())
	if err != nil {
		return nil, err
	}
	format, _ := exchange.FormatOf(request.Media) // protobuf where the request could not be read
	marshal := proto.Marshal
	if format == exchange.JSON {
		marshal = protojson.MarshalOptions{UseProtoNames: true}.Marshal // as peers that know no protobuf write it
	}
	payload, err := marshal(toolError(rec))
	if err != nil {
		return nil, fmt.Errorf("encode a tool's error: %w", err)
	}
	ct := envelope.ContentType{Media: envelope.Media(format)}
	if request.Method != "" {
		ct.Message, ct.Method, ct.Kind = toolErrorName, request.Method, envelope.KindReply
		ct.Extra = []envelope.Param{{Name: paramStage, Value: ack.Stage(rec.GetOutcome().GetStage()).String()}}
	}
	env := a.reverse(messageID, rec.GetCorrelationId(), commonpb.MessageType_TOOL_ERROR, ct.String(), payload)
	if rec.GetToken() != "" {
		env.IdempotencyToken = envelope.ReplyToken(rec.GetToken())
	}
	return env, nil
}

// parseToolError reads a tool's error as the outcome that it is. Codes that the protocol does not number come in the note.
func parseToolError(env *commonpb.Envelope, ct envelope.ContentType) (ack.Ack, error) {
	var e toolpb.ToolError
	if _, ok := exchange.FormatOf(ct.Media); ok {
		if err := envelope.Decode(ct.Media, env.GetPayload(), &e); err != nil {
			return ack.Ack{}, err
		}
	} else if len(env.GetPayload()) > 0 {
		return ack.Ack{}, fmt.Errorf("content type %q is neither protobuf nor JSON", ct.Media)
	}
	sig := ack.Ack{ForMessageID: e.GetCallId(), Stage: ack.Failed, Code: ack.InternalError, Note: e.GetMessage()}
	if param(ct, paramStage) == ack.Rejected.String() {
		sig.Stage = ack.Rejected
	}
	if code, ok := ack.CodeByName(e.GetErrorCode()); ok {
		sig.Code = code
	} else if e.GetErrorCode() != "" {
		sig.Note = strings.TrimSuffix(e.GetErrorCode()+": "+e.GetMessage(), ": ")
	}
	return sig, nil
}

// unwrap takes a tool's result out of the ToolFrame that a peer may have put it into, and tells whether it is the last. A
// result that is the exchange's own message is left as it is.
func unwrap(d *exchange.Descriptor, env *commonpb.Envelope, ct envelope.ContentType) (body *storagepb.Body, final bool, err error) {
	body = &storagepb.Body{ContentType: env.GetContentType(), Payload: env.GetPayload()}
	if env.GetMessageType() != commonpb.MessageType_TOOL_RESULT || d != nil && d.ReplyName() == toolFrameName {
		return body, false, nil
	}
	if ct.Message != toolFrameName && (ct.Message != "" || !looksLikeToolFrame(ct, env.GetPayload())) {
		return body, false, nil
	}
	var frame toolpb.ToolFrame
	if err := envelope.Decode(ct.Media, env.GetPayload(), &frame); err != nil {
		return nil, false, err
	}
	body = &storagepb.Body{ContentType: frame.GetContentType(), Payload: frame.GetData()}
	if body.ContentType == "" {
		body.ContentType = ct.Media
	}
	if _, err := envelope.ParseContentType(body.GetContentType()); err != nil {
		return nil, false, err
	}
	return body, frame.GetFinal(), nil
}

// looksLikeToolFrame tells whether a JSON payload has the fields that every ToolFrame has.
func looksLikeToolFrame(ct envelope.ContentType, payload []byte) bool {
	if f, ok := exchange.FormatOf(ct.Media); !ok || f != exchange.JSON {
		return false
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(payload, &fields); err != nil {
		return false
	}
	has := func(names ...string) bool {
		for _, name := range names {
			if _, ok := fields[name]; ok {
				return true
			}
		}
		return false
	}
	return has("call_id", "callId") && has("frame_no", "frameNo", "data", "final")
}

// attemptFor returns id when it is an attempt's, else the newest attempt: a peer's call ids are its own.
func attemptFor(rec *storagepb.OutRecord, id string) string {
	for _, at := range rec.GetAttempts() {
		if at.GetMessageId() == id {
			return id
		}
	}
	return lastAttempt(rec).GetMessageId()
}

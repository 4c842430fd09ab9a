package ack

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
)

// ContentType is the media type of acknowledgement payloads that this module sends.
const ContentType = "application/json"

// stageFailedOfPython is what a Python peer sends for FAILED: its constants name AgentState's 10 by the same word.
const stageFailedOfPython = 10

// Ack is the content of an ACKNOWLEDGEMENT envelope.
type Ack struct {
	// ForMessageID names the acknowledged attempt.
	ForMessageID string
	Stage        Stage
	Code         Code
	Note         string
}

// wire has the keys that all SDKs write.
type wire struct {
	ForMessageID string `json:"ack_for_message_id"`
	Stage        number `json:"ack_stage"`
	Code         number `json:"error_code"`
	Note         string `json:"note"`
}

// number is an enumeration's value, written as a number and read as a number or a name in any case.
type number struct {
	value int32
	name  string
}

func (n number) MarshalJSON() ([]byte, error) { return json.Marshal(n.value) }

func (n *number) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &n.name)
	}
	return json.Unmarshal(b, &n.value)
}

func (n number) resolve(names map[string]int32) (int32, error) {
	if n.name == "" {
		return n.value, nil
	}
	if v, ok := names[strings.ToUpper(n.name)]; ok {
		return v, nil
	}
	return 0, fmt.Errorf("%q is not a name of the protocol", n.name)
}

// Marshal returns the JSON payload with numbers for stage and code.
func (a Ack) Marshal() []byte {
	b, err := json.Marshal(wire{
		ForMessageID: a.ForMessageID,
		Stage:        number{value: int32(a.Stage)},
		Code:         number{value: int32(a.Code)},
		Note:         a.Note,
	})
	if err != nil { // strings and numbers always marshal
		return nil
	}
	return b
}

// Parse reads an acknowledgement's payload: JSON with numbers or names in any case, or protobuf when contentType says so.
// An unknown code is kept; an unknown stage or a missing message id is an error.
func Parse(contentType string, payload []byte) (Ack, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		media, _, _ = strings.Cut(strings.ToLower(contentType), ";")
	}
	var a Ack
	if media == "application/protobuf" {
		a, err = parseProtobuf(payload)
	} else {
		a, err = parseJSON(payload)
	}
	if err != nil {
		return Ack{}, fmt.Errorf("acknowledgement: %w", err)
	}
	if a.Stage == stageFailedOfPython {
		a.Stage = Failed
	}
	if a.ForMessageID == "" {
		return Ack{}, fmt.Errorf("acknowledgement: ack_for_message_id is empty")
	}
	if a.Stage < Received || a.Stage > TimedOut {
		return Ack{}, fmt.Errorf("acknowledgement of %q: ack_stage %d is none of 1 to 6", a.ForMessageID, a.Stage)
	}
	return a, nil
}

func parseProtobuf(payload []byte) (Ack, error) {
	var m commonpb.Ack
	if err := proto.Unmarshal(payload, &m); err != nil {
		return Ack{}, fmt.Errorf("decode sw4rm.common.Ack: %w", err)
	}
	return Ack{
		ForMessageID: m.GetAckForMessageId(),
		Stage:        Stage(m.GetAckStage()),
		Code:         Code(m.GetErrorCode()),
		Note:         m.GetNote(),
	}, nil
}

func parseJSON(payload []byte) (Ack, error) {
	var w wire
	if err := json.Unmarshal(payload, &w); err != nil {
		return Ack{}, fmt.Errorf("decode JSON: %w", err)
	}
	stage, err := w.Stage.resolve(commonpb.AckStage_value)
	if err != nil {
		return Ack{}, fmt.Errorf("ack_stage: %w", err)
	}
	code, err := w.Code.resolve(commonpb.ErrorCode_value)
	if err != nil {
		// A code that the enumeration lacks is still a failure; its name stays readable.
		code = int32(InternalError)
		w.Note = strings.TrimSpace(strings.ToLower(w.Code.name) + " " + w.Note)
	}
	return Ack{ForMessageID: w.ForMessageID, Stage: Stage(stage), Code: Code(code), Note: w.Note}, nil
}

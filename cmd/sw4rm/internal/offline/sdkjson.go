package offline

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// sdkFile is the activity buffer of the other SDKs: one JSON object with all records.
type sdkFile struct {
	Records map[string]*sdkRecord `json:"records"`
	Order   []string              `json:"order"`
	Version string                `json:"version"`

	omitted int // received messages whose id has a record already: of one to itself, an agent has both sides
	bare    int // records without their payloads, which were not kept or are lost
}

type sdkRecord struct {
	MessageID string      `json:"message_id"`
	Direction string      `json:"direction"`
	Envelope  sdkEnvelope `json:"envelope"`
	TsMs      int64       `json:"ts_ms"`
	AckStage  sdkEnum     `json:"ack_stage"`
	ErrorCode sdkEnum     `json:"error_code"`
	AckNote   string      `json:"ack_note"`
}

// sdkEnvelope is an envelope as those SDKs write it.
type sdkEnvelope struct {
	MessageID           string     `json:"message_id"`
	IdempotencyToken    string     `json:"idempotency_token,omitempty"`
	ProducerID          string     `json:"producer_id"`
	CorrelationID       string     `json:"correlation_id"`
	SequenceNumber      uint64     `json:"sequence_number"`
	RetryCount          uint32     `json:"retry_count"`
	MessageType         sdkEnum    `json:"message_type"`
	ContentType         string     `json:"content_type"`
	ContentLength       uint64     `json:"content_length"`
	RepoID              string     `json:"repo_id,omitempty"`
	WorktreeID          string     `json:"worktree_id,omitempty"`
	TTLMs               uint64     `json:"ttl_ms"`
	Payload             sdkPayload `json:"payload,omitempty"`
	State               sdkEnum    `json:"state"`
	ParentCorrelationID string     `json:"parent_correlation_id,omitempty"`
	// BytesFields names the fields that are base64; PayloadIsBase64 is how earlier versions said it.
	BytesFields     []string `json:"_bytes_fields,omitempty"`
	PayloadIsBase64 bool     `json:"_payload_is_b64,omitempty"`
}

// sdkEnum is a number, or one of the enumeration's names in any case.
type sdkEnum struct {
	number int32
	name   string
}

// MarshalJSON implements json.Marshaler.
func (e sdkEnum) MarshalJSON() ([]byte, error) { return json.Marshal(e.number) }

// UnmarshalJSON implements json.Unmarshaler.
func (e *sdkEnum) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	if err := json.Unmarshal(text, &e.number); err == nil {
		return nil
	}
	return json.Unmarshal(text, &e.name)
}

// in returns the number, by the enumeration's names where a name was given.
func (e sdkEnum) in(values map[string]int32) (int32, error) {
	if e.name == "" {
		return e.number, nil
	}
	n, ok := values[strings.ToUpper(e.name)]
	if !ok {
		return 0, fmt.Errorf("%q is no value of the protocol", e.name)
	}
	return n, nil
}

// sdkPayload is text, base64 or not, or a list of bytes.
type sdkPayload struct {
	text  string
	bytes []byte
}

// MarshalJSON implements json.Marshaler.
func (p sdkPayload) MarshalJSON() ([]byte, error) { return json.Marshal(p.text) }

// UnmarshalJSON implements json.Unmarshaler.
func (p *sdkPayload) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	if err := json.Unmarshal(text, &p.text); err == nil {
		return nil
	}
	var numbers []uint8
	var wide []int
	if err := json.Unmarshal(text, &wide); err != nil {
		return fmt.Errorf("a payload is neither text nor a list of bytes: %w", err)
	}
	for _, n := range wide {
		if n < 0 || n > 255 {
			return fmt.Errorf("a payload has the byte %d", n)
		}
		numbers = append(numbers, uint8(n))
	}
	p.bytes = numbers
	return nil
}

func (e *sdkEnvelope) payload() ([]byte, error) {
	if e.Payload.bytes != nil {
		return e.Payload.bytes, nil
	}
	encoded := e.PayloadIsBase64
	for _, f := range e.BytesFields {
		encoded = encoded || f == "payload"
	}
	if !encoded {
		return []byte(e.Payload.text), nil
	}
	return base64.StdEncoding.DecodeString(e.Payload.text)
}

// sdkLossy says what the format has no place for.
const sdkLossy = "not in this format, or left out: addresses, earlier attempts, audits and policies (audit_proof, audit_policy_id, effective_policy_id), envelopes' own times (timestamp, hlc_timestamp), times of stages, replies, frames, deadlines, retry policies, late outcomes, what is owed, whether a result was handled, and what handlers have stored"

// sdkCapacity is how many records the other SDKs take by default.
const sdkCapacity = 10_000

// ExportSDK writes an agent's buffer in the format of the other SDKs, and to log what is not in it. An agent that is no id
// is an *address.Error.
func ExportSDK(ctx context.Context, dir, agent string, w, log io.Writer) error {
	file := sdkFile{Records: map[string]*sdkRecord{}, Order: []string{}, Version: "1.0"}
	err := read(dir, func(r store.Reader, kind Kind) error {
		if kind != Agent {
			return &WrongKindError{dir, kind, "name the data directory of an agent"}
		}
		if err := address.CheckName("agent id", agent); err != nil {
			return err
		}
		b, err := activity.Open(ctx, readOnly{Reader: r}, activity.Config{})
		if err != nil {
			return err
		}
		return activity.Walk(ctx, r, func(rec activity.Record) error { return file.add(b, rec, agent) })
	})
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(file); err != nil {
		return err
	}
	out := &printer{w: log}
	out.line("exported: %d records", len(file.Order))
	if file.omitted > 0 {
		out.line("left out: the received side of %d messages, since this format has one record for a message id; the sent side is in it", file.omitted)
	}
	if file.bare > 0 {
		out.line("without payload: %d records, whose payloads are not kept any more; whoever reads the file takes them for empty", file.bare)
	}
	out.line("%s", sdkLossy)
	if len(file.Order) > sdkCapacity {
		out.line("note: the other SDKs take %d records unless they are told otherwise", sdkCapacity)
	}
	return out.err
}

func (f *sdkFile) add(b *activity.Buffer, r activity.Record, agent string) error {
	var rec *sdkRecord
	var body *storagepb.Body
	var err error
	if r.Out != nil {
		body, err = b.OutBody(r.Out.GetSequence())
		rec = sdkOut(r.Out, body, agent)
	} else {
		body, err = b.InBody(r.In.GetSequence())
		rec = sdkIn(r.In, body)
	}
	if err != nil && !errors.Is(err, activity.ErrUnknown) {
		return err
	}
	e := &rec.Envelope
	e.MessageID, e.ContentLength = rec.MessageID, uint64(len(e.Payload.bytes))
	e.Payload.text, e.BytesFields = base64.StdEncoding.EncodeToString(e.Payload.bytes), []string{"payload"}
	e.State.number = rec.AckStage.number + 1 // SENT stands in front of the stages
	if f.Records[rec.MessageID] != nil {     // operations come first
		f.omitted++
		return nil
	}
	if err != nil {
		f.bare++
	}
	f.Order = append(f.Order, rec.MessageID)
	f.Records[rec.MessageID] = rec
	return nil
}

func sdkOut(o *storagepb.OutRecord, body *storagepb.Body, agent string) *sdkRecord {
	last := o.GetAttempts()[len(o.GetAttempts())-1]
	rec := &sdkRecord{MessageID: last.GetMessageId(), Direction: "out", TsMs: o.GetCreatedAt().AsTime().UnixMilli(), Envelope: sdkEnvelope{
		IdempotencyToken: o.GetToken(), ProducerID: agent, CorrelationID: o.GetCorrelationId(), SequenceNumber: o.GetSequence(),
		RetryCount: last.GetRetryCount(), MessageType: sdkEnum{number: int32(o.GetMessageType())}, ContentType: body.GetContentType(),
		RepoID: o.GetRepoId(), WorktreeID: o.GetWorktreeId(), TTLMs: o.GetTtlMs(), Payload: sdkPayload{bytes: body.GetPayload()},
		ParentCorrelationID: o.GetParentCorrelationId(),
	}}
	rec.AckStage.number, rec.ErrorCode.number, rec.AckNote = int32(last.GetStage()), int32(last.GetCode()), last.GetNote()
	if end := o.GetOutcome(); end != nil {
		rec.AckStage.number, rec.ErrorCode.number, rec.AckNote = int32(end.GetStage()), int32(end.GetCode()), end.GetNote()
	}
	return rec
}

func sdkIn(i *storagepb.InRecord, body *storagepb.Body) *sdkRecord {
	last := i.GetAliases()[len(i.GetAliases())-1]
	rec := &sdkRecord{MessageID: last.GetMessageId(), Direction: "in", TsMs: i.GetReceivedAt().AsTime().UnixMilli(), Envelope: sdkEnvelope{
		IdempotencyToken: i.GetToken(), ProducerID: i.GetFrom(), CorrelationID: i.GetCorrelationId(), SequenceNumber: i.GetProducerSequence(),
		RetryCount: last.GetRetryCount(), MessageType: sdkEnum{number: int32(i.GetMessageType())}, ContentType: i.GetContentType(),
		RepoID: i.GetRepoId(), WorktreeID: i.GetWorktreeId(), TTLMs: i.GetTtlMs(), Payload: sdkPayload{bytes: body.GetPayload()},
		ParentCorrelationID: i.GetParentCorrelationId(),
	}}
	rec.AckStage.number, rec.ErrorCode.number, rec.AckNote = int32(i.GetStage()), int32(i.GetOutcome().GetCode()), i.GetOutcome().GetNote()
	return rec
}

// errReadOnly answers what would change a store that is only read.
var errReadOnly = errors.New("the store is open for reading only")

// readOnly is a Reader as a Store.
type readOnly struct{ store.Reader }

func (readOnly) Apply(*store.Batch) (store.Mark, error)     { return 0, errReadOnly }
func (readOnly) Sync(_ context.Context, m store.Mark) error { return nil }
func (readOnly) Failed() <-chan struct{}                    { return nil }
func (readOnly) Err() error                                 { return nil }
func (readOnly) Close() error                               { return nil }

// SDKImport says what an import from another SDK is to be.
type SDKImport struct {
	// Agent is the id of the agent whose buffer it is.
	Agent string
	// To is where open operations are sent on to; without it they end as TIMED_OUT with the note outcome_unknown.
	To string
}

// ImportSDK makes the new directory dir of a buffer of another SDK, and writes to log what it leaves out. An agent that is
// no id is an *address.Error.
func ImportSDK(ctx context.Context, dir string, from io.Reader, o SDKImport, log io.Writer) error {
	if err := address.CheckName("agent id", o.Agent); err != nil {
		return err
	}
	text, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	var file sdkFile
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&file); err != nil {
		return &TargetError{"the input", fmt.Sprintf("it is no activity buffer: %v", err), "name a file such as sw4rm_activity.json, whole"}
	}
	if file.Records == nil || file.Order == nil {
		return &TargetError{"the input", "it has no records or no order", "name a file such as sw4rm_activity.json, whole"}
	}
	out := &printer{w: log}
	return write(ctx, dir, func(s store.Store) error {
		i := sdkImporter{ctx: ctx, o: o, out: out, now: time.Now()}
		if i.b, err = activity.Open(ctx, s, activity.Config{
			MaxOut: len(file.Records) + 1, MaxIn: len(file.Records) + 1, MaxDedupBytes: 1 << 40, Now: func() time.Time { return i.now },
		}); err != nil {
			return err
		}
		if err := i.run(file); err != nil {
			return err
		}
		out.line("imported: %d operations (%d of them open), %d received messages; %d acknowledgements and replies left out", i.outs, i.open, i.ins, i.skipped)
		if i.attempts > 0 {
			out.line("%d records were further attempts of these operations, whose message ids they keep", i.attempts)
		}
		if i.unknown > 0 {
			out.line("%d operations had no outcome: they ended as TIMED_OUT, outcome_unknown, and sw4rm buffer ls --failed lists them; with --to they are sent on", i.unknown)
		}
		if i.unsure > 0 {
			out.line("%d received messages had no outcome, which does not say whether they were handled: they ended as FAILED, outcome_unknown, and run again when their sender tries again", i.unsure)
		}
		out.line("%s", sdkLossy)
		return out.err
	})
}

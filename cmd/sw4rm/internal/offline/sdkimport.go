package offline

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/address"
)

// deadline is what is left to an imported operation that is sent on.
const deadline = 24 * time.Hour

// replySuffix ends the tokens of replies.
const replySuffix = ":response:v1"

// failedElsewhere is the number that one of the other SDKs writes for FAILED.
const failedElsewhere = 10

type sdkImporter struct {
	ctx context.Context
	o   SDKImport
	out *printer
	b   *activity.Buffer
	now time.Time // the clock of the record that is being imported

	// unended are the operations whose attempts so far say no outcome, in their order; later attempts may.
	unended []unended

	outs, ins, attempts, open, unknown, unsure, skipped int
}

// unended is an operation without an outcome, with its last attempt.
type unended struct {
	seq       uint64
	messageID string
	stage     ack.Stage
	at        time.Time
}

func (i *sdkImporter) run(file sdkFile) error {
	done := map[string]bool{}
	started := i.now
	for _, id := range file.Order {
		rec := file.Records[id]
		if rec == nil {
			i.out.line("left out: message %s, which is in the order and has no record", id)
			continue
		}
		if done[id] {
			continue // one SDK lists a message again that came again
		}
		done[id] = true
		i.now = time.UnixMilli(rec.TsMs)
		if err := i.record(id, rec, started); err != nil {
			return &TargetError{"the input, record " + id, err.Error(), "mend or remove the record in the file"}
		}
	}
	if n := len(file.Records) - len(done); n > 0 {
		return &TargetError{"the input", fmt.Sprintf("%d records are not in its order", n), "name a file that is whole"}
	}
	if err := i.endRest(); err != nil {
		return err
	}
	return i.b.Settle(i.ctx)
}

func (i *sdkImporter) record(id string, rec *sdkRecord, started time.Time) error {
	if rec.MessageID != id || id == "" {
		return fmt.Errorf("its message_id is %q", rec.MessageID)
	}
	kind, err := rec.Envelope.MessageType.in(commonpb.MessageType_value)
	if err != nil {
		return err
	}
	if commonpb.MessageType(kind) == commonpb.MessageType_ACKNOWLEDGEMENT || strings.HasSuffix(rec.Envelope.IdempotencyToken, replySuffix) {
		i.skipped++
		return nil
	}
	stage, err := rec.AckStage.in(commonpb.AckStage_value)
	if err != nil {
		return err
	}
	if stage == failedElsewhere {
		stage = int32(ack.Failed)
	}
	if stage < 0 || stage > int32(ack.TimedOut) {
		return fmt.Errorf("its ack_stage is %d", stage)
	}
	code, err := rec.ErrorCode.in(commonpb.ErrorCode_value)
	if err != nil {
		return err
	}
	payload, err := rec.Envelope.payload()
	if err != nil {
		return fmt.Errorf("its payload does not decode: %w", err)
	}
	end := &storagepb.Outcome{
		Stage: commonpb.AckStage(stage), Code: commonpb.ErrorCode(code), Note: strings.ToValidUTF8(rec.AckNote, ""), MessageId: id,
		At: timestamppb.New(i.now),
	}
	switch rec.Direction {
	case "out":
		return i.sent(rec, commonpb.MessageType(kind), payload, end, started)
	case "in":
		return i.received(rec, commonpb.MessageType(kind), payload, end)
	default:
		return fmt.Errorf("its direction is %q, neither in nor out", rec.Direction)
	}
}

// sent imports an operation of the agent.
func (i *sdkImporter) sent(rec *sdkRecord, kind commonpb.MessageType, payload []byte, end *storagepb.Outcome, started time.Time) error {
	e, stage := rec.Envelope, ack.Stage(end.GetStage())
	token := e.IdempotencyToken
	if token == "" {
		token = "imported:" + rec.MessageID
	}
	hash := sha256.Sum256(append([]byte(e.ContentType+"\n"), payload...))
	draft := &storagepb.OutRecord{
		Token: token, KeyKind: storagepb.KeyKind_KEY_KIND_CALL, PayloadHash: hash[:], To: i.o.To, Class: transportpb.Class_CLASS_WORK,
		MessageType: kind, CorrelationId: e.CorrelationID, ParentCorrelationId: e.ParentCorrelationID, CreatedAt: timestamppb.New(i.now),
		Deadline: timestamppb.New(started.Add(deadline)), TtlMs: e.TTLMs, AckTimeoutNs: int64(10 * time.Second),
		Retry: &storagepb.RetryPolicy{MaxAttempts: 1}, RepoId: e.RepoID, WorktreeId: e.WorktreeID,
	}
	stored, existed, err := i.b.RecordOut(i.ctx, activity.Draft{
		Record: draft, Body: &storagepb.Body{ContentType: e.ContentType, Payload: payload}, MessageID: rec.MessageID,
	})
	if err != nil {
		return err
	}
	seq := stored.GetSequence()
	if existed { // a further attempt of an operation without an outcome: those with one do not keep their token
		if _, err := i.b.AttemptOut(i.ctx, seq, rec.MessageID); err != nil {
			return err
		}
		i.attempts++
		i.unended = slices.DeleteFunc(i.unended, func(u unended) bool { return u.seq == seq })
	} else {
		i.outs++
	}
	if !stage.Terminal() {
		i.unended = append(i.unended, unended{seq, rec.MessageID, stage, i.now})
		return nil
	}
	if _, err := i.b.FinishOut(i.ctx, seq, end); err != nil {
		return err
	}
	return i.b.HandledOut(seq) // the other program has seen it
}

// endRest ends the operations of which no attempt says an outcome, unless they are sent on.
func (i *sdkImporter) endRest() error {
	if i.o.To != "" {
		i.open = len(i.unended)
		return nil
	}
	i.unknown = len(i.unended)
	for _, u := range i.unended {
		i.now = u.at
		if _, err := i.b.FinishOut(i.ctx, u.seq, &storagepb.Outcome{
			Stage: commonpb.AckStage_TIMED_OUT, Code: commonpb.ErrorCode_ACK_TIMEOUT, MessageId: u.messageID, At: timestamppb.New(u.at),
			Note: fmt.Sprintf("outcome_unknown: imported at stage %s", u.stage),
		}); err != nil {
			return fmt.Errorf("end operation %d: %w", u.seq, err)
		}
	}
	return nil
}

// received imports a message that the agent received.
func (i *sdkImporter) received(rec *sdkRecord, kind commonpb.MessageType, payload []byte, end *storagepb.Outcome) error {
	e := rec.Envelope
	_, stored, err := i.b.RecordIn(i.ctx, activity.Arrival{
		Envelope: &commonpb.Envelope{
			MessageId: rec.MessageID, IdempotencyToken: e.IdempotencyToken, ProducerId: e.ProducerID, CorrelationId: e.CorrelationID,
			SequenceNumber: e.SequenceNumber, RetryCount: e.RetryCount, MessageType: kind, ContentType: e.ContentType,
			ContentLength: uint64(len(payload)), RepoId: e.RepoID, WorktreeId: e.WorktreeID, TtlMs: e.TTLMs, Payload: payload,
			ParentCorrelationId: e.ParentCorrelationID,
		},
		To: address.Agent(i.o.Agent).String(), Class: transportpb.Class_CLASS_WORK,
	})
	if err != nil {
		return err
	}
	if stored.GetFinished() != 0 {
		return nil // another attempt of a message with an outcome
	}
	i.ins++
	if stage := ack.Stage(end.GetStage()); !stage.Terminal() {
		i.unsure++
		end.Stage, end.Code = commonpb.AckStage_FAILED, commonpb.ErrorCode_INTERNAL_ERROR
		end.Note = fmt.Sprintf("outcome_unknown: imported at stage %s", stage)
	}
	done, err := i.b.FinishIn(i.ctx, stored.GetSequence(), activity.Ending{Outcome: end, NewID: uuid.NewString})
	if err != nil {
		return err
	}
	for _, owed := range done.GetOwed() { // the other program has answered, or will not any more
		if err := i.b.OwedSentIn(stored.GetSequence(), owed.GetMessageId()); err != nil {
			return err
		}
	}
	return nil
}

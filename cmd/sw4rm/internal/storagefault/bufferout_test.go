package storagefault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

func (b *buffer) stepOut(ctx context.Context, a *bufferActor, random *rand.Rand) error {
	if len(a.outs) == 0 || random.IntN(4) == 0 {
		return b.send(ctx, a, random)
	}
	at := random.IntN(len(a.outs))
	rec := a.outs[at].rec
	attempt := rec.GetAttempts()[len(rec.GetAttempts())-1]
	open := !ack.Stage(attempt.GetStage()).Terminal()
	switch {
	case rec.GetFinished() != 0:
		return b.afterEnd(ctx, a, at, random)
	case rec.GetStreams() && (rec.GetOutcome() != nil || open && random.IntN(2) == 0):
		return b.stream(ctx, a, at, random)
	case rec.GetOutcome() != nil: // a reply is missing
		if random.IntN(2) == 0 {
			return b.reply(ctx, a, at)
		}
		return b.on(a, at, "end without reply", true, func(seq uint64) error {
			_, err := b.FinishOut(ctx, seq, outcome(ack.TimedOut, ack.NoCode))
			return err
		})
	case !open:
		return b.on(a, at, "attempt", true, func(seq uint64) error {
			_, err := b.AttemptOut(ctx, seq, a.newName("m"))
			return err
		})
	case random.IntN(8) == 0:
		return b.sendAgain(ctx, a, at)
	case attempt.GetAcceptedAt() == nil:
		return b.on(a, at, "accepted", false, func(seq uint64) error {
			_, err := b.AcceptedOut(seq, attempt.GetMessageId())
			return err
		})
	case attempt.GetStage() < commonpb.AckStage_READ && random.IntN(2) == 0:
		stage := ack.Stage(attempt.GetStage() + 1)
		return b.on(a, at, "stage", false, func(uint64) error {
			_, err := b.AckOut(ctx, ack.Ack{ForMessageID: attempt.GetMessageId(), Stage: stage}, "worker")
			return err
		})
	case rec.GetWantsReply() && !rec.GetStreams() && random.IntN(2) == 0:
		return b.reply(ctx, a, at)
	default:
		return b.end(ctx, a, at, attempt.GetMessageId(), random)
	}
}

// send records a new operation.
func (b *buffer) send(ctx context.Context, a *bufferActor, random *rand.Rand) error {
	token := a.newName("t")
	o := sent{object: "out/" + token, draft: activity.Draft{
		Body:      &storagepb.Body{ContentType: "text/plain", Payload: []byte("body of " + token + filling(random))},
		MessageID: a.newName("m"),
	}}
	o.rec = &storagepb.OutRecord{
		Token: token, KeyKind: storagepb.KeyKind(1 + random.IntN(4)), To: "agent:worker", Exchange: "a.S/M", CorrelationId: "talk-" + token,
		WantsReply: random.IntN(2) == 0, PayloadHash: []byte(token),
		Retry: &storagepb.RetryPolicy{
			MaxAttempts: 3, InitialBackoffNs: 1e9, MaxBackoffNs: 1e10, Multiplier: 2,
			Codes: []commonpb.ErrorCode{commonpb.ErrorCode_INTERNAL_ERROR},
		},
	}
	if random.IntN(4) == 0 {
		o.rec.WantsReply, o.rec.Streams, o.rec.Window = true, true, 8
	}
	return b.rec.do(call{a.name, "send", o.object}, func(e *storagecheck.Event) error {
		d := o.draft
		d.Record = proto.CloneOf(o.rec)
		rec, existed, err := b.RecordOut(ctx, d)
		if err == nil && existed {
			err = fmt.Errorf("operation %s is new and exists", token)
		}
		if err != nil {
			return err
		}
		_, state, err := outState(b.Buffer, rec.GetSequence())
		if err != nil {
			return err
		}
		o.rec, o.state = rec, state
		a.outs = append(a.outs, o)
		e.Durable = true
		e.Given = []storagecheck.Given{{Space: "operation", Number: rec.GetSequence(), To: o.object}}
		e.Saw = []storagecheck.Version{{Object: o.object, State: state}}
		return nil
	})
}

// filling makes some payloads large enough to fill tables and blocks of the log.
func filling(random *rand.Rand) string {
	n := 0
	if random.IntN(6) == 0 {
		n = random.IntN(3000)
	}
	return fmt.Sprintf("%0*d", n, 0)
}

// sendAgain records an active operation once more, under the same key.
func (b *buffer) sendAgain(ctx context.Context, a *bufferActor, at int) error {
	o := a.outs[at]
	return b.rec.do(call{a.name, "send again", o.object}, func(e *storagecheck.Event) error {
		d := o.draft
		d.Record, d.MessageID = proto.CloneOf(o.rec), a.newName("m")
		rec, existed, err := b.RecordOut(ctx, d)
		e.Answer = existedAnswer(rec, existed)
		return err
	})
}

func existedAnswer(rec *storagepb.OutRecord, existed bool) string {
	if !existed {
		return "new"
	}
	return fmt.Sprint("existed ", rec.GetSequence())
}

// recognised tells whether an operation that has ended is known again by its key.
func recognised(rec *storagepb.OutRecord, now time.Time) bool {
	switch rec.GetKeyKind() {
	case storagepb.KeyKind_KEY_KIND_DERIVED:
		return true
	case storagepb.KeyKind_KEY_KIND_CALL:
		return false
	default:
		return now.Sub(rec.GetOutcome().GetAt().AsTime()) < dedupWindow
	}
}

func outcome(stage ack.Stage, code ack.Code) *storagepb.Outcome {
	return &storagepb.Outcome{Stage: commonpb.AckStage(stage), Code: commonpb.ErrorCode(code)}
}

// reply stores a reply: the first, or a late one.
func (b *buffer) reply(ctx context.Context, a *bufferActor, at int) error {
	rec := a.outs[at].rec
	return b.on(a, at, "reply", true, func(uint64) error {
		id := a.newName("r")
		_, err := b.ReplyOut(ctx, activity.Reply{
			Token: rec.GetToken(), CorrelationID: rec.GetCorrelationId(), From: "worker", MessageID: id,
			Body: &storagepb.Body{ContentType: "text/plain", Payload: []byte("reply " + id)},
		})
		return err
	})
}

// end closes the last attempt.
func (b *buffer) end(ctx context.Context, a *bufferActor, at int, messageID string, random *rand.Rand) error {
	e := &ack.Error{Stage: ack.Failed, Code: ack.InternalError}
	switch random.IntN(5) {
	case 0:
		return b.on(a, at, "time out", true, func(seq uint64) error {
			_, err := b.FinishOut(ctx, seq, outcome(ack.TimedOut, ack.NoCode))
			return err
		})
	case 1:
		return b.on(a, at, "fail the attempt", true, func(seq uint64) error {
			_, err := b.FailAttemptOut(ctx, seq, messageID, e)
			return err
		})
	case 2:
		e = &ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied}
	case 3:
		e = &ack.Error{Stage: ack.Fulfilled}
	}
	return b.acknowledge(ctx, a, at, messageID, e)
}

func (b *buffer) acknowledge(ctx context.Context, a *bufferActor, at int, messageID string, e *ack.Error) error {
	return b.on(a, at, "acknowledge", true, func(uint64) error {
		_, err := b.AckOut(ctx, ack.Ack{ForMessageID: messageID, Stage: e.Stage, Code: e.Code}, "worker")
		return err
	})
}

// afterEnd does what may come after an operation has ended.
func (b *buffer) afterEnd(ctx context.Context, a *bufferActor, at int, random *rand.Rand) error {
	rec := a.outs[at].rec
	first := rec.GetAttempts()[0].GetMessageId()
	late := &ack.Error{Stage: ack.Failed, Code: ack.InternalError}
	if rec.GetOutcome().GetStage() == commonpb.AckStage_FAILED {
		late = &ack.Error{Stage: ack.Fulfilled}
	}
	switch n := random.IntN(4); {
	case n == 2 && recognised(rec, b.clock.now()):
		return b.sendAgain(ctx, a, at)
	case n == 0 && len(rec.GetLate()) == 0 && ack.Stage(rec.GetAttempts()[0].GetStage()).Terminal():
		return b.acknowledge(ctx, a, at, first, late)
	case n == 1 && len(rec.GetLate()) < 3 && !rec.GetStreams():
		return b.reply(ctx, a, at)
	case !rec.GetHandled():
		return b.on(a, at, "handled", false, b.HandledOut)
	default:
		return b.send(ctx, a, random)
	}
}

// outState returns an operation and how it looks; nil when it is not there.
func outState(b *activity.Buffer, seq uint64) (*storagepb.OutRecord, storagecheck.State, error) {
	rec, err := b.Out(seq)
	if gone, err := isGone(err); gone || err != nil {
		return nil, storagecheck.State{}, err
	}
	s := storagecheck.State{
		Number: rec.GetSequence(), Answer: existedAnswer(rec, true), Outcome: outcomeText(rec.GetOutcome()),
		More: []string{
			rec.GetToken(), fmt.Sprint("kind ", int(rec.GetKeyKind())), fmt.Sprint("handled ", rec.GetHandled()),
			fmt.Sprint("next ", at(rec.GetNextAttemptAt())), "note " + rec.GetOutcome().GetNote(), fmt.Sprint("end ", rec.GetFinished() != 0),
		},
	}
	for _, a := range rec.GetAttempts() {
		s.Attempts = append(s.Attempts, storagecheck.Attempt{ID: a.GetMessageId(), Stage: stageText(a)})
		s.More = append(s.More, fmt.Sprint(a.GetRetryCount(), " ", at(a.GetAcceptedAt()), " ", at(a.GetReceivedAt()), " ", at(a.GetReadAt()), " ", at(a.GetEndedAt())))
	}
	for _, l := range rec.GetLate() {
		s.Late = append(s.Late, outcomeText(l.GetOutcome())+" "+string(l.GetReply().GetPayload()))
	}
	if s.Body, err = bodyText(b.OutBody(seq)); err != nil {
		return nil, s, err
	}
	if s.Reply, err = bodyText(b.OutReply(seq)); err != nil {
		return nil, s, err
	}
	stream, err := b.OutStream(seq)
	if err != nil {
		return nil, s, err
	}
	for n := uint64(1); n <= stream.GetStored(); n++ {
		f, err := b.OutFrame(seq, stream.GetRun(), n)
		if err != nil {
			return nil, s, err
		}
		s.More = append(s.More, fmt.Sprintf("frame %d of run %d: %s", n, stream.GetRun(), f.GetBody().GetPayload()))
	}
	return rec, s, nil
}

func stageText(a *storagepb.Attempt) string {
	stage := ack.Stage(a.GetStage())
	if !stage.Terminal() {
		return stage.String()
	}
	return fmt.Sprint(stage, " ", ack.Code(a.GetCode()))
}

func outcomeText(o *storagepb.Outcome) string {
	if o == nil {
		return ""
	}
	return fmt.Sprint(ack.Stage(o.GetStage()), " ", ack.Code(o.GetCode()), " ", o.GetFrom(), " ", o.GetMessageId(), " ", at(o.GetAt()))
}

func at(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Sub(began()).String()
}

package storagefault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

func (b *buffer) stepIn(ctx context.Context, a *bufferActor, random *rand.Rand) error {
	if len(a.ins) == 0 || random.IntN(4) == 0 {
		return b.receive(ctx, a, random)
	}
	at := random.IntN(len(a.ins))
	rec := a.ins[at].rec
	switch n := random.IntN(10); {
	case n == 0:
		return b.receiveAgain(ctx, a, at)
	case n == 1 && len(rec.GetAliases()) < 4:
		return b.receiveAttempt(ctx, a, at)
	case rec.GetFinished() != 0 && len(rec.GetOwed()) == 0:
		return b.receive(ctx, a, random)
	case rec.GetFinished() != 0:
		return b.with(a, at, "answer sent", false, func(seq uint64) error { return b.OwedSentIn(seq, rec.GetOwed()[0].GetMessageId()) })
	case rec.GetAwaitsCustody() && n == 2 && rec.GetRuns() == 0:
		return b.with(a, at, "drop", true, func(seq uint64) error { return b.drop(ctx, a, seq) })
	case rec.GetAwaitsCustody():
		return b.with(a, at, "custody", false, b.CustodyIn)
	case rec.GetStage() == commonpb.AckStage_RECEIVED:
		return b.with(a, at, "read", false, b.ReadIn)
	case n < 4:
		sync := random.IntN(2) == 0
		return b.with(a, at, "start", sync, func(seq uint64) error {
			_, err := b.StartIn(ctx, seq, sync)
			return err
		})
	case n >= 7 && rec.GetRuns() > 0:
		return b.frame(ctx, a, at, random)
	case n == 4:
		return b.with(a, at, "retry", true, func(seq uint64) error { return b.RetryIn(ctx, seq, b.clock.now().Add(time.Minute)) })
	case n == 5 && !rec.GetDeferred():
		return b.with(a, at, "defer", true, func(seq uint64) error { return b.DeferIn(ctx, seq, nil) })
	default:
		return b.finish(ctx, a, at, random)
	}
}

// drop removes a message that somebody else has got.
func (b *buffer) drop(ctx context.Context, a *bufferActor, seq uint64) error {
	err := b.DropIn(ctx, seq)
	if err == nil {
		defer func() { a.forgetIn(seq) }()
	}
	return err
}

func (a *bufferActor) forgetIn(seq uint64) {
	kept := a.ins[:0:0]
	for _, i := range a.ins {
		if i.rec.GetSequence() != seq {
			kept = append(kept, i)
		}
	}
	a.ins = kept
}

// receive records a new message.
func (b *buffer) receive(ctx context.Context, a *bufferActor, random *rand.Rand) error {
	token := a.newName("w")
	i := received{object: "in/" + token, first: activity.Arrival{
		Envelope: &commonpb.Envelope{
			MessageId: a.newName("m"), IdempotencyToken: token, ProducerId: "client", CorrelationId: "talk", SequenceNumber: uint64(a.made),
			ContentType: "text/plain", Payload: []byte("work " + token + filling(random)),
		},
		To: "agent:me", Class: transportpb.Class_CLASS_WORK, RouterStoreID: "router", RouterSeq: int64(a.made), Exchange: "a.S/M",
		AwaitsCustody: random.IntN(4) == 0,
	}}
	return b.record(ctx, a, i, "receive", activity.New, i.first)
}

// receiveAttempt records a further attempt of a message.
func (b *buffer) receiveAttempt(ctx context.Context, a *bufferActor, at int) error {
	i := a.ins[at]
	again := i.first
	again.AwaitsCustody = false
	again.Envelope = proto.CloneOf(again.Envelope)
	again.Envelope.MessageId, again.Envelope.RetryCount = a.newName("m"), uint32(len(i.rec.GetAliases()))
	a.ins = append(a.ins[:at:at], a.ins[at+1:]...)
	want := activity.Running
	if o := i.rec.GetOutcome(); o != nil {
		want = activity.Finished
		if o.GetStage() == commonpb.AckStage_FAILED {
			want = activity.Rerun
		}
	}
	return b.record(ctx, a, i, "receive an attempt", want, again)
}

// record records an arrival, of which it is known what it is.
func (b *buffer) record(ctx context.Context, a *bufferActor, i received, op string, want activity.Verdict, arrival activity.Arrival) error {
	return b.rec.do(call{a.name, op, i.object}, func(e *storagecheck.Event) error {
		verdict, rec, err := b.RecordIn(ctx, arrival)
		if err == nil && verdict != want {
			err = fmt.Errorf("%s of %s is %v, not %v", op, i.object, verdict, want)
		}
		if err != nil {
			return err
		}
		_, state, err := inState(b.Buffer, rec.GetSequence())
		if err != nil {
			return err
		}
		i.rec, i.state = rec, state
		a.ins = append(a.ins, i)
		e.Durable = true
		if want == activity.New {
			e.Given = []storagecheck.Given{{Space: "received message", Number: rec.GetSequence(), To: i.object}}
		}
		e.Saw = []storagecheck.Version{{Object: i.object, State: state, Again: want == activity.Rerun}}
		return nil
	})
}

// receiveAgain records the same message once more.
func (b *buffer) receiveAgain(ctx context.Context, a *bufferActor, at int) error {
	i := &a.ins[at]
	return b.rec.do(call{a.name, "receive again", i.object}, func(e *storagecheck.Event) error {
		arrival := i.first
		arrival.RouterStoreID, arrival.RouterSeq = i.rec.GetRouterStoreId(), i.rec.GetRouterSeq()
		verdict, rec, err := b.RecordIn(ctx, arrival)
		e.Answer = fmt.Sprint(verdict, " ", rec.GetSequence())
		return err
	})
}

func (b *buffer) finish(ctx context.Context, a *bufferActor, at int, random *rand.Rand) error {
	o, reply, id := outcome(ack.Fulfilled, ack.NoCode), (*storagepb.Body)(nil), ""
	switch random.IntN(3) {
	case 0:
		o = outcome(ack.Failed, ack.InternalError)
	case 1:
		id = a.newName("r")
		reply = &storagepb.Body{ContentType: "text/plain", Payload: []byte("reply " + id)}
	}
	token := a.ins[at].rec.GetToken()
	return b.with(a, at, "finish", true, func(seq uint64) error {
		for {
			end := activity.Ending{Outcome: o, Reply: reply, ReplyID: id, NewID: func() string { return a.newName("k") }}
			if o.GetStage() == commonpb.AckStage_FULFILLED {
				end.Data = b.BeginData(ctx)
				if err := writeData(end.Data, token); err != nil {
					return err
				}
			}
			if _, err := b.FinishIn(ctx, seq, end); !errors.Is(err, activity.ErrConflict) {
				return err
			}
		}
	})
}

// dataCount is the key under which each fulfilled message counts itself.
const dataCount = "count"

func dataOf(token string) string { return "done/" + token }

// writeData writes what belongs to a fulfilled message.
func writeData(tx *activity.DataTx, token string) error {
	text, err := tx.Get(dataCount)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(text))
	return errors.Join(
		tx.Set(dataCount, strconv.AppendInt(nil, int64(n+1), 10)), tx.Set(dataOf(token), []byte("of "+token)), tx.Delete("open/"+token))
}

// inState returns a received message and how it looks; nil when it is not there.
func inState(b *activity.Buffer, seq uint64) (*storagepb.InRecord, storagecheck.State, error) {
	rec, err := b.In(seq)
	if gone, err := isGone(err); gone || err != nil {
		return nil, storagecheck.State{}, err
	}
	s := storagecheck.State{
		Number: seq, Answer: fmt.Sprint(activity.Repeated, " ", seq), Outcome: outcomeText(rec.GetOutcome()), Runs: rec.GetRuns(),
		Stage: ack.Stage(rec.GetStage()).String(),
		More: []string{
			rec.GetToken(), fmt.Sprint("from ", rec.GetRouterStoreId(), " ", rec.GetRouterSeq()), fmt.Sprint("next ", at(rec.GetNextRunAt())),
			fmt.Sprint("deferred ", rec.GetDeferred()), fmt.Sprint("awaits custody ", rec.GetAwaitsCustody()),
			fmt.Sprint("forgiven ", rec.GetForgivenRuns()), fmt.Sprint("end ", rec.GetFinished() != 0),
		},
	}
	for _, a := range rec.GetAliases() {
		s.Attempts = append(s.Attempts, storagecheck.Attempt{ID: a.GetMessageId()})
		s.More = append(s.More, fmt.Sprint(a.GetRetryCount(), " answered ", a.GetAnswered()))
	}
	for _, o := range rec.GetOwed() {
		s.Owed = append(s.Owed, fmt.Sprint(o.GetMessageId(), " ", o.GetAckFor(), " ", ack.Stage(o.GetStage()), " ", ack.Code(o.GetCode())))
	}
	if s.Body, err = bodyText(b.InBody(seq)); err != nil {
		return nil, s, err
	}
	if s.Reply, err = bodyText(b.InReply(seq)); err != nil {
		return nil, s, err
	}
	done, err := b.BeginData(context.Background()).Get(dataOf(rec.GetToken()))
	if err != nil {
		return nil, s, err
	}
	s.More = append(s.More, fmt.Sprintf("written %q", done))
	stream, err := b.InStream(seq)
	if err != nil || stream == nil {
		return rec, s, err
	}
	s.More = append(s.More, fmt.Sprintf("run %d: %d frames, %d sent, %d read", stream.GetRun(), stream.GetStored(), stream.GetSent(), stream.GetRead()))
	for n := uint64(1); n <= stream.GetStored(); n++ {
		f, err := b.InFrame(seq, stream.GetRun(), n)
		if err != nil {
			return nil, s, err
		}
		s.More = append(s.More, fmt.Sprintf("frame %d of run %d: %s", n, stream.GetRun(), f.GetBody().GetPayload()))
	}
	return rec, s, nil
}

func isGone(err error) (bool, error) {
	if errors.Is(err, activity.ErrUnknown) {
		return true, nil
	}
	return false, err
}

// bodyText is a payload as text, empty when there is none.
func bodyText(body *storagepb.Body, err error) (string, error) {
	if gone, err := isGone(err); gone || err != nil {
		return "", err
	}
	return body.GetContentType() + " " + string(body.GetPayload()), nil
}

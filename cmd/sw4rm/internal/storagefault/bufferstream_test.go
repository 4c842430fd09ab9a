package storagefault

import (
	"context"
	"fmt"
	"math/rand/v2"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

// stream brings the frames of an operation that wants some, once more or the next, and its end when it has its outcome. A
// later attempt's frames replace those of an earlier one.
func (b *buffer) stream(ctx context.Context, a *bufferActor, at int, random *rand.Rand) error {
	rec := a.outs[at].rec
	stream, err := b.OutStream(rec.GetSequence())
	if err != nil {
		return err
	}
	stored := stream.GetStored()
	if stream.GetRun() != uint64(len(rec.GetAttempts())) {
		stored = 0
	}
	frames := activity.Frames{Token: rec.GetToken(), CorrelationID: rec.GetCorrelationId(), From: "worker", Limit: 1000}
	next := activity.StreamFrame{Run: uint64(len(rec.GetAttempts())), Number: stored}
	if stored == 0 || random.IntN(4) > 0 {
		next.Number++
	}
	op := "frame"
	switch stage := rec.GetOutcome().GetStage(); {
	case stage == commonpb.AckStage_FULFILLED && stored > 0:
		op = "end of frames"
		next.Number = stored
		next.End = &ack.Ack{ForMessageID: rec.GetOutcome().GetMessageId(), Stage: ack.Fulfilled}
	case rec.GetOutcome() != nil && stage != commonpb.AckStage_FULFILLED:
		return b.on(a, at, "end a failed stream", true, func(seq uint64) error {
			_, err := b.EndStreamOut(ctx, seq)
			return err
		})
	default:
		next.MessageID = a.newName("f")
		next.Body = &storagepb.Body{ContentType: "text/plain", Payload: []byte(next.MessageID + filling(random))}
	}
	frames.List = []activity.StreamFrame{next}
	return b.on(a, at, op, true, func(uint64) error {
		_, err := b.FramesOut(ctx, frames)
		return err
	})
}

// frame lets a handler send a frame of its answer, and notes how far its reader has come.
func (b *buffer) frame(ctx context.Context, a *bufferActor, at int, random *rand.Rand) error {
	seq, runs := a.ins[at].rec.GetSequence(), uint64(a.ins[at].rec.GetRuns())
	stream, err := b.InStream(seq)
	if err != nil {
		return err
	}
	switch n := random.IntN(4); {
	case stream == nil, stream.GetRun() < runs && n == 0:
		resume := random.IntN(2) == 0
		return b.with(a, at, fmt.Sprint("begin a stream, resume ", resume), false, func(seq uint64) error {
			_, err := b.BeginStreamIn(seq, runs, resume)
			return err
		})
	case n == 1:
		return b.with(a, at, "progress", false, func(seq uint64) error {
			return b.ProgressIn(seq, stream.GetRun(), stream.GetStored(), stream.GetSent())
		})
	default:
		return b.with(a, at, "send a frame", true, func(seq uint64) error {
			id := a.newName("f")
			_, err := b.FrameIn(ctx, seq, stream.GetRun(), &storagepb.Frame{Body: &storagepb.Body{Payload: []byte(id + filling(random))}, MessageId: id})
			return err
		})
	}
}

package exchange

import (
	"context"
	"iter"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// FrameWindow is how many frames a stream's handler may be ahead of its reader.
const FrameWindow = 64

// Frames takes the frames of one run of a stream's handler, or of a Reply to a deferred stream. Send may be called from any
// goroutine, one call after another; it is of no use after the handler, or what was given to Reply, has returned.
type Frames[Res proto.Message] struct{ w FrameWriter }

// NewFrames returns Frames that write to w, for tests of handlers.
func NewFrames[Res proto.Message](w FrameWriter) *Frames[Res] { return &Frames[Res]{w: w} }

// Send stores frame durably before it returns, and blocks while the reader is FrameWindow frames behind. Its errors are
// for the handler to return: the end of its context, an *ack.Error for a frame that cannot be sent, a failed
// store.
func (f *Frames[Res]) Send(frame Res) error {
	if !frame.ProtoReflect().IsValid() {
		return ack.Failf(ack.InternalError, "a frame is nil. Fix: send a message, or return to end the stream")
	}
	return f.w.Send(frame)
}

// Recorded returns how many frames of the stream are stored: those of this run, and for ContinueOnResume those of earlier
// runs.
func (f *Frames[Res]) Recorded() int { return f.w.Recorded() }

// Last returns the last of the frames that Recorded counts, nil when there is none.
func (f *Frames[Res]) Last() (Res, error) {
	var none Res
	m, err := f.w.Last()
	if err != nil || m == nil {
		return none, err
	}
	frame, ok := m.(Res)
	if !ok {
		return none, ack.Failf(ack.ValidationError, "the last stored frame is a %T, not a %T", m, none)
	}
	return frame, nil
}

type (
	frameWriterKey struct{}
	framesKey      struct{}
)

// WithFrameWriter returns a context for a stream's handler, whose frames w takes. Runtimes call it.
func WithFrameWriter(ctx context.Context, w FrameWriter) context.Context {
	return context.WithValue(ctx, frameWriterKey{}, w)
}

// WithFrames returns a context for a stream's reply handler, which gets the frames. Runtimes call it.
func WithFrames(ctx context.Context, frames iter.Seq2[proto.Message, error]) context.Context {
	return context.WithValue(ctx, framesKey{}, frames)
}

// flag can be set once.
type flag struct{ v atomic.Bool }

func (f *flag) set() bool { return f.v.CompareAndSwap(false, true) }

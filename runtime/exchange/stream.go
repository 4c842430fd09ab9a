package exchange

import (
	"context"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// Stream is an exchange with a request and any number of ordered replies, its frames.
type Stream[Req, Res proto.Message] struct{ d *Descriptor }

// NewStream describes a streaming exchange named "package.Service/Method".
func NewStream[Q, S any, Req Message[Q], Res Message[S]](name string, opts ...Option) *Stream[Req, Res] {
	return &Stream[Req, Res]{newDescriptor(name, KindStream,
		func() proto.Message { return Req(new(Q)) },
		func() proto.Message { return Res(new(S)) }, opts)}
}

// Name returns the exchange's name on the wire.
func (x *Stream[Req, Res]) Name() string { return x.d.Name() }

// Descriptor returns the description without types.
func (x *Stream[Req, Res]) Descriptor() *Descriptor { return x.d }

// Call returns an iterator that sends req when it is used, and yields the frames as they come, in order and without gaps.
// It ends with the stream; an error is its last element, but for ErrRestarted, after which the frames begin anew. An
// outcome other than FULFILLED is an *ack.Error. When ctx ends first the message lives on, and the error is an *Unfinished.
// Leaving the iterator cancels nothing either: the stream goes on, and its frames are stored without being read.
//
// The handler may be 64 frames ahead of the loop's body. The iterator is used once; a second use yields ErrIteratorUsed.
func (x *Stream[Req, Res]) Call(ctx context.Context, c Client, req Req, opts ...SendOption) iter.Seq2[Res, error] {
	return once(func(yield func(Res, error) bool) {
		p, err := x.send(ctx, c, req, true, opts)
		if err != nil {
			var none Res
			yield(none, err)
			return
		}
		p.Frames(ctx)(yield)
	})
}

// Send stores req durably and returns without waiting for the router.
func (x *Stream[Req, Res]) Send(ctx context.Context, c Client, req Req, opts ...SendOption) (*PendingStream[Res], error) {
	return x.send(ctx, c, req, false, opts)
}

func (x *Stream[Req, Res]) send(ctx context.Context, c Client, req Req, caller bool, opts []SendOption) (*PendingStream[Res], error) {
	op, err := c.send(ctx, x.d, req, caller, opts)
	if err != nil {
		return nil, err
	}
	return newPendingStream[Res](x.d, op)
}

// Resume returns the handle of a stored operation, ErrUnknownRef when its record is gone. Its Frames begin with the first.
func (x *Stream[Req, Res]) Resume(ctx context.Context, s Sender, ref Ref) (*PendingStream[Res], error) {
	op, err := resume(ctx, s, x.d, ref)
	if err != nil {
		return nil, err
	}
	return newPendingStream[Res](x.d, op)
}

// Handle registers the exchange's handler. What it passes to out.Send are the frames; when it returns, the stream ends.
func (x *Stream[Req, Res]) Handle(r Registrar, fn func(ctx context.Context, req Req, out *Frames[Res]) error) {
	if r == nil {
		return
	}
	if fn == nil {
		r.Handle(x.d, nil)
		return
	}
	r.Handle(x.d, func(ctx context.Context, m proto.Message) (proto.Message, error) {
		req, ok := m.(Req)
		if !ok {
			return nil, ack.Rejectf(ack.ValidationError, "%s takes a %s, not a %T", x.Name(), x.d.RequestName(), m)
		}
		w, ok := ctx.Value(frameWriterKey{}).(FrameWriter)
		if !ok {
			return nil, ack.Failf(ack.InternalError, "the handler of %s has nowhere to send frames to", x.Name())
		}
		return nil, fn(ctx, req, &Frames[Res]{w: w})
	})
}

// HandleReply registers what gets the streams that have ended while no iterator was reading them. frames are all that are
// stored, in order; when the outcome is not FULFILLED, its *ack.Error is the last element. It is called again, with
// backoff, until it returns nil.
func (x *Stream[Req, Res]) HandleReply(r Registrar, fn func(ctx context.Context, req Req, frames iter.Seq2[Res, error]) error) {
	if r == nil {
		return
	}
	if fn == nil {
		r.HandleReply(x.d, nil)
		return
	}
	r.HandleReply(x.d, func(ctx context.Context, req, _ proto.Message, err error) error {
		q, _ := req.(Req)
		frames, ok := ctx.Value(framesKey{}).(iter.Seq2[proto.Message, error])
		if !ok {
			frames = func(yield func(proto.Message, error) bool) {
				if err != nil {
					yield(nil, err)
				}
			}
		}
		return fn(ctx, q, typed[Res](x.d, frames))
	})
}

// Reply goes on with a stream whose handler returned ErrDeferred: what send passes to out are its next frames, and when send
// returns nil the stream ends. When it returns an error, Reply returns that, and the stream stays as it is, for another
// Reply to go on with or for Fail to end; out.Recorded tells how many frames there are by then. The reader sees one stream,
// without ErrRestarted. Reply waits for a handler that has not returned yet, and for other Replies with ref, one of which
// has its turn at a time; not in the handler itself, which has its own out.
//
// ErrAnswered says that the stream has ended, by another answer or with its time to live; ErrNotDeferred that its handler
// has yet to defer it. send's out.Send returns an error when ctx ends or the agent closes.
func (x *Stream[Req, Res]) Reply(ctx context.Context, r Responder, ref Ref, send func(out *Frames[Res]) error) error {
	if send == nil {
		return ack.Failf(ack.InternalError, "what sends the frames of %s is nil", x.Name())
	}
	if r == nil {
		return ErrUnknownRef
	}
	return r.RespondFrames(ctx, x.d, ref, func(w FrameWriter) error { return send(&Frames[Res]{w: w}) })
}

// Fail ends a message whose handler returned ErrDeferred with err, as if the handler had returned it.
func (x *Stream[Req, Res]) Fail(ctx context.Context, r Responder, ref Ref, err error) error {
	return respond(ctx, r, x.d, ref, nil, failure(x.d, err))
}

// PendingStream is the handle of a streaming request that was sent. It may be used from any goroutine.
type PendingStream[Res proto.Message] struct {
	Delivery
	d      *Descriptor
	stream StreamOperation
}

func newPendingStream[Res proto.Message](d *Descriptor, op Operation) (*PendingStream[Res], error) {
	s, ok := op.(StreamOperation)
	if !ok {
		return nil, fmt.Errorf("the operation of %s is a %T, which has no frames", d.Name(), op)
	}
	return &PendingStream[Res]{Delivery: Delivery{op}, d: d, stream: s}, nil
}

// Frames returns an iterator over the frames: those that are stored already, from the first, then the others as they come.
// Errors and the end are those of Stream.Call. Each iterator is used once; further ones begin with the first frame again.
//
// The handler may be 64 frames ahead of the iterator that is furthest. While no iterator is at work it waits for one, unless
// one was left before the end, something waits for the outcome, or the exchange has a reply handler: then frames count as
// read once they are stored.
func (p *PendingStream[Res]) Frames(ctx context.Context) iter.Seq2[Res, error] {
	return once(typed[Res](p.d, p.stream.Frames(ctx)))
}

// once makes an iterator that works the first time only.
func once[T any](seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	var used flag
	return func(yield func(T, error) bool) {
		if !used.set() {
			var none T
			yield(none, ErrIteratorUsed)
			return
		}
		seq(yield)
	}
}

// typed gives an iterator's messages their type.
func typed[Res proto.Message](d *Descriptor, seq iter.Seq2[proto.Message, error]) iter.Seq2[Res, error] {
	return func(yield func(Res, error) bool) {
		for m, err := range seq {
			var none Res
			if err != nil {
				if !yield(none, err) {
					return
				}
				continue
			}
			res, ok := m.(Res)
			if !ok {
				yield(none, ack.Failf(ack.ValidationError, "a stored frame of %s is a %T, not a %T", d.Name(), m, none))
				return
			}
			if !yield(res, nil) {
				return
			}
		}
	}
}

package exchange_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

var watch = exchange.NewStream[text, text]("a.S/Watch", exchange.ToolCall, exchange.ContinueOnResume)

// element is what an iterator yields.
type element struct {
	m   proto.Message
	err error
}

// streamed is an operation that yields these elements.
type streamed struct {
	exchange.Operation
	elements []element
	begun    int
}

func (s *streamed) Frames(context.Context) iter.Seq2[proto.Message, error] {
	return func(yield func(proto.Message, error) bool) {
		s.begun++
		for _, e := range s.elements {
			if !yield(e.m, e.err) {
				return
			}
		}
	}
}

// sender sends one operation, or fails.
type sender struct {
	op  exchange.Operation
	err error
	out *exchange.Outgoing
}

func (s *sender) Send(_ context.Context, out *exchange.Outgoing) (exchange.Operation, error) {
	s.out = out
	return s.op, s.err
}

func (s *sender) Resume(context.Context, *exchange.Descriptor, exchange.Ref) (exchange.Operation, error) {
	return s.op, s.err
}

func through(s exchange.Sender) exchange.Client { return exchange.NewClient(s, address.Agent("a")) }

// drain returns the values and errors of an iterator, in order.
func drain(frames iter.Seq2[*text, error]) (got []any) {
	for m, err := range frames {
		if err != nil {
			got = append(got, err)
		} else {
			got = append(got, m.GetValue())
		}
	}
	return got
}

func TestStreamIsDescribed(t *testing.T) {
	d := watch.Descriptor()
	require.NoError(t, d.Validate())
	assert.Equal(t, exchange.KindStream, d.Kind())
	assert.Equal(t, "a.S/Watch", watch.Name())
	assert.Equal(t, exchange.ToolCall, d.Policy().MessageType)
	assert.Equal(t, exchange.ContinueOnResume, d.Policy().Resume)
	assert.Equal(t, exchange.OrderNone, d.Policy().Order)
	assert.Equal(t, textName, d.ReplyName())
	assert.Equal(t, exchange.RestartOnResume, exchange.NewStream[text, text]("a.S/M").Descriptor().Policy().Resume)
}

func TestStreamCallSendsWhenItIsUsed(t *testing.T) {
	op := &streamed{elements: []element{
		{m: wrapperspb.String("1")}, {err: exchange.ErrRestarted}, {m: wrapperspb.String("2")}, {err: errors.ErrUnsupported},
	}}
	s := &sender{op: op}
	frames := watch.Call(t.Context(), through(s), wrapperspb.String("x"), exchange.JSON)
	assert.Nil(t, s.out)
	assert.Equal(t, []any{"1", exchange.ErrRestarted, "2", errors.ErrUnsupported}, drain(frames))
	assert.True(t, s.out.Caller)
	assert.Equal(t, exchange.JSON, s.out.Policy.Format)
	assert.Equal(t, []any{exchange.ErrIteratorUsed}, drain(frames))
	assert.Equal(t, 1, op.begun)

	for range watch.Call(t.Context(), through(s), wrapperspb.String("x")) {
		break
	}
	assert.Equal(t, 2, op.begun)
}

func TestStreamSendReturnsAHandle(t *testing.T) {
	s := &sender{op: &streamed{elements: []element{{m: wrapperspb.String("1")}}}}
	p, err := watch.Send(t.Context(), through(s), wrapperspb.String("x"))
	require.NoError(t, err)
	assert.False(t, s.out.Caller)
	for range 2 {
		assert.Equal(t, []any{"1"}, drain(p.Frames(t.Context())), "each iterator begins with the first")
	}
	p, err = watch.Resume(t.Context(), s, "ref")
	require.NoError(t, err)
	assert.Equal(t, []any{"1"}, drain(p.Frames(t.Context())))
}

func TestStreamsThatCannotBeSent(t *testing.T) {
	refused := errors.New("refused")
	for name, s := range map[string]exchange.Sender{"refused": &sender{err: refused}, "no frames": &sender{op: exchange.Operation(nil)}, "no agent": nil} {
		_, err := watch.Send(t.Context(), through(s), wrapperspb.String("x"))
		require.Error(t, err, name)
		assert.Equal(t, []any{err}, drain(watch.Call(t.Context(), through(s), wrapperspb.String("x"))), name)
		_, err = watch.Resume(t.Context(), s, "ref")
		require.Error(t, err, name)
	}
	got := drain(watch.Call(t.Context(), through(&sender{}), nil))
	require.Len(t, got, 1)
	assert.ErrorContains(t, got[0].(error), "the message is nil")
}

func TestStoredFramesOfAnotherType(t *testing.T) {
	s := &sender{op: &streamed{elements: []element{{m: wrapperspb.Int32(1)}, {m: wrapperspb.String("2")}}}}
	got := drain(watch.Call(t.Context(), through(s), wrapperspb.String("x")))
	require.Len(t, got, 1, "it ends there")
	require.ErrorIs(t, got[0].(error), &ack.Error{Stage: ack.Failed, Code: ack.ValidationError})
}

// taker takes frames.
type taker struct {
	taken []proto.Message
	err   error
}

func (k *taker) Send(m proto.Message) error {
	k.taken = append(k.taken, m)
	return k.err
}
func (k *taker) Recorded() int { return len(k.taken) }
func (k *taker) Last() (proto.Message, error) {
	if len(k.taken) == 0 {
		return nil, k.err
	}
	return k.taken[len(k.taken)-1], k.err
}

// registrar takes one handler of each kind.
type registrar struct {
	exchange.Registrar
	handler exchange.Handler
	reply   exchange.ReplyHandler
	nils    int
}

func (r *registrar) Handle(_ *exchange.Descriptor, fn exchange.Handler) {
	if r.handler = fn; fn == nil {
		r.nils++
	}
}

func (r *registrar) HandleReply(_ *exchange.Descriptor, fn exchange.ReplyHandler) {
	if r.reply = fn; fn == nil {
		r.nils++
	}
}

func TestStreamHandlerGetsWhatTakesItsFrames(t *testing.T) {
	r, k := &registrar{}, &taker{}
	watch.Handle(nil, nil)
	watch.HandleReply(nil, nil)
	watch.Handle(r, nil)
	watch.HandleReply(r, nil)
	assert.Equal(t, 2, r.nils)
	watch.Handle(r, func(_ context.Context, req *text, out *exchange.Frames[*text]) error {
		last, err := out.Last()
		require.NoError(t, err)
		assert.Nil(t, last)
		require.NoError(t, out.Send(req))
		require.ErrorContains(t, out.Send(nil), "a frame is nil")
		last, err = out.Last()
		require.NoError(t, err)
		assert.Equal(t, "x", last.GetValue())
		assert.Equal(t, 1, out.Recorded())
		k.taken, k.err = append(k.taken, wrapperspb.Int32(1)), nil
		_, err = out.Last()
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.ValidationError})
		return errors.ErrUnsupported
	})
	reply, err := r.handler(exchange.WithFrameWriter(t.Context(), k), wrapperspb.String("x"))
	assert.Nil(t, reply)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = r.handler(t.Context(), wrapperspb.String("x"))
	require.ErrorContains(t, err, "nowhere to send frames")
	_, err = r.handler(t.Context(), wrapperspb.Int32(1))
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
}

func TestStreamReplyHandlerGetsTheFrames(t *testing.T) {
	r := &registrar{}
	var got []any
	watch.HandleReply(r, func(_ context.Context, req *text, frames iter.Seq2[*text, error]) error {
		got = append(drain(frames), req.GetValue())
		return nil
	})
	op := &streamed{elements: []element{{m: wrapperspb.String("1")}}}
	require.NoError(t, r.reply(exchange.WithFrames(t.Context(), op.Frames(t.Context())), wrapperspb.String("x"), nil, nil))
	assert.Equal(t, []any{"1", "x"}, got)
	require.NoError(t, r.reply(t.Context(), wrapperspb.String("y"), nil, errors.ErrUnsupported))
	assert.Equal(t, []any{errors.ErrUnsupported, "y"}, got, "without frames, the outcome alone")
}

func TestFramesOfATest(t *testing.T) {
	k := &taker{}
	require.NoError(t, exchange.NewFrames[*text](k).Send(wrapperspb.String("x")))
	assert.Len(t, k.taken, 1)
	require.ErrorIs(t, watch.Fail(t.Context(), nil, "ref", nil), exchange.ErrUnknownRef)
	send := func(*exchange.Frames[*text]) error { return nil }
	require.ErrorIs(t, watch.Reply(t.Context(), nil, "ref", send), exchange.ErrUnknownRef)
	require.ErrorContains(t, watch.Reply(t.Context(), nil, "ref", nil), "is nil")
}

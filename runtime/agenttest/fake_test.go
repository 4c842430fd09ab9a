package agenttest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

var watch = exchange.NewStream[text, text]("test.v1.Echo/Watch")

func TestFakeOutcomes(t *testing.T) {
	for name, test := range map[string]struct {
		handle func(context.Context, *text) (*text, error)
		want   ack.Error
	}{
		"rejected": {
			func(context.Context, *text) (*text, error) { return nil, ack.Rejectf(ack.PermissionDenied, "no") },
			ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied, Note: "no", From: "fake"},
		},
		"plain": {
			func(context.Context, *text) (*text, error) { return nil, errGiven },
			ack.Error{Stage: ack.Failed, Code: ack.InternalError, Note: "given"},
		},
		"of another message": {
			func(context.Context, *text) (*text, error) {
				return nil, &ack.Error{Stage: ack.Rejected, Code: ack.NoRoute, From: "somebody"}
			},
			ack.Error{Stage: ack.Failed, Code: ack.InternalError},
		},
		"panic": {
			func(context.Context, *text) (*text, error) { panic("no") },
			ack.Error{Stage: ack.Failed, Code: ack.InternalError},
		},
		"neither": {
			func(context.Context, *text) (*text, error) { return nil, nil },
			ack.Error{Stage: ack.Failed, Code: ack.InternalError},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := NewFake(t)
			say.Handle(f, test.handle)
			p, err := say.Send(t.Context(), to(f, "a"), str("x"))
			require.NoError(t, err)
			_, err = p.Response(t.Context())
			require.ErrorIs(t, err, &test.want)
			require.ErrorIs(t, p.Wait(t.Context(), ack.Read), &test.want)
			assert.True(t, p.Status().Done)
			assert.Equal(t, test.want.Stage, p.Status().Stage)
		})
	}
}

func TestFakeWithoutAHandler(t *testing.T) {
	f := NewFake(t)
	_, err := say.Call(t.Context(), to(f, "a"), str("x"))
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.UnsupportedMessageType})
	require.ErrorContains(t, err, "Fix: register a handler")
	assert.Len(t, Sent(f, say), 1)
	assert.Empty(t, Handled(f, say))

	_, err = say.Call(t.Context(), exchange.NewClient(f, address.Address{}), str("x"))
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
	_, err = say.Call(t.Context(), to(f, "a"), str("x"), exchange.MaxAttempts(0))
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGiven)
	_, err = say.Call(ctx, to(f, "a"), str("x"))
	require.ErrorIs(t, err, errGiven)
	assert.Len(t, Sent(f, say), 1, "what was not sent is not kept")
}

func TestFakeDefersAndRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFake(t)
		refs := make(chan exchange.Ref, 1)
		say.Handle(f, func(ctx context.Context, m *text) (*text, error) {
			info, ok := exchange.InfoFrom(ctx)
			assert.True(t, ok)
			assert.Equal(t, "agent:human", info.To)
			if info.Run == 1 {
				return nil, ack.RetryAfter(nil, time.Minute)
			}
			refs <- info.Ref()
			return nil, exchange.ErrDeferred
		})
		began := time.Now()
		p, err := say.Send(t.Context(), to(f, "human"), str("may I?"))
		require.NoError(t, err)
		ref := <-refs
		assert.Equal(t, time.Minute, time.Since(began))
		require.NoError(t, p.Wait(t.Context(), ack.Read))
		assert.False(t, p.Status().Done)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = p.Response(ctx)
		var open *exchange.Unfinished
		require.ErrorAs(t, err, &open)
		resumed, err := say.Resume(t.Context(), f, open.Ref())
		require.NoError(t, err)

		require.NoError(t, say.Reply(t.Context(), f, ref, str("yes")))
		require.ErrorIs(t, say.Fail(t.Context(), f, ref, errGiven), exchange.ErrAnswered)
		require.ErrorIs(t, say.Fail(t.Context(), f, "fake/9", errGiven), exchange.ErrUnknownRef)
		require.ErrorIs(t, tell.Reply(t.Context(), f, ref), exchange.ErrUnknownRef)
		res, err := resumed.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "yes", res.GetValue())
	})
}

func TestFakeStreams(t *testing.T) {
	f := NewFake(t)
	watch.Handle(f, func(ctx context.Context, req *text, out *exchange.Frames[*text]) error {
		info, _ := exchange.InfoFrom(ctx)
		for _, word := range strings.Fields(req.GetValue()) {
			if err := out.Send(str(word)); err != nil {
				return err
			}
			if info.Run == 1 {
				last, err := out.Last()
				assert.NoError(t, err)
				assert.Equal(t, "a", last.GetValue())
				return ack.RetryAfter(errGiven, 0)
			}
		}
		assert.Equal(t, 2, out.Recorded())
		return ack.Failf(ack.ToolTimeout, "too many words")
	})
	var got []string
	for frame, err := range watch.Call(t.Context(), to(f, "a"), str("a b")) {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, frame.GetValue())
	}
	assert.Equal(t, []string{"a", exchange.ErrRestarted.Error(), "a", "b", "FAILED TOOL_TIMEOUT by fake: too many words"}, got)
}

func TestHandles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.NoError(t, Delivered(nil).Outcome(t.Context()))
		require.ErrorIs(t, Delivered(errGiven).Wait(t.Context(), ack.Received), errGiven)
		assert.Equal(t, ack.Failed, Delivered(errGiven).Status().Stage)

		d, end := Delivery()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var open *exchange.Unfinished
		require.ErrorAs(t, d.Outcome(ctx), &open)
		require.ErrorIs(t, open, context.DeadlineExceeded)
		end(ack.Rejectf(ack.ValidationError, "no"))
		end(nil)
		require.ErrorIs(t, d.Outcome(t.Context()), &ack.Error{Stage: ack.Rejected})
		assert.Equal(t, ack.Rejected, d.Status().Stage)

		var got []string
		for frame, err := range Streamed([]*text{str("a"), str("b")}, errGiven).Frames(t.Context()) {
			if err != nil {
				require.ErrorIs(t, err, errGiven)
				break
			}
			got = append(got, frame.GetValue())
		}
		assert.Equal(t, []string{"a", "b"}, got)
		p, send, finish := Stream[*text]()
		go func() {
			for _, word := range []string{"c", "d"} {
				time.Sleep(time.Minute)
				send(str(word))
			}
			finish(nil)
			send(str("too late"))
		}()
		began := time.Now()
		for frame, err := range p.Frames(t.Context()) {
			require.NoError(t, err)
			got = append(got, frame.GetValue())
		}
		assert.Equal(t, []string{"a", "b", "c", "d"}, got)
		assert.Equal(t, 2*time.Minute, time.Since(began))
		require.NoError(t, p.Outcome(t.Context()))
		for range Streamed[*text](nil, nil).Frames(t.Context()) {
			t.Error("there is no frame")
		}
	})
}

// recorder is a test that notes what fails it.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, format)
}

func TestFakeMistakesFailTheTest(t *testing.T) {
	r := &recorder{TB: t}
	f := NewFake(r)
	say.Handle(f, nil)
	exchange.NewOneWay[text]("nonsense").Handle(f, func(context.Context, *text) error { return nil })
	say.HandleReply(f, func(context.Context, *text, *text, error) error { return nil })
	f.Mistake(errors.New("the handler is nil"))
	f.Service(exchange.Service{Name: "test.v1.Echo"})
	assert.Len(t, r.errors, 4)
}

func TestFakeDefersAStream(t *testing.T) {
	f := NewFake(t)
	refs := make(chan exchange.Ref, 1)
	watch.Handle(f, func(ctx context.Context, _ *text, out *exchange.Frames[*text]) error {
		info, _ := exchange.InfoFrom(ctx)
		refs <- info.Ref()
		return errors.Join(out.Send(str("1")), exchange.ErrDeferred)
	})
	p, err := watch.Send(t.Context(), to(f, "a"), str("x"))
	require.NoError(t, err)
	ref := <-refs
	var got []string
	for m, err := range p.Frames(t.Context()) {
		require.NoError(t, err)
		if got = append(got, m.GetValue()); len(got) > 1 {
			continue
		}
		require.ErrorIs(t, watch.Reply(t.Context(), f, ref, func(*exchange.Frames[*text]) error { return errGiven }), errGiven)
		require.NoError(t, watch.Reply(t.Context(), f, ref, func(out *exchange.Frames[*text]) error {
			assert.Equal(t, 1, out.Recorded())
			return out.Send(str("2"))
		}))
	}
	assert.Equal(t, []string{"1", "2"}, got)
	send := func(out *exchange.Frames[*text]) error { return nil }
	require.ErrorIs(t, watch.Reply(t.Context(), f, ref, send), exchange.ErrAnswered)
	require.ErrorIs(t, watch.Reply(t.Context(), f, "none", send), exchange.ErrUnknownRef)
}

package agent_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// startingWith returns a stream's handler that sends the first n numbers and leaves the rest to others, and where it puts
// the references.
func startingWith(n int) (func(context.Context, *text, *exchange.Frames[*text]) error, chan exchange.Ref) {
	refs := make(chan exchange.Ref, 10)
	return func(ctx context.Context, _ *text, out *exchange.Frames[*text]) error {
		info, _ := exchange.InfoFrom(ctx)
		if err := numbers(out, n); err != nil {
			return err
		}
		refs <- info.Ref()
		return exchange.ErrDeferred
	}, refs
}

// goOn returns what sends the numbers up to n.
func goOn(n int) func(*exchange.Frames[*text]) error {
	return func(out *exchange.Frames[*text]) error { return numbers(out, n) }
}

// TestDeferredStreamGoesOn answers a stream in several steps and processes, with more than a window of frames.
func TestDeferredStreamGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		desk, client := net.Agent("desk"), net.Agent("client")
		handle, refs := startingWith(5)
		count.Handle(desk, handle)
		start(t, desk, client)
		p, err := count.Send(t.Context(), to(client, "desk"), str("x"))
		require.NoError(t, err)
		ref := <-refs
		next, stop := iter.Pull2(p.Frames(t.Context()))
		defer stop()
		for _, want := range upTo(5) {
			m, err, _ := next()
			require.NoError(t, err)
			assert.Equal(t, want, m.GetValue())
		}
		time.Sleep(time.Hour)
		broken := errors.New("broken")
		err = count.Reply(t.Context(), desk, ref, func(out *exchange.Frames[*text]) error {
			assert.Equal(t, 5, out.Recorded())
			if err := numbers(out, 7); err != nil {
				return err
			}
			return broken
		})
		require.ErrorIs(t, err, broken)
		assert.False(t, p.Status().Done)

		net.Crash("desk")
		desk = net.Reopen("desk")
		count.Handle(desk, handle)
		start(t, desk)
		answered := make(chan error)
		go func() { answered <- count.Reply(t.Context(), desk, ref, goOn(300)) }()
		for _, want := range upTo(300)[5:] {
			m, err, ok := next()
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, want, m.GetValue())
		}
		_, _, more := next()
		assert.False(t, more)
		require.NoError(t, <-answered)
		assert.Equal(t, ack.Fulfilled, p.Status().Stage)
		assert.Empty(t, refs, "a deferred stream does not run again")
		require.ErrorIs(t, count.Reply(t.Context(), desk, ref, goOn(301)), exchange.ErrAnswered)
		require.ErrorIs(t, count.Fail(t.Context(), desk, ref, broken), exchange.ErrAnswered)
	})
}

// TestDeferredStreamIsAnsweredByOneAtATime has answers that come before the handler has returned, and each of which would
// end the stream.
func TestDeferredStreamIsAnsweredByOneAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		desk, client := net.Agent("desk"), net.Agent("client")
		const answers = 5
		results := make(chan error, answers)
		count.Handle(desk, func(ctx context.Context, _ *text, out *exchange.Frames[*text]) error {
			info, _ := exchange.InfoFrom(ctx)
			assert.ErrorIs(t, count.Reply(ctx, desk, info.Ref(), goOn(1)), exchange.ErrNotDeferred, "it would wait for itself")
			for range answers {
				go func() { results <- count.Reply(t.Context(), desk, info.Ref(), goOn(20)) }()
			}
			time.Sleep(time.Minute)
			assert.Empty(t, results)
			if err := numbers(out, 10); err != nil {
				return err
			}
			return exchange.ErrDeferred
		})
		start(t, desk, client)
		got, err := collect(count.Call(t.Context(), to(client, "desk"), str("x")))
		require.NoError(t, err)
		assert.Equal(t, upTo(20), got)
		synctest.Wait()
		good := 0
		for range answers {
			if err := <-results; err == nil {
				good++
			} else {
				require.ErrorIs(t, err, exchange.ErrAnswered)
			}
		}
		assert.Equal(t, 1, good)
	})
}

// TestDeferredStreamIsNotAnswered has streams that cannot be gone on with.
func TestDeferredStreamIsNotAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		disk := store.NewMemory()
		desk, client := net.AgentOn(agent.Config{ID: "desk"}, disk), net.Agent("client")
		handle, refs := startingWith(5)
		later := make(chan exchange.Ref, 1)
		count.Handle(desk, handle)
		resume.Handle(desk, func(ctx context.Context, _ *text, _ *exchange.Frames[*text]) error {
			info, _ := exchange.InfoFrom(ctx)
			later <- info.Ref()
			return ack.RetryAfter(nil, time.Hour)
		})
		start(t, desk, client)
		p, err := count.Send(t.Context(), to(client, "desk"), str("x"), exchange.TTL(time.Minute))
		require.NoError(t, err)
		ref := <-refs
		_, err = resume.Send(t.Context(), to(client, "desk"), str("x"))
		require.NoError(t, err)
		waiting := <-later
		synctest.Wait()
		require.ErrorIs(t, resume.Reply(t.Context(), desk, waiting, goOn(1)), exchange.ErrNotDeferred, "its handler runs again")
		require.ErrorIs(t, resume.Reply(t.Context(), desk, ref, goOn(1)), exchange.ErrUnknownRef, "another exchange's")
		require.ErrorIs(t, count.Reply(t.Context(), desk, "in/x/1", goOn(1)), exchange.ErrUnknownRef)
		require.ErrorIs(t, count.Reply(t.Context(), desk, ref, nil), &ack.Error{Stage: ack.Failed, Code: ack.InternalError})

		// The time to live ends while its reader is waited for, or the one who answers gives up before.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, count.Reply(ctx, desk, ref, goOn(1000)), context.DeadlineExceeded)
		require.ErrorIs(t, count.Reply(t.Context(), desk, ref, func(out *exchange.Frames[*text]) error {
			time.Sleep(time.Minute)
			return numbers(out, 1000)
		}), exchange.ErrAnswered)
		_, err = collect(p.Frames(t.Context()))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.TTLExpired})
	})
}

// TestCloseEndsAnswersOfDeferredStreams closes an agent while a reader is waited for: the stream goes on in the next process.
func TestCloseEndsAnswersOfDeferredStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		disk := store.NewMemory()
		desk, client := net.AgentOn(agent.Config{ID: "desk"}, disk), net.Agent("client")
		handle, refs := startingWith(5)
		count.Handle(desk, handle)
		start(t, desk, client)
		p, err := count.Send(t.Context(), to(client, "desk"), str("x"))
		require.NoError(t, err)
		ref := <-refs
		answered := make(chan error)
		go func() { answered <- count.Reply(t.Context(), desk, ref, goOn(100)) }()
		synctest.Wait()
		require.NoError(t, desk.Close())
		require.ErrorContains(t, <-answered, "closing")
		require.ErrorIs(t, count.Reply(t.Context(), desk, ref, goOn(100)), agent.ErrClosed)

		desk = net.AgentOn(agent.Config{ID: "desk"}, disk.Reopen())
		count.Handle(desk, handle)
		start(t, desk)
		go func() { answered <- count.Reply(t.Context(), desk, ref, goOn(100)) }()
		got, err := collect(p.Frames(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, upTo(100), got)
		require.NoError(t, <-answered)
	})
}

// TestAnswerOfADeferredStreamWritesData stores what belongs to the end with it.
func TestAnswerOfADeferredStreamWritesData(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		desk, client := net.Agent("desk"), net.Agent("client")
		handle, refs := startingWith(0)
		count.Handle(desk, handle)
		start(t, desk, client)
		p, err := count.Send(t.Context(), to(client, "desk"), str("x"))
		require.NoError(t, err)
		ctx := exchange.WithWrites(t.Context(), func(tx *exchange.Tx) error { return tx.Set("answered", []byte("yes")) })
		require.NoError(t, count.Reply(ctx, desk, <-refs, goOn(3)))
		got, err := collect(p.Frames(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, upTo(3), got)
		require.NoError(t, desk.Data(t.Context(), func(tx *exchange.Tx) error {
			value, err := tx.Get("answered")
			assert.Equal(t, "yes", string(value))
			return err
		}))
	})
}

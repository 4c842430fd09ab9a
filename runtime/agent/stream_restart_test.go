package agent_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// stuckAt returns a handler that sends the numbers up to n, and then waits for the end of its agent.
func stuckAt(n int, reached chan<- struct{}) func(context.Context, *text, *exchange.Frames[*text]) error {
	return func(ctx context.Context, _ *text, out *exchange.Frames[*text]) error {
		if err := numbers(out, n); err != nil {
			return err
		}
		close(reached)
		<-ctx.Done()
		return context.Cause(ctx)
	}
}

// crashInTheMiddle kills the handling agent of a stream after 20 frames and lets its restart send 30.
func crashInTheMiddle(t *testing.T, x *exchange.Stream[*text, *text], routerToo bool) (got []string, runs int) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		reached := make(chan struct{})
		x.Handle(server, stuckAt(20, reached))
		start(t, server, client)
		read := make(chan struct{})
		go func() {
			defer close(read)
			var err error
			got, err = collect(x.Call(t.Context(), to(client, "server"), str("x")))
			assert.NoError(t, err)
		}()
		<-reached
		if routerToo {
			net.StopRouter()
		} else {
			synctest.Wait()
		}
		net.Crash("server")
		server = net.Reopen("server")
		x.Handle(server, func(ctx context.Context, _ *text, out *exchange.Frames[*text]) error {
			info, _ := exchange.InfoFrom(ctx)
			runs = info.Run
			return numbers(out, 30)
		})
		start(t, server)
		if routerToo {
			time.Sleep(time.Minute)
			net.StartRouter()
		}
		<-read
	})
	return got, runs
}

func TestStreamRestartsWithItsHandler(t *testing.T) {
	got, runs := crashInTheMiddle(t, count, false)
	assert.Equal(t, append(append(upTo(20), "restarted"), upTo(30)...), got)
	assert.Equal(t, 2, runs)
}

func TestStreamContinuesWithItsHandler(t *testing.T) {
	got, runs := crashInTheMiddle(t, resume, false)
	assert.Equal(t, upTo(30), got)
	assert.Equal(t, 2, runs)
}

func TestStreamSurvivesRouterAndHandlerTogether(t *testing.T) {
	got, _ := crashInTheMiddle(t, resume, true)
	assert.Equal(t, upTo(30), got)
	got, _ = crashInTheMiddle(t, count, true)
	// How many frames had come when the router stopped is not known.
	for i, v := range got {
		if v == "restarted" {
			assert.Equal(t, upTo(i), got[:i])
			got = got[i+1:]
			break
		}
	}
	assert.Equal(t, upTo(30), got)
}

// TestStreamContinuesBehindItsWindow kills a handler that waits for its reader: it learns anew how far the reader is.
func TestStreamContinuesBehindItsWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		resume.Handle(server, counting(500))
		start(t, server, client)
		next, stop := iter.Pull2(resume.Call(t.Context(), to(client, "server"), str("x")))
		defer stop()
		var got []string
		for range 40 {
			m, err, ok := next()
			require.True(t, ok)
			require.NoError(t, err)
			got = append(got, m.GetValue())
		}
		synctest.Wait()
		net.Crash("server")
		server = net.Reopen("server")
		resume.Handle(server, counting(500))
		start(t, server)
		synctest.Wait()
		for {
			m, err, ok := next()
			if !ok {
				break
			}
			require.NoError(t, err)
			got = append(got, m.GetValue())
		}
		assert.Equal(t, upTo(500), got)
	})
}

func TestStreamSurvivesTheRouter(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		count.Handle(server, func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
			for i := range 300 {
				time.Sleep(time.Second)
				if err := out.Send(str(fmt.Sprint(i + 1))); err != nil {
					return err
				}
			}
			return nil
		})
		start(t, server, client)
		go func() {
			for range 4 {
				time.Sleep(50*time.Second + 300*time.Millisecond)
				net.StopRouter()
				time.Sleep(10 * time.Second)
				net.StartRouter()
			}
		}()
		got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
		require.NoError(t, err)
		assert.Equal(t, upTo(300), got)
	})
}

func TestStreamIsReadByALaterProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		count.Handle(server, counting(200))
		start(t, server, client)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var unfinished *exchange.Unfinished
		got := 0
		for _, err := range count.Call(ctx, to(client, "server"), str("x")) {
			if err != nil {
				require.ErrorAs(t, err, &unfinished)
				require.ErrorIs(t, err, context.Canceled)
				break
			}
			if got++; got == 70 {
				synctest.Wait()
				cancel()
			}
		}
		require.NotNil(t, unfinished)
		require.Equal(t, 70, got, "nobody wants the frames that are here")
		net.Crash("client")
		client = net.Reopen("client")
		start(t, client)
		p, err := count.Resume(t.Context(), client, unfinished.Ref())
		require.NoError(t, err)
		for range 2 {
			all, err := collect(p.Frames(t.Context()))
			require.NoError(t, err)
			assert.Equal(t, upTo(200), all, "from the first frame, as often as one asks")
		}
		assert.Equal(t, ack.Fulfilled, p.Status().Stage)

		net.Crash("client")
		client = net.Reopen("client")
		p, err = count.Resume(t.Context(), client, unfinished.Ref())
		require.NoError(t, err)
		all, err := collect(p.Frames(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, upTo(200), all, "when it has ended, too")
		_, err = resume.Resume(t.Context(), client, unfinished.Ref())
		require.ErrorIs(t, err, exchange.ErrUnknownRef)
	})
}

func TestStreamWithoutReaderGoesToItsReplyHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		begin := make(chan struct{})
		count.Handle(server, func(ctx context.Context, req *text, out *exchange.Frames[*text]) error {
			<-begin
			if err := numbers(out, 150); err != nil || req.GetValue() == "good" {
				return err
			}
			return ack.Rejectf(ack.PermissionDenied, "enough")
		})
		start(t, server, client)
		for _, word := range []string{"good", "bad"} {
			_, err := count.Send(t.Context(), to(client, "server"), str(word))
			require.NoError(t, err)
		}
		synctest.Wait()
		net.Crash("client")
		client = net.Reopen("client")
		type result struct {
			frames []string
			err    error
		}
		results := make(chan map[string]result, 10)
		calls := 0
		count.HandleReply(client, func(ctx context.Context, req *text, frames iter.Seq2[*text, error]) error {
			if calls++; calls == 1 {
				return errors.New("not yet")
			}
			got, err := collect(frames)
			results <- map[string]result{req.GetValue(): {got, err}}
			return nil
		})
		start(t, client)
		close(begin)
		seen := map[string]result{}
		for range 2 {
			for k, v := range <-results {
				seen[k] = v
			}
		}
		assert.Equal(t, upTo(150), seen["good"].frames)
		require.NoError(t, seen["good"].err)
		assert.Equal(t, upTo(150), seen["bad"].frames)
		require.ErrorIs(t, seen["bad"].err, &ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied})
		time.Sleep(time.Hour)
		assert.Equal(t, 3, calls)
		assert.Zero(t, client.Buffer().Stats().OutUnhandled)
	})
}

func TestLeavingAStreamCancelsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		var done atomic.Bool
		count.Handle(server, func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
			err := numbers(out, 1000)
			done.Store(err == nil)
			return err
		})
		handled := make(chan []string, 1)
		start(t, server, client)
		p, err := count.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		for m, err := range p.Frames(t.Context()) {
			require.NoError(t, err)
			assert.Equal(t, "1", m.GetValue())
			break
		}
		synctest.Wait()
		assert.True(t, done.Load(), "nobody will read, so nobody is waited for")
		require.NoError(t, p.Wait(t.Context(), ack.Fulfilled))
		go func() {
			got, err := collect(p.Frames(t.Context()))
			assert.NoError(t, err)
			handled <- got
		}()
		assert.Equal(t, upTo(1000), <-handled)

		frames := count.Call(t.Context(), to(client, "server"), str("x"))
		for range frames {
			break
		}
		_, err = collect(frames)
		require.ErrorIs(t, err, exchange.ErrIteratorUsed)
	})
}

// TestWaitingForTheEndOfAStream reads nothing, and so does not hold its handler up.
func TestWaitingForTheEndOfAStream(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		count.Handle(server, counting(300))
		start(t, server, client)
		p, err := count.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		require.NoError(t, p.Outcome(t.Context()))
		got, err := collect(p.Frames(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, upTo(300), got)
	})
}

func TestStreamRunsAgainAfterAFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		var attempts atomic.Int32
		failing := func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
			n := int(attempts.Add(1)) * 10
			if err := numbers(out, n); err != nil {
				return err
			}
			if n < 30 {
				return ack.Failf(ack.AgentUnavailable, "not all")
			}
			return nil
		}
		count.Handle(server, failing)
		resume.Handle(server, failing)
		start(t, server, client)
		got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
		require.NoError(t, err)
		want := append(append(upTo(10), "restarted"), upTo(20)...)
		assert.Equal(t, append(append(want, "restarted"), upTo(30)...), got)
		attempts.Store(0)
		got, err = collect(resume.Call(t.Context(), to(client, "server"), str("x")))
		require.NoError(t, err)
		assert.Equal(t, upTo(30), got)
	})
}

// TestDeferredStreamFails has frames that are stored, sent before the crash or after it, and an answer that comes later.
func TestDeferredStreamFails(t *testing.T) {
	deferredStreamFails(t, false)
	deferredStreamFails(t, true)
}

func deferredStreamFails(t *testing.T, lost bool) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		refs := make(chan exchange.Ref, 1)
		count.Handle(server, func(ctx context.Context, _ *text, out *exchange.Frames[*text]) error {
			info, _ := exchange.InfoFrom(ctx)
			if lost {
				net.StopRouter()
			}
			if err := numbers(out, 5); err != nil {
				return err
			}
			refs <- info.Ref()
			return exchange.ErrDeferred
		})
		start(t, server, client)
		p, err := count.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		ref := <-refs
		synctest.Wait()
		net.Crash("server")
		server = net.Reopen("server")
		count.Handle(server, counting(1))
		start(t, server)
		if lost {
			net.StartRouter()
			next, stop := iter.Pull2(p.Frames(t.Context()))
			defer stop()
			m, err, _ := next()
			require.NoError(t, err)
			assert.Equal(t, "1", m.GetValue(), "frames come before there is an answer")
		}
		require.NoError(t, count.Fail(t.Context(), server, ref, ack.Failf(ack.ToolTimeout, "nobody came")))
		got, err := collect(p.Frames(t.Context()))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.ToolTimeout})
		assert.Equal(t, upTo(5), got)
	})
}

func TestStreamOnDisk(t *testing.T) {
	net := agenttest.New(t)
	log := slog.New(slog.DiscardHandler)
	open := func(id, dir string) *agent.Agent {
		db, err := pebble.Open(dir, pebble.Options{Logger: log})
		require.NoError(t, err)
		return net.AgentOn(agent.Config{ID: id, DrainTimeout: time.Millisecond}, db)
	}
	serverDir, clientDir := t.TempDir(), t.TempDir()
	server, client := open("server", serverDir), open("client", clientDir)
	reached := make(chan struct{})
	resume.Handle(server, stuckAt(50, reached))
	start(t, server, client)
	p, err := resume.Send(t.Context(), to(client, "server"), str("x"))
	require.NoError(t, err)
	<-reached
	require.NoError(t, server.Close())
	require.NoError(t, client.Close())
	server, client = open("server", serverDir), open("client", clientDir)
	resume.Handle(server, counting(500))
	start(t, server, client)
	p, err = resume.Resume(t.Context(), client, p.Ref())
	require.NoError(t, err)
	got, err := collect(p.Frames(t.Context()))
	require.NoError(t, err)
	assert.Equal(t, upTo(500), got)
}

package agent_test

import (
	"context"
	"fmt"
	"strings"
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

func TestReplyTimeoutOfAStream(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		count.Handle(server, func(ctx context.Context, req *text, out *exchange.Frames[*text]) error {
			pauses := map[string][]time.Duration{
				"steady": {9 * time.Second, 9 * time.Second, 9 * time.Second},
				"late":   {11 * time.Second},
				"stalls": {time.Second, time.Second, time.Hour},
			}
			for i, pause := range pauses[req.GetValue()] {
				select {
				case <-time.After(pause):
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				if err := out.Send(str(fmt.Sprint(i + 1))); err != nil {
					return err
				}
			}
			return nil
		})
		start(t, server, client)
		timeout := exchange.ReplyTimeout(10 * time.Second)
		got, err := collect(count.Call(t.Context(), to(client, "server"), str("steady"), timeout))
		require.NoError(t, err)
		assert.Equal(t, upTo(3), got)
		for word, n := range map[string]int{"late": 0, "stalls": 2} {
			began := time.Now()
			got, err = collect(count.Call(t.Context(), to(client, "server"), str(word), timeout))
			require.ErrorIs(t, err, &ack.Error{Stage: ack.TimedOut, Code: ack.AckTimeout}, word)
			assert.Equal(t, upTo(n), append([]string(nil), got...), word)
			assert.Less(t, time.Since(began), 20*time.Second, word)
		}
		// A reader that is slow itself does not run into it.
		n := 0
		for _, err := range count.Call(t.Context(), to(client, "server"), str("steady"), timeout) {
			require.NoError(t, err)
			n++
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 3, n)
	})
}

// TestHandlerEndsWhenItsReaderIsGone has a handler that waits for a reader whose operation has ended.
func TestHandlerEndsWhenItsReaderIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		ended := make(chan error, 1)
		count.Handle(server, func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
			err := numbers(out, 1000)
			ended <- err
			return err
		})
		start(t, server, client)
		p, err := count.Send(t.Context(), to(client, "server"), str("x"), exchange.Deadline(time.Minute))
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		assert.Equal(t, ack.TimedOut, p.Status().Stage)
		require.NoError(t, <-ended)
		got, err := collect(p.Frames(t.Context()))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.TimedOut, Code: ack.AckTimeout})
		assert.Equal(t, upTo(exchange.FrameWindow), got)
	})
}

// TestHandlersThatWaitForAReaderHoldNobodyUp has one place for handlers: neither another message nor, for long, Close waits for it.
func TestHandlersThatWaitForAReaderHoldNobodyUp(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		disk := store.NewMemory()
		server, client := net.AgentOn(agent.Config{ID: "server", MaxHandlers: 1}, disk), net.Agent("client")
		count.Handle(server, func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
			if err := numbers(out, 100); err != nil {
				return fmt.Errorf("sending: %v", err) // not even a handler that hides why
			}
			return nil
		})
		say.Handle(server, echo)
		start(t, server, client)
		p, err := count.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		synctest.Wait()
		_, err = say.Call(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)

		began := time.Now()
		require.NoError(t, server.Close())
		assert.Less(t, time.Since(began), 2*time.Second)
		assert.False(t, p.Status().Done)
		server = net.AgentOn(agent.Config{ID: "server"}, disk.Reopen())
		count.Handle(server, counting(100))
		start(t, server)
		synctest.Wait() // until the frames of the first run are replaced
		got, err := collect(p.Frames(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, upTo(100), got)
	})
}

// TestHandlersReadStreams has one place for handlers at each agent, and an agent that asks itself.
func TestHandlersReadStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server := net.AgentOn(agent.Config{ID: "server", MaxHandlers: 1}, store.NewMemory())
		client := net.Agent("client")
		say.Handle(server, func(ctx context.Context, m *text) (*text, error) {
			got, err := collect(count.Call(ctx, to(server, "server"), m))
			return str(fmt.Sprint(len(got))), err
		})
		count.Handle(server, counting(200))
		start(t, server, client)
		for range 3 {
			res, err := say.Call(t.Context(), to(client, "server"), str("x"))
			require.NoError(t, err)
			assert.Equal(t, "200", res.GetValue())
		}
	})
}

func TestHandlerTimeoutOfAStream(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		ended := make(chan error, 1)
		slow := exchange.NewStream[text, text]("test.v1.Echo/Slow", exchange.HandlerTimeout(time.Minute), exchange.MaxAttempts(1))
		slow.Handle(server, func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
			err := numbers(out, 100)
			ended <- err
			return err
		})
		start(t, server, client)
		p, err := slow.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		require.ErrorContains(t, p.Outcome(noReading(t)), "context deadline exceeded")
		time.Sleep(2 * time.Minute)
		require.ErrorContains(t, <-ended, "handler_timeout")
		got, err := collect(p.Frames(t.Context()))
		require.ErrorContains(t, err, "handler_timeout")
		assert.Equal(t, upTo(exchange.FrameWindow), got)
	})
}

// noReading returns a context that has ended.
func noReading(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	t.Cleanup(cancel)
	return ctx
}

func TestFramesThatAreTooLarge(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		count.Handle(server, func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
			if err := numbers(out, 2); err != nil {
				return err
			}
			assert.ErrorContains(t, out.Send(nil), "a frame is nil")
			return out.Send(str(strings.Repeat("x", 4<<20)))
		})
		start(t, server, client)
		got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.OversizePayload})
		assert.Equal(t, upTo(2), got)
	})
}

// TestFramesAfterTheHandler come from a goroutine that the handler has left behind.
func TestFramesAfterTheHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		left := make(chan *exchange.Frames[*text], 1)
		count.Handle(server, func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
			left <- out
			return numbers(out, 2)
		})
		start(t, server, client)
		got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
		require.NoError(t, err)
		assert.Equal(t, upTo(2), got)
		require.ErrorContains(t, (<-left).Send(str("3")), "has returned")
	})
}

// TestAReaderThatLostItsStore tells the handler that nobody knows of its frames.
func TestAReaderThatLostItsStore(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		ended := make(chan error, 1)
		count.Handle(server, func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
			err := numbers(out, 1000)
			ended <- err
			return err
		})
		start(t, server, client)
		_, err := count.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		synctest.Wait()
		net.Crash("client")
		require.NoError(t, client.Close())
		time.Sleep(time.Hour)
		start(t, net.AgentOn(agent.Config{ID: "client"}, store.NewMemory()))
		require.NoError(t, <-ended)
	})
}

package agent_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

var (
	count  = exchange.NewStream[text, text]("test.v1.Echo/Count")
	resume = exchange.NewStream[text, text]("test.v1.Echo/Resume", exchange.ContinueOnResume)
)

// numbers sends the numbers from the next one on up to n.
func numbers(out *exchange.Frames[*text], n int) error {
	for i := out.Recorded() + 1; i <= n; i++ {
		if err := out.Send(str(fmt.Sprint(i))); err != nil {
			return err
		}
	}
	return nil
}

// counting returns a handler that sends the numbers up to n.
func counting(n int) func(context.Context, *text, *exchange.Frames[*text]) error {
	return func(_ context.Context, _ *text, out *exchange.Frames[*text]) error { return numbers(out, n) }
}

// upTo returns the numbers from 1 to n as texts.
func upTo(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i+1))
	}
	return all
}

// collect returns what an iterator yields, errors as "!" and their text for ErrRestarted, and the last error else.
func collect(frames iter.Seq2[*text, error]) (got []string, err error) {
	for m, e := range frames {
		switch {
		case e == exchange.ErrRestarted:
			got = append(got, "restarted")
		case e != nil:
			err = e
		default:
			got = append(got, m.GetValue())
		}
	}
	return got, err
}

func TestStreamYieldsItsFrames(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		count.Handle(server, func(ctx context.Context, req *text, out *exchange.Frames[*text]) error {
			assert.Zero(t, out.Recorded())
			last, err := out.Last()
			assert.NoError(t, err)
			assert.Nil(t, last)
			if err := numbers(out, 3); err != nil {
				return err
			}
			last, err = out.Last()
			assert.NoError(t, err)
			assert.Equal(t, "3", last.GetValue())
			assert.Equal(t, 3, out.Recorded())
			return nil
		})
		start(t, server, client)
		for _, format := range []exchange.Format{exchange.Protobuf, exchange.JSON} {
			began := time.Now()
			got, err := collect(count.Call(t.Context(), to(client, "server"), str("x"), format))
			require.NoError(t, err)
			assert.Equal(t, upTo(3), got)
			assert.Less(t, time.Since(began), time.Second, "nothing waits for a timer")
		}
	})
}

func TestStreamWithoutFrames(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		count.Handle(server, counting(0))
		start(t, server, client)
		got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
		require.NoError(t, err)
		assert.Empty(t, got)
	})
}

func TestStreamOfManyFrames(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		const n = 10_000
		count.Handle(server, counting(n))
		start(t, server, client)
		got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
		require.NoError(t, err)
		assert.Equal(t, upTo(n), got)
	})
}

func TestStreamThatFailsYieldsItsFramesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		count.Handle(server, func(ctx context.Context, req *text, out *exchange.Frames[*text]) error {
			if err := numbers(out, 40); err != nil {
				return err
			}
			return ack.Failf(ack.ToolTimeout, "no more")
		})
		start(t, server, client)
		began := time.Now()
		got, err := collect(count.Call(t.Context(), to(client, "server"), str("x")))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.ToolTimeout})
		assert.Equal(t, upTo(40), got)
		assert.Less(t, time.Since(began), time.Second, "the end says how many frames there are")
	})
}

func TestStreamBlocksWhenItsReaderIsBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		var sent int
		count.Handle(server, func(ctx context.Context, req *text, out *exchange.Frames[*text]) error {
			for sent = 0; sent < 300; sent++ {
				if err := out.Send(str(fmt.Sprint(sent + 1))); err != nil {
					return err
				}
			}
			return nil
		})
		start(t, server, client)
		p, err := count.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.Equal(t, exchange.FrameWindow, sent, "nobody reads")
		var got []string
		for m, err := range p.Frames(t.Context()) {
			require.NoError(t, err)
			got = append(got, m.GetValue())
			time.Sleep(time.Minute)
			synctest.Wait()
			require.LessOrEqual(t, sent, len(got)+exchange.FrameWindow)
		}
		assert.Equal(t, upTo(300), got)
	})
}

package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestWaitingThatEndsSaysHowFarItCame gives up on the same operation again and again while it moves on.
func TestWaitingThatEndsSaysHowFarItCame(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		net.StopRouter()
		server, client := net.Agent("server"), net.Agent("client")
		finish := make(chan struct{})
		say.Handle(server, func(_ context.Context, m *text) (*text, error) {
			<-finish
			return m, nil
		})
		start(t, client)
		p, err := say.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		after := func(stage ack.Stage, words string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := p.Response(ctx)
			var open *exchange.Unfinished
			require.ErrorAs(t, err, &open)
			require.Equal(t, p.Ref(), open.Ref())
			require.Equal(t, stage, open.Stage())
			require.ErrorContains(t, err, words)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		after(ack.None, "no router has taken it yet. Fix: ")
		net.StartRouter()
		after(ack.None, "it is not RECEIVED yet. Fix: ")
		start(t, server)
		after(ack.Read, "READ, and its handler has it. Fix: ")
		close(finish)
		res, err := p.Response(t.Context())
		require.NoError(t, err)
		require.Equal(t, "x", res.GetValue())
	})
}

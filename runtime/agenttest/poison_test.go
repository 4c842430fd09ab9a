package agenttest

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestPoison starts a handler five times that takes its process down each time, and then gives the message up for good: no
// further attempt is made, and other messages are handled.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := New(t)
		server, client := net.Agent("server"), net.Agent("client")
		runs := make(chan int)
		handle := func(ctx context.Context, m *text) error {
			if m.GetValue() != "poison" {
				return nil
			}
			info, _ := exchange.InfoFrom(ctx)
			runs <- info.Run
			<-ctx.Done()
			return ctx.Err()
		}
		tell.Handle(server, handle)
		start(t, server, client)
		d, err := tell.Send(t.Context(), to(client, "server"), str("poison"))
		require.NoError(t, err)
		for n := 1; n <= 5; n++ {
			require.Equal(t, n, <-runs)
			net.Crash("server")
			server = net.Reopen("server")
			tell.Handle(server, handle)
			start(t, server)
		}
		var e *ack.Error
		require.ErrorAs(t, d.Outcome(t.Context()), &e)
		require.Equal(t, ack.Failed, e.Stage)
		require.Equal(t, ack.InternalError, e.Code, "which the exchange retries otherwise")
		require.Contains(t, e.Note, "poison: the handler was started 5 times")
		require.Len(t, d.Status().Attempts, 1)
		require.NoError(t, tell.Call(t.Context(), to(client, "server"), str("fine")))
		require.Empty(t, dataOf(t, server))
	})
}

package agent_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// TestCapacityIsSaid says once when the buffer is nearly full, once when it is full, and once when there is room again; while
// it is full, outcomes of what it has still have their places.
func TestCapacityIsSaid(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		var log syncBuffer
		client := net.AgentOn(agent.Config{ID: "client", MaxOut: 10, Logger: slog.New(slog.NewTextHandler(&log, nil))}, store.NewMemory())
		start(t, client)
		said := func(nearly, full, again int) {
			t.Helper()
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			require.Equal(t, nearly, strings.Count(log.String(), "the activity buffer is nearly full"))
			require.Equal(t, full, strings.Count(log.String(), "the activity buffer is full"))
			require.Equal(t, nearly+full, strings.Count(log.String(), "Fix: find out what does not move with sw4rm buffer ls, or raise Config.MaxOut"))
			require.Equal(t, again, strings.Count(log.String(), "the activity buffer has room again"))
		}
		send := func(n int) {
			t.Helper()
			for range n {
				_, err := tell.Send(t.Context(), to(client, "server"), str("x"))
				require.NoError(t, err)
			}
		}
		send(7)
		said(0, 0, 0)
		send(1)
		said(1, 0, 0)
		send(2)
		said(1, 1, 0)
		_, err := tell.Send(t.Context(), to(client, "server"), str("x"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.BufferFull})

		server := net.Agent("server")
		tell.Handle(server, func(context.Context, *text) error { return nil })
		start(t, server)
		said(1, 1, 1)
		require.Empty(t, client.Buffer().OpenOut(), "every outcome had its place")
	})
}

package agent_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// BenchmarkFrames sends one stream of b.N frames from one agent to another, each with a store on disk. The router's is in
// memory, and its changes take longer the more it holds: compare runs with the same -benchtime, such as 2000x.
func BenchmarkFrames(b *testing.B) {
	net := agenttest.New(b)
	open := func(id string) *agent.Agent {
		db, err := pebble.Open(b.TempDir(), pebble.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(b, err)
		return net.AgentOn(agent.Config{ID: id}, db)
	}
	server, client := open("server"), open("client")
	count.Handle(server, counting(b.N))
	require.NoError(b, server.Start(b.Context()))
	require.NoError(b, client.Start(b.Context()))
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for _, err := range count.Call(b.Context(), to(client, "server"), str("x")) {
		require.NoError(b, err)
		n++
	}
	require.Equal(b, b.N, n)
}

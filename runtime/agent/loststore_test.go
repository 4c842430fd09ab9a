package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// TestSenderHearsOfALostStore has a handler at work for so long that its sender asks every ten minutes only, and then lets
// the receiver come back without its store. The sender hears so when the router does, and its next attempt succeeds.
func TestSenderHearsOfALostStore(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		say.Handle(server, func(ctx context.Context, _ *text) (*text, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		start(t, server, client)
		p, err := say.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		require.NoError(t, p.Wait(t.Context(), ack.Read))
		time.Sleep(time.Hour + time.Minute)
		net.Crash("server")
		lost := time.Now()
		again := net.AgentOn(agent.Config{ID: "server"}, store.NewMemory())
		say.Handle(again, echo)
		start(t, again)
		_, err = p.Response(t.Context())
		require.NoError(t, err)
		assert.Less(t, time.Since(lost), router.DefaultLease+35*time.Second)
		first := p.Status().Attempts[0]
		assert.Equal(t, ack.Failed, first.Stage)
		assert.Equal(t, ack.AgentUnavailable, first.Code)
		assert.True(t, strings.HasPrefix(first.Note, "receiver_lost_state"), first.Note)
	})
}

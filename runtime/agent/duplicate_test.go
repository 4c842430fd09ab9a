package agent_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
)

func TestASecondStoreUnderALiveIDIsNotAdmitted(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		say.Handle(server, echo)
		start(t, server, client)
		time.Sleep(time.Second)
		twin := net.Agent("client")
		start(t, twin)
		p, err := say.Send(t.Context(), to(twin, "server"), str("x"))
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		require.ErrorIs(t, p.Status().Err, agent.ErrUnreachable)
		assert.ErrorContains(t, p.Status().Err, "does not admit this agent")
		assert.NotContains(t, p.Status().Err.Error(), "sw4rm up")

		require.NoError(t, client.Close())
		res, err := p.Response(t.Context())
		require.NoError(t, err, "once the other has been gone for a lease")
		assert.Equal(t, "x", res.GetValue())
	})
}

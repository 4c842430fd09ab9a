package agent_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// pair starts a server that counts its runs, and a client, both with this configuration.
func pair(t *testing.T, net *agenttest.Net, cfg agent.Config) (server, client *agent.Agent, call func(opts ...exchange.SendOption) (string, error)) {
	t.Helper()
	cfg.ID = "server"
	server = net.AgentOn(cfg, store.NewMemory())
	cfg.ID = "client"
	client = net.AgentOn(cfg, store.NewMemory())
	var runs atomic.Int32
	say.Handle(server, func(context.Context, *text) (*text, error) { return str(fmt.Sprint(runs.Add(1))), nil })
	start(t, server, client)
	return server, client, func(opts ...exchange.SendOption) (string, error) {
		res, err := say.Call(t.Context(), to(client, "server"), str("x"), opts...)
		return res.GetValue(), err
	}
}

// TestRetentionIsConfigured holds each setting of what an agent keeps against what is kept.
func TestRetentionIsConfigured(t *testing.T) {
	calls := func(t *testing.T, call func(...exchange.SendOption) (string, error), n int) {
		t.Helper()
		for range n {
			_, err := call()
			require.NoError(t, err)
		}
	}
	t.Run("DedupWindow", func(t *testing.T) {
		for window, again := range map[time.Duration]string{0: "2", 2 * time.Hour: "1"} {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				_, _, call := pair(t, net, agent.Config{DedupWindow: window})
				_, err := call(exchange.WithKey("k"))
				require.NoError(t, err)
				time.Sleep(90 * time.Minute)
				got, err := call(exchange.WithKey("k"))
				require.NoError(t, err)
				assert.Equal(t, again, got, "window %v", window)
			})
		}
	})
	t.Run("InKeep", func(t *testing.T) {
		for keep, left := range map[time.Duration]int{0: 3, 2 * time.Hour: 0} {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				server, _, call := pair(t, net, agent.Config{InKeep: keep})
				calls(t, call, 3)
				time.Sleep(2*time.Hour + 2*time.Minute)
				assert.Equal(t, left, server.Buffer().Stats().InFinished, "keep %v", keep)
			})
		}
	})
	t.Run("KeepBodies", func(t *testing.T) {
		for keep, left := range map[int]int{0: 5, 2: 2} {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				_, client, call := pair(t, net, agent.Config{KeepBodies: keep})
				calls(t, call, 5)
				time.Sleep(2 * time.Minute)
				assert.Equal(t, left, client.Buffer().Stats().OutFinished, "keep %d", keep)
			})
		}
	})
	t.Run("KeepAge", func(t *testing.T) {
		for keep, left := range map[time.Duration]int{0: 5, 10 * time.Minute: 0} {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				_, client, call := pair(t, net, agent.Config{KeepAge: keep})
				calls(t, call, 5)
				time.Sleep(12 * time.Minute)
				assert.Equal(t, left, client.Buffer().Stats().OutFinished, "keep %v", keep)
			})
		}
	})
	t.Run("MaxDedupBytes", func(t *testing.T) {
		inBubble(t, func(t *testing.T, net *agenttest.Net) {
			server, _, call := pair(t, net, agent.Config{MaxDedupBytes: 2000})
			var err error
			for n := 0; err == nil && n < 100; n++ {
				_, err = call(exchange.MaxAttempts(1))
			}
			require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.BufferFull})
			assert.ErrorContains(t, err, "the limit is 2000. Fix: try again later, or raise the receiver's Config.MaxDedupBytes")
			used := server.Buffer().Stats().DedupBytes
			assert.GreaterOrEqual(t, used, int64(2000))
			assert.Less(t, used, int64(3000), "one message more at most")
		})
	})
}

// TestRetentionDefaults fills in what is not set, and refuses what cannot be kept.
func TestRetentionDefaults(t *testing.T) {
	t.Parallel()
	c, err := agent.Config{ID: "a"}.Complete()
	require.NoError(t, err)
	assert.Equal(t, activity.DefaultDedupWindow, c.DedupWindow)
	assert.Equal(t, activity.DefaultInKeep, c.InKeep)
	assert.Equal(t, activity.DefaultKeepBodies, c.KeepBodies)
	assert.Equal(t, activity.DefaultKeepAge, c.KeepAge)
	assert.EqualValues(t, activity.DefaultMaxDedupBytes, c.MaxDedupBytes)
	c, err = agent.Config{ID: "a", DedupWindow: 48 * time.Hour}.Complete()
	require.NoError(t, err)
	assert.Equal(t, 48*time.Hour, c.InKeep)
	_, err = agent.Config{ID: "a", DedupWindow: time.Hour, InKeep: time.Minute}.Complete()
	require.EqualError(t, err, "agent: Config.InKeep 1m0s is shorter than Config.DedupWindow 1h0m0s, within which repeated messages must be known. "+
		"Fix: make InKeep at least as long")
}

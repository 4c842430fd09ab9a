package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// TestACallInAHandlerEndsWithItsContext has a handler whose call is given up while another one has its place.
func TestACallInAHandlerEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		middle, client := net.AgentOn(agent.Config{ID: "middle", MaxHandlers: 1}, store.NewMemory()), net.Agent("client")
		var running, most int
		tell.Handle(middle, func(context.Context, *text) error { // keeps the only place
			running++
			most = max(most, running)
			time.Sleep(time.Hour)
			running--
			return nil
		})
		began := time.Now()
		var took time.Duration
		say.Handle(middle, func(ctx context.Context, m *text) (*text, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			_, err := say.Call(ctx, to(middle, "nobody"), m)
			var open *exchange.Unfinished
			assert.ErrorAs(t, err, &open)
			took = time.Since(began).Round(time.Second)
			return m, nil
		})
		start(t, middle, client)
		p, err := say.Send(t.Context(), to(client, "middle"), str("x"))
		require.NoError(t, err)
		synctest.Wait()
		var told []*exchange.Delivery
		for range 3 {
			d, err := tell.Send(t.Context(), to(client, "middle"), str("x"))
			require.NoError(t, err)
			told = append(told, d)
		}
		_, err = p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, time.Minute, took)
		for _, d := range told {
			require.NoError(t, d.Outcome(t.Context()))
		}
		assert.Equal(t, 3*time.Hour, time.Since(began).Round(time.Minute))
		assert.Equal(t, 1, most, "the place was given back once")
	})
}

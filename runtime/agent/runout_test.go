package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestUnansweredMessagesRunOutWithTheirHolder lets the time to live of a message end while its sender does not know
// whether the router has it.
func TestUnansweredMessagesRunOutWithTheirHolder(t *testing.T) {
	const ttl = 10 * time.Second
	ranOut := &ack.Error{Stage: ack.Failed, Code: ack.TTLExpired}
	t.Run("a handler has it", func(t *testing.T) {
		inBubble(t, func(t *testing.T, net *agenttest.Net) {
			server, client := net.Agent("server"), net.Agent("client")
			began, end := make(chan struct{}), make(chan struct{})
			say.Handle(server, func(_ context.Context, m *text) (*text, error) {
				close(began)
				<-end
				return m, nil
			})
			server.Service(exchange.Service{Name: "test.v1.Echo"})
			start(t, server, client)
			net.DropAnswer("client", 1)
			anyone := exchange.NewClient(client, address.Capability("test.v1.Echo"))
			p, err := say.Send(t.Context(), anyone, str("x"), exchange.TTL(ttl))
			require.NoError(t, err)
			<-began // and so the router has recorded who has it
			net.StopRouter()
			close(end)
			time.Sleep(2 * ttl)
			assert.False(t, p.Status().Done, "its sender cannot know that nobody has it")
			net.StartRouter()
			_, err = p.Response(t.Context())
			require.NoError(t, err, "it was handled in time")
		})
	})
	t.Run("the router has it", func(t *testing.T) {
		inBubble(t, func(t *testing.T, net *agenttest.Net) {
			client := net.Agent("client")
			start(t, client)
			net.DropAnswer("client", 1)
			p, err := say.Send(t.Context(), to(client, "absent"), str("x"), exchange.TTL(ttl))
			require.NoError(t, err)
			_, err = p.Response(t.Context())
			require.ErrorIs(t, err, ranOut)
		})
	})
	t.Run("the router never had it", func(t *testing.T) {
		inBubble(t, func(t *testing.T, net *agenttest.Net) {
			client := net.Agent("client")
			start(t, client)
			net.StopRouter()
			synctest.Wait() // the client knows it, and submits nothing to the stream that has ended
			sent := time.Now()
			p, err := say.Send(t.Context(), to(client, "absent"), str("x"), exchange.TTL(ttl))
			require.NoError(t, err)
			_, err = p.Response(t.Context())
			require.ErrorIs(t, err, ranOut)
			assert.GreaterOrEqual(t, time.Since(sent), ttl)
			assert.Less(t, time.Since(sent), ttl+time.Second)
		})
	})
	t.Run("the router had an earlier attempt", func(t *testing.T) {
		inBubble(t, func(t *testing.T, net *agenttest.Net) {
			server, client := net.Agent("server"), net.Agent("client")
			runs := 0
			say.Handle(server, func(context.Context, *text) (*text, error) {
				runs++
				return nil, ack.Failf(ack.Overloaded, "not now")
			})
			start(t, server, client)
			p, err := say.Send(t.Context(), to(client, "server"), str("x"), exchange.TTL(ttl), exchange.Backoff(time.Second, time.Second, 1))
			require.NoError(t, err)
			synctest.Wait()
			require.Equal(t, 1, runs)
			net.StopRouter()
			time.Sleep(2 * time.Second) // its second attempt is made, and has nowhere to go
			net.Crash("client")
			time.Sleep(2 * ttl)
			net.StartRouter()
			client = net.Reopen("client")
			start(t, client)
			p, err = say.Resume(t.Context(), client, p.Ref())
			require.NoError(t, err)
			_, err = p.Response(t.Context())
			require.ErrorIs(t, err, ranOut)
			assert.Len(t, p.Status().Attempts, 2)
			time.Sleep(time.Minute)
			assert.Equal(t, 1, runs, "nothing runs after its time to live")
		})
	})
}

// TestNoTimeForAnotherAttempt ends operations between two attempts: at their time, and with the reason why there were several.
func TestNoTimeForAnotherAttempt(t *testing.T) {
	const span = 5 * time.Second
	tests := map[string]struct {
		limit exchange.SendOption
		want  *ack.Error
	}{
		"time to live": {exchange.TTL(span), &ack.Error{Stage: ack.Failed, Code: ack.TTLExpired}},
		"deadline":     {exchange.Deadline(span), &ack.Error{Stage: ack.TimedOut, Code: ack.AckTimeout}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				server, client := net.Agent("server"), net.Agent("client")
				runs := 0
				say.Handle(server, func(context.Context, *text) (*text, error) {
					runs++
					return nil, ack.Failf(ack.InternalError, "the database is away")
				})
				start(t, server, client)
				sent := time.Now()
				p, err := say.Send(t.Context(), to(client, "server"), str("x"), test.limit, exchange.Backoff(10*time.Second, 10*time.Second, 1))
				require.NoError(t, err)
				_, err = p.Response(t.Context())
				require.ErrorIs(t, err, test.want)
				assert.ErrorContains(t, err, "attempt 1 ended FAILED INTERNAL_ERROR: the database is away")
				assert.Equal(t, span, time.Since(sent).Truncate(100*time.Millisecond))
				assert.Len(t, p.Status().Attempts, 1)
				time.Sleep(time.Minute)
				assert.Equal(t, 1, runs)
			})
		})
	}
}

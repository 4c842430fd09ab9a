package agent_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// TestRefusedMessagesKeepTheirOrder sends conversations to a queue that has room for two messages, while their receiver is
// away: whatever is refused and submitted again is handled in the order in which it was sent.
func TestRefusedMessagesKeepTheirOrder(t *testing.T) {
	const each = 12
	tests := map[string]struct {
		ttl    func(n int) time.Duration
		during func(t *testing.T, net *agenttest.Net)
		lost   []string
	}{
		"the receiver comes": {},
		"the connection breaks": {during: func(t *testing.T, net *agenttest.Net) {
			net.StopRouter()
			time.Sleep(time.Second)
			net.StartRouter()
		}},
		"the sender starts again": {during: func(t *testing.T, net *agenttest.Net) {
			net.Crash("client")
			start(t, net.Reopen("client"))
		}},
		"the first that was refused runs out": {ttl: func(n int) time.Duration {
			if n == 2 {
				return 20 * time.Second
			}
			return 0
		}, lost: []string{"2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := agenttest.New(t, agenttest.Limits(queue.Limits{MaxWork: 2}))
				client := net.Agent("client")
				start(t, client)
				var sent []*exchange.Delivery
				for _, conversation := range []string{envelope.NewID(), envelope.NewID()} {
					for n := range each {
						opts := []exchange.SendOption{exchange.WithCorrelation(conversation)}
						if test.ttl != nil && test.ttl(n) > 0 {
							opts = append(opts, exchange.TTL(test.ttl(n)))
						}
						p, err := tell.Send(t.Context(), to(client, "server"), str(conversation+"/"+strconv.Itoa(n)), opts...)
						require.NoError(t, err)
						sent = append(sent, p)
					}
				}
				time.Sleep(time.Minute)
				if test.during != nil {
					test.during(t, net)
					time.Sleep(time.Second)
				}
				var mu sync.Mutex
				handled := map[string][]string{}
				server := net.Agent("server")
				tell.Handle(server, func(_ context.Context, m *text) error {
					conversation, n := m.GetValue()[:36], m.GetValue()[37:]
					mu.Lock()
					defer mu.Unlock()
					handled[conversation] = append(handled[conversation], n)
					return nil
				})
				start(t, server)
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				var want []string
				for n := range each {
					if s := strconv.Itoa(n); !slices.Contains(test.lost, s) {
						want = append(want, s)
					}
				}
				require.Len(t, handled, 2)
				for _, got := range handled {
					assert.Equal(t, want, got)
				}
				if test.during == nil {
					for _, p := range sent {
						assert.True(t, p.Status().Done)
					}
				}
			})
		})
	}
}

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// client sends from one agent to another.
func client(from *agent.Agent, to string) exchange.Client {
	return exchange.NewClient(from, address.Agent(to))
}

// TestTightAgentsFinish lets two agents with every limit at one call each other at the same time.
func TestTightAgentsFinish(t *testing.T) {
	s := startServices(t, time.Second)
	tight := func(id string) *agent.Agent {
		return ours(t, s, agent.Config{ID: id, MaxHandlers: 1, MaxInbound: 1, MaxInboundBytes: 1, MaxOut: 1, MaxIn: 1})
	}
	a, b := tight("a"), tight("b")
	for _, self := range []*agent.Agent{a, b} {
		do.Handle(self, func(_ context.Context, req *text) (*text, error) {
			return wrapperspb.String(answerTo(req.GetValue())), nil
		})
		require.NoError(t, self.Start(t.Context()))
	}
	ctx := brief(t)
	const calls = 20
	var group sync.WaitGroup
	for self, other := range map[*agent.Agent]string{a: "b", b: "a"} {
		group.Go(func() {
			for n := range calls {
				req := fmt.Sprintf("call %d of %s's peer", n, other)
				res, err := do.Call(ctx, client(self, other), wrapperspb.String(req))
				if !assert.NoError(t, err) || !assert.Equal(t, answerTo(req), res.GetValue()) {
					return
				}
			}
		})
	}
	group.Wait()
}

// TestTightAgentsCallBack lets two agents that handle one message at a time call each other back from their handlers,
// eight deep, from both ends at once.
func TestTightAgentsCallBack(t *testing.T) {
	s := startServices(t, time.Second)
	tight := func(id string) *agent.Agent {
		return ours(t, s, agent.Config{ID: id, MaxHandlers: 1, MaxInbound: 1, MaxInboundBytes: 1})
	}
	a, b := tight("a"), tight("b")
	back := func(self *agent.Agent, other string) {
		do.Handle(self, func(ctx context.Context, req *text) (*text, error) {
			if strings.Count(req.GetValue(), ".") == 8 {
				return req, nil
			}
			return do.Call(ctx, client(self, other), wrapperspb.String(req.GetValue()+"."))
		})
		require.NoError(t, self.Start(t.Context()))
	}
	back(a, "b")
	back(b, "a")
	ctx := brief(t)
	first, err := do.Send(ctx, client(a, "b"), wrapperspb.String("first"))
	require.NoError(t, err)
	second, err := do.Send(ctx, client(b, "a"), wrapperspb.String("second"))
	require.NoError(t, err)
	for name, pending := range map[string]*exchange.Pending[*text]{"first": first, "second": second} {
		res, err := pending.Response(ctx)
		require.NoError(t, err)
		assert.Equal(t, name+"........", res.GetValue())
	}
}

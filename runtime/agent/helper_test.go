package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// text is the payload of the tests' exchanges.
type text = wrapperspb.StringValue

var (
	say   = exchange.NewCall[text, text]("test.v1.Echo/Say")
	tell  = exchange.NewOneWay[text]("test.v1.Echo/Tell")
	once  = exchange.NewCall[text, text]("test.v1.Echo/Once", exchange.Idempotent())
	ask   = exchange.NewCall[text, text]("test.v1.Echo/Ask", exchange.Order(exchange.OrderAgent))
	hurry = exchange.NewCall[text, text]("test.v1.Echo/Hurry", exchange.HandlerTimeout(time.Minute), exchange.MaxAttempts(1))
)

func str(s string) *text { return wrapperspb.String(s) }

// inBubble runs a test on a fake clock with a router.
func inBubble(t *testing.T, test func(t *testing.T, net *agenttest.Net)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, agenttest.New(t)) })
}

func start(t *testing.T, agents ...*agent.Agent) {
	t.Helper()
	for _, a := range agents {
		require.NoError(t, a.Start(t.Context()))
	}
}

// to returns a client that sends from a to the agent with this id.
func to(a *agent.Agent, id string) exchange.Client { return exchange.NewClient(a, address.Agent(id)) }

// echo answers with what it got.
func echo(_ context.Context, req *text) (*text, error) { return req, nil }

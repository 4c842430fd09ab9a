package agent_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

func TestRegistrationAfterStartIsLogged(t *testing.T) {
	echoService := exchange.Service{Name: "test.v1.Echo"}
	const remedy = "Fix: register before Start"
	for name, test := range map[string]struct {
		register func(a *agent.Agent)
		want     []string
	}{
		"handler":       {func(a *agent.Agent) { say.Handle(a, echo) }, []string{"register test.v1.Echo/Say: the agent has started"}},
		"reply handler": {func(a *agent.Agent) { say.HandleReply(a, nil) }, []string{"register test.v1.Echo/Say: the agent has started"}},
		"service":       {func(a *agent.Agent) { a.Service(echoService) }, []string{"register test.v1.Echo: the agent has started"}},
		"service with its exchanges": {func(a *agent.Agent) {
			exchange.Register(a, echoService, 1)
			say.Handle(a, echo)
			tell.Handle(a, func(context.Context, *text) error { return nil })
		}, []string{"register test.v1.Echo: the agent has started"}},
		"mistake": {func(a *agent.Agent) { exchange.Register(a, echoService, nil) }, []string{"register test.v1.Echo: the handler is nil"}},
		"descriptor": {
			func(a *agent.Agent) { exchange.NewCall[text, text]("no slash").Handle(a, echo) },
			[]string{`exchange \"no slash\"`},
		},
		"two": {
			func(a *agent.Agent) { say.Handle(a, echo); once.Handle(a, echo) },
			[]string{"register test.v1.Echo/Say: the agent has started", "register test.v1.Echo/Once: the agent has started"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				var log syncBuffer
				level := &slog.HandlerOptions{Level: slog.LevelError}
				a := net.AgentOn(agent.Config{ID: "a", Logger: slog.New(slog.NewTextHandler(&log, level))}, store.NewMemory())
				start(t, a)
				require.Empty(t, log.String())
				test.register(a)
				lines := strings.Split(strings.TrimSpace(log.String()), "\n")
				require.Len(t, lines, len(test.want))
				for i, want := range test.want {
					assert.Contains(t, lines[i], want)
					assert.Contains(t, lines[i], remedy)
					assert.Contains(t, lines[i], "level=ERROR")
				}
			})
		})
	}
}

func TestAServiceThatIsRegisteredTwiceIsOneMistake(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		a := net.Agent("a")
		for range 2 {
			require.True(t, exchange.Register(a, exchange.Service{Name: "test.v1.Echo"}, 1))
			say.Handle(a, echo)
			once.Handle(a, echo)
		}
		ask.Handle(a, nil) // what else is wrong with it is still told
		require.EqualError(t, a.Start(t.Context()), "start agent a: "+
			"register test.v1.Echo: the service is registered twice. Fix: register each service once for an agent\n"+
			"register test.v1.Echo/Ask: the handler is nil. Fix: pass a function")
	})
}

func TestStartRefusesContentTypesThatCannotBeRead(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		for contentType, problem := range map[string]string{
			`application/json;v="a\"b"`: `'\\' in the value of v`,
			"application/json;v=1;V=1":  "the parameter v twice",
			"+json":                     "does not begin with type/subtype",
		} {
			a := net.Agent("a")
			exchange.NewCall[text, text]("test.v1.Echo/Foreign", exchange.ContentType(contentType)).Handle(a, echo)
			err := a.Start(t.Context())
			assert.ErrorContains(t, err, "exchange test.v1.Echo/Foreign: content type", contentType)
			assert.ErrorContains(t, err, problem, contentType)
			require.NoError(t, a.Close())
		}
	})
}

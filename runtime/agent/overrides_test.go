package agent_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestResumeOfOneCall crashes the handling agent of a stream after 20 frames. The call says where the next run goes on.
func TestResumeOfOneCall(t *testing.T) {
	for name, test := range map[string]struct {
		stream *exchange.Stream[*text, *text]
		option exchange.SendOption
		want   []string
	}{
		"continue": {count, exchange.ContinueOnResume, upTo(30)},
		"restart":  {resume, exchange.RestartOnResume, append(append(upTo(20), "restarted"), upTo(30)...)},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				server, client := net.Agent("server"), net.Agent("client")
				reached := make(chan struct{})
				test.stream.Handle(server, stuckAt(20, reached))
				start(t, server, client)
				p, err := test.stream.Send(t.Context(), to(client, "server"), str("x"), test.option)
				require.NoError(t, err)
				<-reached
				var got []string
				read := make(chan struct{})
				go func() {
					defer close(read)
					var err error
					got, err = collect(p.Frames(t.Context()))
					assert.NoError(t, err)
				}()
				synctest.Wait()
				net.Crash("server")
				server = net.Reopen("server")
				test.stream.Handle(server, counting(30))
				start(t, server)
				<-read
				assert.Equal(t, test.want, got)
			})
		})
	}
}

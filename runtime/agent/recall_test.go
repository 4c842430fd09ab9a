package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// TestRefusalsOutliveTheProcess ends an agent before it may answer messages that it cannot take. The next process refuses
// them as the first would have.
func TestRefusalsOutliveTheProcess(t *testing.T) {
	for name, test := range map[string]struct {
		contentType string
		want        ack.Code
	}{
		"several exchanges": {"application/json", ack.ValidationError},
		"no exchange":       {"application/json; method=test.v1.Echo/Nothing", ack.UnsupportedMessageType},
		"a bad parameter":   {"application/protobuf; message=google.protobuf.StringValue; method=test.v1.Echo/Tell; order=BACKWARDS", ack.ValidationError},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, p := newScripted(t)
				disk := store.NewMemory()
				launch := func() *agent.Agent {
					a := p.agentOn("server", disk)
					tell.Handle(a, func(context.Context, *text) error {
						t.Error("it ran")
						return nil
					})
					say.Handle(a, func(context.Context, *text) (*text, error) {
						t.Error("it ran")
						return nil, nil
					})
					start(t, a)
					return a
				}
				// Until the router says who has it, a message that may run out is neither run nor refused.
				frame := deliver(1, "a", time.Hour)
				env := frame.GetDelivery().GetEnvelope()
				env.ContentType = test.contentType
				first := launch()
				router := <-r.sessions
				router <- frame
				synctest.Wait()
				require.Len(t, first.Buffer().OpenIn(), 1)
				require.NoError(t, first.Close())

				disk = disk.Reopen()
				second := launch()
				router = <-r.sessions
				synctest.Wait()
				router <- recorded(1, true)
				synctest.Wait()
				rec, err := second.Buffer().InByToken(env.GetProducerId(), "agent:server", env.GetIdempotencyToken())
				require.NoError(t, err)
				assert.Equal(t, ack.Rejected, ack.Stage(rec.GetOutcome().GetStage()))
				assert.Equal(t, test.want, ack.Code(rec.GetOutcome().GetCode()), rec.GetOutcome().GetNote())
			})
		})
	}
}

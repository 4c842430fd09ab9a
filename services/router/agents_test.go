package router

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// TestAgentsAreBounded refuses an agent beyond those that may be known, until one of them has been gone for long.
func TestAgentsAreBounded(t *testing.T) {
	const keep = 2 * time.Hour
	bubble(t, Options{Limits: queue.Limits{MaxAgents: 2, KeepAgents: keep}}, func(t *testing.T, w *world) {
		stays := w.connect(hello("stays", "s", 5))
		w.connect(hello("goes", "s", 5)).close()
		p := w.dial(hello("third", "s", 1))
		<-p.done
		require.Equal(t, codes.ResourceExhausted, status.Code(p.err))
		require.Contains(t, p.err.Error(), "max_agents: the router knows as many agents as it may, and third is none of them. Fix: ")
		_, err := w.send(envelopeOf("m", "third"), MetadataInstance, "s/1", MetadataTo, "agent:stays")
		require.Equal(t, codes.ResourceExhausted, status.Code(err))

		for range (keep + 2*pruneInterval) / DefaultLease {
			time.Sleep(DefaultLease)
			stays.ping()
		}
		w.connect(hello("third", "s", 1))
		p = w.dial(hello("stays", "s", 4))
		require.Equal(t, transportpb.Goodbye_REASON_STORE_ROLLED_BACK, wait(t, p.goodbyes).GetReason(), "it was there all the time")
	})
}

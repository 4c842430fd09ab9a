package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// opening is a store that says it is this opening of one.
type opening struct {
	store.Store
	instance store.Instance
}

func (o opening) Instance() store.Instance { return o.instance }

func open(id string, epoch uint64) store.Store {
	return opening{store.NewMemory(), store.Instance{ID: id, Epoch: epoch}}
}

// TestCanonicalInstancesEnd has two openings of one store on the canonical RPCs, and then an old backup of it.
func TestCanonicalInstancesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newCanonicalPeer(t, canonicalOnly)
		older, newer, backup := p.agentOn("a", open("s", 2)), p.agentOn("a", open("s", 3)), p.agentOn("a", open("s", 1))
		for _, step := range []struct {
			start, ends *agent.Agent
			why         error
		}{
			{older, nil, nil},
			{newer, older, agent.ErrSuperseded},
			{backup, backup, agent.ErrStoreRolledBack},
		} {
			start(t, step.start)
			if step.ends == nil {
				synctest.Wait()
				continue
			}
			select {
			case <-step.ends.Failed():
				require.ErrorIs(t, step.ends.Err(), step.why)
			case <-time.After(time.Hour):
				t.Fatalf("it connects again and again instead of %v", step.why)
			}
		}
		time.Sleep(time.Minute)
		assert.NoError(t, newer.Err())
	})
}

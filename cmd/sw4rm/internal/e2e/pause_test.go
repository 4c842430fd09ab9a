package e2e

import (
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/process"
)

// pauses knows which processes stand still.
type pauses struct {
	mu    sync.Mutex
	still map[*process.Process]bool
}

// begin lets a process stand still for d. It does not wait for that.
func (p *pauses) begin(victim *process.Process, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.still == nil {
		p.still = map[*process.Process]bool{}
	}
	p.still[victim] = true
	victim.Freeze()
	time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		victim.Thaw()
		delete(p.still, victim)
	})
}

// last tells whether a pause of a process goes on.
func (p *pauses) last(victim *process.Process) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.still[victim]
}

// TestOnePauseAtATime lets a pause wait that would come while its victim stands still, until the first one is over.
func TestOnePauseAtATime(t *testing.T) {
	s := &stage{t: t, services: &services{lease: 50 * time.Millisecond}, agents: map[string]*process.Process{}}
	for _, id := range workers {
		s.agents[id] = launch(t, id, t.TempDir(), exec.Command("sleep", "60"), nil)
	}
	h, err := history.Create(t.TempDir(), "test")
	require.NoError(t, err)
	s.history = h
	paused := fault{victim: workers[0], how: pause}
	require.True(t, s.fail(t.Context(), paused))
	require.False(t, s.fail(t.Context(), paused), "it stands still")
	require.True(t, s.fail(t.Context(), fault{victim: workers[1], how: pause}), "another one does not")
	require.Eventually(t, func() bool { return s.fail(t.Context(), paused) }, patience, 5*time.Millisecond)
	require.Eventually(t, func() bool { return !s.pauses.last(s.agents[workers[0]]) }, patience, 5*time.Millisecond)
	require.NoError(t, h.Close())
}

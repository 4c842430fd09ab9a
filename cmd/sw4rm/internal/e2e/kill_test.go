package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// The environment may set the seed, and the number of operations and faults.
const (
	envSeed   = "SW4RM_E2E_SEED"
	envOps    = "SW4RM_E2E_OPS"
	envFaults = "SW4RM_E2E_FAULTS"
)

// faultTime bounds a run.
const faultTime = 4 * time.Minute

// TestKill sends operations while router, handlers and sender are killed again and again.
func TestKill(t *testing.T) { endure(t, kill, 500, 20) }

// TestStop sends operations while router, handlers and sender are stopped and started again, as for an upgrade.
func TestStop(t *testing.T) { endure(t, stop, 300, 12) }

// TestPause sends operations while router, handlers and sender stand still for longer than a lease, and then go on as if
// nothing had been.
func TestPause(t *testing.T) { endure(t, pause, 300, 6) }

// TestMixed does all of this in one run.
func TestMixed(t *testing.T) { endure(t, mixed, 400, 15) }

// endure runs operations and faults: each operation has exactly one outcome in the end, and nothing that happened on the
// way breaks a promise.
func endure(t *testing.T, how manner, operations, faults int) {
	seed := setting(t, envSeed, int(time.Now().UnixNano()%1_000_000))
	operations, faults = setting(t, envOps, operations), setting(t, envFaults, faults)
	t.Logf("repeat with: %s=%d %s=%d %s=%d go test ./cmd/sw4rm/internal/e2e -run '^%s$' -count=1 -v",
		envSeed, seed, envOps, operations, envFaults, faults, t.Name())
	ctx, cancel := context.WithTimeout(t.Context(), faultTime)
	defer cancel()

	s := newStage(t, operations)
	begin := time.Now()
	s.play(ctx, draw(seed, how, operations, faults))
	t.Logf("settled after %v", time.Since(begin).Round(time.Millisecond))
	s.examine()

	events, err := history.Read(historyDir(s.dir), "")
	require.NoError(t, err)
	t.Log(history.Summarize(events))
	floor := history.Floor{Operations: operations}
	if how == kill {
		floor.Kills = faults
	}
	require.NoError(t, history.Check(events, floor))
	require.Equal(t, operations, fulfilled(events), "each operation ends FULFILLED")
}

// manner is what a fault does to its victim.
type manner int

const (
	// kill ends the process with SIGKILL and starts the next.
	kill manner = iota
	// stop ends it with SIGTERM and starts the next.
	stop
	// pause lets it stand still for two leases.
	pause
	// mixed is any of the others, drawn for each fault.
	mixed
)

// String names what the log says.
func (m manner) String() string { return [...]string{"kill", "stop", "pause", "mixed"}[m] }

// fault comes when so many operations have finished.
type fault struct {
	after  int
	victim string
	how    manner
}

// routerID names the services among the victims.
const routerID = "up"

// draw draws when which process fails.
func draw(seed int, how manner, operations, faults int) []fault {
	rng := rand.New(rand.NewPCG(uint64(seed), uint64(how)))
	victims := []string{routerID, workers[0], workers[1], clientID, routerID, workers[0], workers[1]}
	share := operations / (faults + 1)
	plan := make([]fault, faults)
	for i := range plan {
		plan[i] = fault{after: operations*(i+1)/(faults+1) - rng.IntN(share+1), victim: victims[i%len(victims)], how: how}
	}
	rng.Shuffle(faults, func(i, j int) { plan[i].victim, plan[j].victim = plan[j].victim, plan[i].victim })
	if how == mixed {
		for i := range plan {
			plan[i].how = manner(rng.IntN(int(mixed)))
		}
	}
	slices.SortStableFunc(plan, func(a, b fault) int { return a.after - b.after })
	return plan
}

// fulfilled counts the operations that ended FULFILLED, in one sending or more.
func fulfilled(events []history.Event) int {
	done := map[string]bool{}
	for _, e := range events {
		if e.Op == history.Finish && e.Stage == ack.Fulfilled.String() {
			done[operationOf(e.Key)] = true
		}
	}
	return len(done)
}

// setting is a number that the environment may set.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	require.NoError(t, err, name)
	return n
}

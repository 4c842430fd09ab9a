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
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/relay"
)

// The environment may set the seed, and the number of operations and faults.
const (
	envSeed   = "SW4RM_E2E_SEED"
	envOps    = "SW4RM_E2E_OPS"
	envFaults = "SW4RM_E2E_FAULTS"
)

// TestKill sends operations while router, handlers and sender are killed again and again.
func TestKill(t *testing.T) { endure(t, kill, 600, 30) }

// TestStop sends operations while router, handlers and sender are stopped and started again, as for an upgrade: no handler
// that has begun is cut off, and none begins again.
func TestStop(t *testing.T) { endure(t, stop, 300, 12) }

// TestPause sends operations while router, handlers and sender stand still for longer than a lease, and then go on as if
// nothing had been.
func TestPause(t *testing.T) { endure(t, pause, 400, 10) }

// TestMixed does all of this in one run, with faults of the network besides.
func TestMixed(t *testing.T) { endure(t, mixed, 400, 20) }

// endure runs operations and faults: each operation has exactly one outcome in the end, and nothing that happened on the
// way breaks a promise.
func endure(t *testing.T, how manner, operations, faults int) {
	r := newRun(t, operations, faults)
	ctx, cancel := context.WithTimeout(t.Context(), r.bound())
	defer cancel()
	s := newStage(t, r.operations)
	if how == mixed {
		s.relay(false)
	}
	s.cast()
	begin := time.Now()
	s.play(ctx, r.draw(how))
	t.Logf("settled after %v", time.Since(begin).Round(time.Millisecond))
	var floor history.Floor
	switch how {
	case kill:
		floor.Kills, floor.AtWork = r.faults, r.faults/6
	case stop:
		// Nobody has to be afraid of it. Operations go on while a victim comes to its end, so that the last ones may have
		// ended before the last stops.
		floor.Faults, floor.AtWork, floor.Orderly = r.faults*2/3, r.faults/12, true
	case pause:
		floor.Faults, floor.AtWork = r.faults, r.faults/10
	default:
		floor.Kills, floor.Faults = 1, r.faults/2
		floor.Accepted, floor.Custodies = r.operations/2, r.operations/4
	}
	s.settle(floor)
}

// run is how much one test does, and the seed that repeats its faults.
type run struct{ seed, operations, faults int }

// newRun reads what the environment sets, and says how to repeat the run.
func newRun(t *testing.T, operations, faults int) run {
	t.Helper()
	r := run{
		seed:       setting(t, envSeed, int(time.Now().UnixNano()%1_000_000)),
		operations: setting(t, envOps, operations),
		faults:     setting(t, envFaults, faults),
	}
	t.Logf("repeat with: %s=%d %s=%d %s=%d go test ./cmd/sw4rm/internal/e2e -run '^%s$' -count=1 -timeout 0 -v",
		envSeed, r.seed, envOps, r.operations, envFaults, r.faults, t.Name())
	return r
}

// bound is more than the run can take while it moves.
func (r run) bound() time.Duration {
	return 4*time.Minute + time.Duration(r.operations)*100*time.Millisecond + time.Duration(r.faults)*5*time.Second
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
	// network is what happens to messages between them.
	network
	// mixed is any of the others, drawn for each fault.
	mixed
	// cut ends everything with SIGKILL, looks where all messages are, and starts it again.
	cut
)

// String names what the log says.
func (m manner) String() string {
	return [...]string{"kill", "stop", "pause", "network", "mixed", "cut"}[m]
}

// fault comes when so many operations have finished.
type fault struct {
	after  int
	victim string
	how    manner
	// net is what the network does.
	net relay.Armed
	// order is that in which a cut ends the processes.
	order []string
}

// routerID names the services among the victims.
const routerID = "up"

// draw draws when which process fails.
func (r run) draw(how manner) []fault {
	rng := rand.New(rand.NewPCG(uint64(r.seed), uint64(how)))
	victims := []string{routerID, workers[0], workers[1], clientID, routerID, workers[0], workers[1]}
	share := r.operations / (r.faults + 1)
	plan := make([]fault, r.faults)
	for i := range plan {
		at := r.operations*(i+1)/(r.faults+1) - rng.IntN(share+1)
		// Before the first one has finished, none may be open.
		plan[i] = fault{after: max(1, at), victim: victims[i%len(victims)], how: how}
	}
	rng.Shuffle(r.faults, func(i, j int) { plan[i].victim, plan[j].victim = plan[j].victim, plan[i].victim })
	if how == mixed {
		for i := range plan {
			if plan[i].how = manner(rng.IntN(int(mixed))); plan[i].how == network {
				plan[i].drawNetwork(rng)
			}
		}
	}
	slices.SortStableFunc(plan, func(a, b fault) int { return a.after - b.after })
	return plan
}

// mostPass bounds how many messages pass before a fault of the network.
const mostPass = 8

// drawNetwork makes f any fault of the network.
func (f *fault) drawNetwork(rng *rand.Rand) {
	victims := []string{workers[0], workers[1], clientID}
	f.how, f.victim = network, victims[rng.IntN(len(victims))]
	f.net = relay.Armed{
		Fault:  relay.DropRequest + relay.Fault(rng.IntN(int(relay.Faults-relay.DropRequest))),
		Way:    relay.Direction(rng.IntN(2)),
		Passes: rng.IntN(mostPass),
	}
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

package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

// The size of the kill test, which the environment may set, and its bound in time.
const (
	envSeed  = "SW4RM_E2E_SEED"
	envOps   = "SW4RM_E2E_OPS"
	envKills = "SW4RM_E2E_KILLS"

	operations = 500
	kills      = 20
	killTime   = 4 * time.Minute
)

// TestKill sends operations while router, handlers and sender are killed again and again: each operation has exactly one
// outcome in the end, and nothing that happened on the way breaks a promise.
func TestKill(t *testing.T) {
	seed := setting(t, envSeed, int(time.Now().UnixNano()%1_000_000))
	n, deaths := setting(t, envOps, operations), setting(t, envKills, kills)
	t.Logf("repeat with: %s=%d %s=%d %s=%d go test ./cmd/sw4rm/internal/e2e -run '^TestKill$' -count=1 -v", envSeed, seed, envOps, n, envKills, deaths)
	ctx, cancel := context.WithTimeout(t.Context(), killTime)
	defer cancel()

	s := newStage(t, n)
	begin := time.Now()
	s.play(ctx, killPlan(seed, n, deaths))
	t.Logf("settled after %v", time.Since(begin).Round(time.Millisecond))
	s.examine()

	events, err := history.Read(historyDir(s.dir), "")
	require.NoError(t, err)
	t.Log(history.Summarize(events))
	require.NoError(t, history.Check(events, history.Floor{Operations: n, Kills: deaths * 4 / 5}))
	require.Equal(t, n, fulfilled(events), "each operation ends FULFILLED")
}

// death is a kill that is due when so many operations have finished.
type death struct {
	after  int
	victim string
}

// routerID names the services among the victims.
const routerID = "up"

// killPlan draws when whom to kill.
func killPlan(seed, operations, kills int) []death {
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	cast := []string{routerID, workers[0], workers[1], clientID, routerID, workers[0], workers[1]}
	plan := make([]death, kills)
	for i := range plan {
		plan[i] = death{after: operations*(i+1)/(kills+1) - rng.IntN(operations/(kills+1)+1), victim: cast[i%len(cast)]}
	}
	rng.Shuffle(kills, func(i, j int) { plan[i].victim, plan[j].victim = plan[j].victim, plan[i].victim })
	slices.SortStableFunc(plan, func(a, b death) int { return a.after - b.after })
	return plan
}

// stage is where the kill test plays: the services, the agents' processes, and what they have said.
type stage struct {
	t          *testing.T
	dir        string
	operations int
	services   *services
	history    *history.Writer
	agents     map[string]*process
	processes  map[string]int

	mu       sync.Mutex
	finished map[string]bool
	progress chan struct{}
}

func newStage(t *testing.T, operations int) *stage {
	t.Helper()
	dir := workDir(t)
	require.NoError(t, os.Mkdir(historyDir(dir), 0o700))
	h, err := history.Create(historyDir(dir), "test")
	require.NoError(t, err)
	s := &stage{
		t: t, dir: dir, operations: operations, services: newServices(t, dir, time.Second), history: h,
		agents: map[string]*process{}, processes: map[string]int{}, finished: map[string]bool{}, progress: make(chan struct{}, 1),
	}
	s.services.start()
	for _, id := range append(slices.Clone(workers), clientID) {
		s.launch(id)
	}
	return s
}

// workDir returns a directory that stays when the test fails.
func workDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sw4rm-e2e-")
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs, histories and data are kept in %s", dir)
			return
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	return dir
}

// launch starts the next process of an agent.
func (s *stage) launch(id string) {
	s.t.Helper()
	role := roleWorker
	if id == clientID {
		role = roleClient
	}
	s.processes[id]++
	cmd, err := cast(role, id, s.processes[id], s.dir, s.operations, s.services)
	require.NoError(s.t, err)
	s.agents[id] = launch(s.t, actor(id, s.processes[id]), s.dir, cmd, s.heard)
}

// heard takes a line that an agent has printed.
func (s *stage) heard(line string) {
	key, ok := strings.CutPrefix(line, "finished ")
	if !ok {
		return
	}
	s.mu.Lock()
	s.finished[operationOf(key)] = true
	s.mu.Unlock()
	select {
	case s.progress <- struct{}{}:
	default:
	}
}

func (s *stage) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.finished)
}

// play kills by the plan, starting again what was killed, until the client has seen every operation's end.
func (s *stage) play(ctx context.Context, plan []death) {
	s.t.Helper()
	for {
		client := s.agents[clientID]
		for len(plan) > 0 && s.count() >= plan[0].after {
			s.kill(plan[0].victim)
			plan = plan[1:]
			client = s.agents[clientID]
		}
		select {
		case <-s.progress:
		case <-client.done:
			require.NoError(s.t, client.err, "%s: %s", client.name, client.tail())
			require.Equal(s.t, s.operations, s.count())
			s.end(ctx)
			return
		case <-ctx.Done():
			s.t.Fatalf("%d of %d operations have finished: %v\n%s", s.count(), s.operations, ctx.Err(), client.tail())
		}
	}
}

func (s *stage) kill(victim string) {
	s.t.Helper()
	s.t.Logf("after %d operations: kill %s", s.count(), victim)
	name := routerID
	if victim == routerID {
		s.services.kill()
		name = s.services.name
	} else {
		s.agents[victim].kill()
		name = s.agents[victim].name
	}
	s.history.Add(history.Event{Actor: name, Op: history.Kill, Kind: history.Info, Note: fmt.Sprintf("after %d", s.count())})
	if victim == routerID {
		s.services.launch()
	} else {
		s.launch(victim)
	}
}

// end stops the agents and the services as an operator would.
func (s *stage) end(ctx context.Context) {
	s.t.Helper()
	for _, id := range workers {
		require.NoError(s.t, s.agents[id].stop(ctx), s.agents[id].tail())
	}
	require.NoError(s.t, s.services.stop(ctx), s.services.tail())
}

// examine looks into the agents' buffers, and adds what the handlers' agents have recorded to the history.
func (s *stage) examine() {
	s.t.Helper()
	events, err := history.Read(historyDir(s.dir), "")
	require.NoError(s.t, err)
	tokens := map[string]string{}
	for _, e := range events {
		if e.Token != "" {
			tokens[e.Token] = e.Key
		}
	}
	for _, id := range workers {
		buf := s.open(id).Buffer()
		require.Empty(s.t, buf.OpenIn(), "%s has work left", id)
		for token, key := range tokens {
			rec, err := buf.InByToken(clientID, planOf(key).to.String(), token)
			if errors.Is(err, activity.ErrUnknown) {
				continue
			}
			require.NoError(s.t, err)
			o := rec.GetOutcome()
			s.history.Add(history.Event{
				Actor: id, Op: history.Record, Kind: history.Info, Key: key, Token: token,
				Stage: ack.Stage(o.GetStage()).String(), Code: ack.Code(o.GetCode()).String(),
			})
		}
	}
	require.Empty(s.t, s.open(clientID).Buffer().OpenOut())
	require.NoError(s.t, s.history.Close())
}

// open opens an agent's data directory until the test ends.
func (s *stage) open(id string) *agent.Agent {
	s.t.Helper()
	a, err := sw4rm.New(agent.Config{ID: id, DataDir: dataDir(s.dir, id), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, a.Close()) })
	return a
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

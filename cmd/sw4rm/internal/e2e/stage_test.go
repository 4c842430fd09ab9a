package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/process"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/relay"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// stage is where the operations play: the services, the agents' processes, and what they have said.
type stage struct {
	t          *testing.T
	dir        string
	operations int
	services   *services
	net        *relay.Relay // between the agents and the router, nil for none
	history    *history.Writer
	agents     map[string]*process.Process
	processes  map[string]int
	pauses     pauses

	mu       sync.Mutex
	finished map[string]bool
	progress chan struct{}
}

// newStage starts the services.
func newStage(t *testing.T, operations int) *stage {
	t.Helper()
	dir := workDir(t)
	require.NoError(t, os.Mkdir(historyDir(dir), 0o700))
	h, err := history.Create(historyDir(dir), "test")
	require.NoError(t, err)
	s := &stage{
		t: t, dir: dir, operations: operations, services: newServices(t, dir, time.Second), history: h,
		agents: map[string]*process.Process{}, processes: map[string]int{}, finished: map[string]bool{}, progress: make(chan struct{}, 1),
	}
	s.services.history = h
	s.services.start()
	return s
}

// relay puts a network with faults between the agents and the router.
func (s *stage) relay(canonical bool) {
	s.t.Helper()
	s.net = newRelay(s.t, relay.Config{
		Upstream: s.services.router, Canonical: canonical, Observer: newWire(s.history),
		Happened: func(agent string, f relay.Fault) {
			s.history.Add(history.Event{Op: history.Fault, Kind: history.Info, To: agent, Note: f.String()})
		},
	})
}

// cast starts the agents.
func (s *stage) cast() {
	s.t.Helper()
	for _, id := range append(slices.Clone(workers), clientID) {
		s.launch(id)
	}
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
	router := s.services.router
	if s.net != nil {
		router = s.net.Addr()
	}
	s.processes[id]++
	cmd, err := cast(role, id, s.processes[id], s.dir, s.operations, router, s.services.registry)
	require.NoError(s.t, err)
	s.history.Add(history.Event{Actor: actor(id, s.processes[id]), Op: history.Up, Kind: history.Info})
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

// stalled is how long no operation may end before the test gives up.
const stalled = 2 * time.Minute

// play makes the faults of the plan, until the client has seen every operation's end.
func (s *stage) play(ctx context.Context, plan []fault) {
	s.t.Helper()
	sample := time.NewTicker(250 * time.Millisecond)
	defer sample.Stop()
	stall := time.NewTimer(stalled)
	defer stall.Stop()
	for {
		client := s.agents[clientID]
		for len(plan) > 0 && s.count() >= plan[0].after && s.fail(ctx, plan[0]) {
			plan = plan[1:]
			client = s.agents[clientID]
		}
		select {
		case <-s.progress:
			stall.Reset(stalled)
		case <-sample.C:
			s.sample()
		case <-client.Done():
			require.NoError(s.t, client.Err(), "%s: %s", client.Name(), client.Tail())
			s.ended(client)
			require.Equal(s.t, s.operations, s.count())
			s.end(ctx)
			return
		case <-stall.C:
			s.t.Fatalf("%d of %d operations have finished, and none for %v\n%s", s.count(), s.operations, stalled, client.Tail())
		case <-ctx.Done():
			s.t.Fatalf("%d of %d operations have finished: %v\n%s", s.count(), s.operations, ctx.Err(), client.Tail())
		}
	}
}

// sample notes how much memory each process uses.
func (s *stage) sample() {
	for _, p := range append(slices.Collect(maps.Values(s.agents)), s.services.Process) {
		if n, ok := resident(p.PID()); ok {
			s.history.Add(history.Event{Actor: p.Name(), Op: history.Memory, Kind: history.Info, Bytes: n})
		}
	}
}

// resident returns the memory that a process uses, false where nobody can tell or it has ended.
func resident(pid int) (int64, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, false
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		return 0, false
	}
	return pages * int64(os.Getpagesize()), true
}

// fail makes a fault, false when it has to wait for another one.
func (s *stage) fail(ctx context.Context, f fault) bool {
	s.t.Helper()
	switch f.how {
	case network:
		return s.net.Arm(f.victim, f.net)
	case cut:
		s.cut(ctx, f)
		return true
	}
	victim := s.services.Process
	if f.victim != routerID {
		victim = s.agents[f.victim]
	}
	if f.how == pause && s.pauses.last(victim) {
		return false // or the end of the first pause would end the second
	}
	s.t.Logf("after %d operations: %s %s", s.count(), f.how, victim.Name())
	switch f.how {
	case pause:
		s.history.Add(history.Event{Op: history.Fault, Kind: history.Info, To: victim.Name(), Note: f.how.String()})
		s.pauses.begin(victim, 2*s.services.lease)
		return true
	case stop:
		s.awaitStart(ctx, f.victim, victim)
		s.history.Add(history.Event{Op: history.Fault, Kind: history.Info, To: victim.Name(), Note: f.how.String()})
		err := victim.Stop(ctx)
		if f.victim != clientID { // which says that it leaves operations open
			require.NoError(s.t, err, victim.Tail())
		}
		s.ended(victim)
	default:
		victim.Kill()
		s.history.Add(history.Event{Actor: victim.Name(), Op: history.Kill, Kind: history.Info})
	}
	if f.victim == routerID {
		s.services.launch()
	} else {
		s.launch(f.victim)
	}
	return true
}

// ended notes that a process has ended as it was asked to.
func (s *stage) ended(p *process.Process) {
	s.history.Add(history.Event{Actor: p.Name(), Op: history.Down, Kind: history.Info})
}

// awaitStart waits until a process has started: one that is asked to stop before may end as if it had failed.
func (s *stage) awaitStart(ctx context.Context, id string, p *process.Process) {
	s.t.Helper()
	sign := ready
	if id == routerID {
		sign = listening
	}
	_, err := p.Await(ctx, sign)
	require.NoError(s.t, err)
}

// end stops the agents and the services as an operator would.
func (s *stage) end(ctx context.Context) {
	s.t.Helper()
	s.awaitStart(ctx, routerID, s.services.Process)
	for _, id := range workers {
		s.awaitStart(ctx, id, s.agents[id])
		require.NoError(s.t, s.agents[id].Stop(ctx), s.agents[id].Tail())
		s.ended(s.agents[id])
	}
	require.NoError(s.t, s.services.Stop(ctx), s.services.Tail())
	s.ended(s.services.Process)
}

// settle checks everything that has happened.
func (s *stage) settle(floor history.Floor) {
	s.t.Helper()
	s.examineStores(func(e history.Event) history.Event { return e })
	s.examine()
	events, err := history.Read(historyDir(s.dir), "")
	require.NoError(s.t, err)
	s.t.Log(history.Summarize(events))
	floor.Operations, floor.Lanes = s.operations, s.operations/100
	floor.Limited = s.operations / 40
	floor.Memory, floor.Slack = mostMemory, int64(2*s.services.lease+time.Second)
	floor.Idle = int64(mostStill)
	s.t.Logf("between faults, no operation stood still without a cause for more than %v", time.Duration(history.LongestStill(events)).Round(time.Millisecond))
	require.NoError(s.t, history.Check(events, floor))
	require.NoError(s.t, conform(events))
	ends, err := endingsOf(events)
	require.NoError(s.t, err)
	s.t.Logf("%d operations ended FULFILLED, %d after their time to live, %d as poison", ends.fulfilled, ends.expired, ends.poisoned)
	require.Equal(s.t, s.operations, ends.fulfilled+ends.expired+ends.poisoned)
	require.GreaterOrEqual(s.t, ends.fulfilled, s.operations/2, "the run means something")
}

const (
	// mostMemory is what no process of these tests may use.
	mostMemory = 512 << 20
	// mostStill is for how long an operation may stand still without a cause: P8's time is 7 s here, and a fault lasts up to
	// silentFor. The rest is for machines that are busy.
	mostStill = 30 * time.Second
)

// endings counts operations by how they ended, each in one sending or more.
type endings struct {
	fulfilled int
	// expired ran out of time.
	expired int
	// poisoned were cut off by kills as often as a message may be. The checks of the history want to see the kills.
	poisoned int
}

// endingsOf counts, and says of every operation that ended in no allowed way what the history has of it.
func endingsOf(events []history.Event) (endings, error) {
	var wrong []error
	best := map[string]int{} // 2 for FULFILLED, 1 for poison, 0 for expired
	for _, e := range events {
		if e.Op != history.Finish {
			continue
		}
		op, pl, rank := operationOf(e.Key), planOf(e.Key), 0
		switch {
		case e.Stage == ack.Fulfilled.String():
			rank = 2
		case e.Code == ack.InternalError.String() && strings.HasPrefix(e.Note, "poison"):
			rank = 1
		case pl.ttl > 0 && (e.Code == ack.TTLExpired.String() || e.Code == pl.trouble.String()):
			// Only what has a time to live may fail so: for want of it, or because no time was left to try again.
		default:
			wrong = append(wrong, fmt.Errorf("an operation must not end so: %v\n%s", e, story(events, e.Key)))
		}
		best[op] = max(best[op], rank)
	}
	var n endings
	for _, rank := range best {
		switch rank {
		case 2:
			n.fulfilled++
		case 1:
			n.poisoned++
		default:
			n.expired++
		}
	}
	return n, errors.Join(wrong...)
}

// story is what the history has of one operation.
func story(events []history.Event, key string) string {
	var text strings.Builder
	for _, e := range events {
		if e.Key == key || e.Op == history.Kill || e.Op == history.Fault {
			fmt.Fprintf(&text, "\t%v\n", e)
		}
	}
	return text.String()
}

// examine looks into the agents' buffers, and compares outcomes with what handlers have written.
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
		a := s.open(id)
		buf, w := a.Buffer(), writtenBy(s.t.Context(), s.t, a)
		require.Empty(s.t, buf.OpenIn(), "%s has work left", id)
		for token, key := range tokens {
			rec, err := buf.InByToken(clientID, planOf(key).to.String(), token)
			if errors.Is(err, activity.ErrUnknown) {
				continue
			}
			require.NoError(s.t, err)
			o := rec.GetOutcome()
			shape := planOf(key).shape
			w.note(s.t, token, ack.Stage(o.GetStage()) == ack.Fulfilled, shape == oneWay || shape == call)
		}
		w.settle(s.t)
	}
	require.Empty(s.t, s.open(clientID).Buffer().OpenOut())
	require.NoError(s.t, s.history.Close())
	s.examineQueues()
}

// examineQueues looks into the router's data: it has given nothing up, and no capability's work is left. An agent's own
// queue may have asks for work that has ended since.
func (s *stage) examineQueues() {
	s.t.Helper()
	ctx := s.t.Context()
	db, err := pebble.Open(s.services.data, pebble.Options{Logger: quiet()})
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, db.Close()) }()
	engine, err := kv.Open(ctx, store.Sub(db, "queue/"), kv.Options{})
	require.NoError(s.t, err)
	dead, err := engine.DeadLetters(ctx, s.operations)
	require.NoError(s.t, err)
	for _, d := range dead { // what has run out in the router's queue
		require.NotZero(s.t, d.Envelope.GetTtlMs(), "%s: %s", d.Envelope.GetMessageId(), d.Reason)
	}
	require.NoError(s.t, engine.Scan(ctx, func(d queue.Depth) error {
		if strings.HasPrefix(d.To, "capability:") {
			require.Zero(s.t, d.Work, d.To)
		}
		return nil
	}))
}

// open opens an agent's data directory until the test ends.
func (s *stage) open(id string) *agent.Agent {
	s.t.Helper()
	a, err := sw4rm.New(agent.Config{ID: id, DataDir: dataDir(s.dir, id), Logger: quiet()})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, a.Close()) })
	return a
}

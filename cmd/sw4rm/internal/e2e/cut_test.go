package e2e

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/inventory"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/process"
	"github.com/sw4rm/sw4rm-go/runtime/address"
)

// TestCutOff sends operations, and again and again all processes are killed in the middle of it: what was accepted and has
// not ended is found in their directories each time, and where it may be. Before every other cut a handler's agent is dead
// for so long that everything waits for it, and nothing stands still for another cause. When all runs again, each operation
// has one outcome in the end.
func TestCutOff(t *testing.T) {
	r := newRun(t, 500, 4)
	ctx, cancel := context.WithTimeout(t.Context(), r.bound())
	defer cancel()
	s := newStage(t, r.operations)
	s.cast()
	begin := time.Now()
	s.play(ctx, r.drawCuts())
	t.Logf("settled after %v", time.Since(begin).Round(time.Millisecond))
	s.settle(history.Floor{
		Kills: r.faults * len(everybody), Examinations: r.faults, Open: loaded,
		InOutboxes: r.faults * loaded, InQueues: r.faults, InCustody: r.faults,
	})
}

// loaded is how many operations are open at least when everything is cut off.
const loaded = underWay / 2

// everybody is all agents and the services.
var everybody = append([]string{routerID, clientID}, workers...)

// drawCuts draws after how many operations everything is cut off, and whether somebody has been away before.
func (r run) drawCuts() []fault {
	rng := rand.New(rand.NewPCG(uint64(r.seed), uint64(cut)))
	plan := make([]fault, r.faults)
	share := r.operations / (r.faults + 1)
	for i := range plan {
		plan[i] = fault{after: max(1, share*i+rng.IntN(share/2+1)), how: cut, order: slices.Clone(everybody)}
		rng.Shuffle(len(everybody), func(a, b int) {
			plan[i].order[a], plan[i].order[b] = plan[i].order[b], plan[i].order[a]
		})
		if i%2 == 1 {
			plan[i].victim = workers[rng.IntN(len(workers))]
		}
	}
	return plan
}

// cut ends everything, after everything has come to wait for the victim if there is one; notes what is where, and starts
// everything again.
func (s *stage) cut(ctx context.Context, f fault) {
	s.t.Helper()
	noteKills := func() {
		for _, id := range f.order {
			if id != f.victim {
				s.history.Add(history.Event{Actor: s.process(id).Name(), Op: history.Kill, Kind: history.Info})
			}
		}
	}
	if f.victim == "" {
		s.until(ctx, "enough operations are open", func() bool { return len(s.known().open) >= loaded })
	} else {
		s.awaitAbsence(ctx, f.victim)
	}
	s.t.Logf("after %d operations: everything is cut off", s.count())
	for _, id := range f.order {
		s.process(id).Kill()
	}
	if f.victim == "" { // whoever has a message has to come back
		noteKills()
		s.examineCut(func(e history.Event) string { return e.Actor })
	} else { // everything had a cause to wait already while the others ran
		held := s.known().keysOf(s.storeOf(ctx, f.victim))
		s.examineCut(func(e history.Event) string {
			if planOf(e.Key).to == address.Agent(f.victim) || held[e.Key] {
				return f.victim
			}
			return ""
		})
		noteKills()
	}
	s.services.launch()
	for _, id := range f.order {
		if id != routerID {
			s.launch(id)
		}
	}
}

func (s *stage) process(id string) *process.Process {
	if id == routerID {
		return s.services.Process
	}
	return s.agents[id]
}

// awaitAbsence kills an agent and waits until everything that is open waits for it, and nothing more can begin.
func (s *stage) awaitAbsence(ctx context.Context, id string) {
	s.t.Helper()
	victim := s.agents[id]
	victim.Kill()
	s.history.Add(history.Event{Actor: victim.Name(), Op: history.Kill, Kind: history.Info})
	items := s.storeOf(ctx, id)
	s.until(ctx, "everything waits for "+id, func() bool {
		known := s.known()
		held := known.keysOf(items)
		for key := range known.open {
			if pl := planOf(key); !held[key] && (pl.ttl > 0 || pl.to != address.Agent(id)) {
				return false // it runs out, or another agent gets it
			}
		}
		return len(known.open) >= underWay || len(known.open)+s.count() >= s.operations
	})
}

// storeOf returns what an agent that does not run has a record of.
func (s *stage) storeOf(ctx context.Context, id string) []inventory.Item {
	s.t.Helper()
	items, err := inventory.Take(ctx, []string{dataDir(s.dir, id)}, "")
	require.NoError(s.t, err)
	return items
}

// until waits for something that shows in the histories of the processes.
func (s *stage) until(ctx context.Context, what string, done func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, stalled)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
			s.sample()
		case <-s.agents[clientID].Done():
			s.t.Fatalf("the client has ended before %s: %s", what, s.agents[clientID].Tail())
		case <-ctx.Done():
			s.t.Fatalf("waited until %s: %v, open are %v", what, ctx.Err(), slices.Sorted(maps.Keys(s.known().open)))
		}
	}
}

// examineCut notes what is where in the middle of a run. waitsFor names the agent without which an operation cannot go on.
func (s *stage) examineCut(waitsFor func(history.Event) string) {
	s.t.Helper()
	s.examineStores(func(e history.Event) history.Event {
		if e.To = waitsFor(e); e.To != "" {
			e.Cause = history.Absent
		}
		return e
	})
}

// examineStores notes what is in whose store, while nobody has any of them open. explain adds why a message is there.
func (s *stage) examineStores(explain func(history.Event) history.Event) {
	s.t.Helper()
	dirs := []string{dataDir(s.dir, clientID)}
	for _, id := range workers {
		dirs = append(dirs, dataDir(s.dir, id))
	}
	items, err := inventory.Take(s.t.Context(), dirs, s.services.data)
	require.NoError(s.t, err)
	known := s.known()
	for _, i := range items { // its sender knows a message that nobody else has handled by its token, too
		if key := known.keyOf(i); key != "" && i.Token != "" {
			known.tokens[i.Token] = key
		}
	}
	for _, i := range items {
		e := i.Event
		e.Key = known.keyOf(i)
		if e.Key == "" || e.Place == history.Answered && known.ended[e.Key] {
			continue // nobody was told that it was accepted; or everybody knows that it has ended
		}
		if e.Op == history.Hold {
			if pl := planOf(e.Key); pl.lane != "" {
				e.Lane, e.N = pl.lane, numberOf(e.Key)
			}
			e = explain(e)
		}
		s.history.Add(e)
	}
	s.history.Add(history.Event{Op: history.Examined, Kind: history.Info})
}

// known is what the histories say so far.
type known struct {
	open, ended map[string]bool // by key
	// tokens, messages and sequences are the names that the system has given to keys.
	tokens, messages map[string]string
	sequences        map[uint64]string
}

// known reads the histories.
func (s *stage) known() known {
	s.t.Helper()
	events, err := history.Read(historyDir(s.dir), "")
	require.NoError(s.t, err)
	k := known{map[string]bool{}, map[string]bool{}, map[string]string{}, map[string]string{}, map[uint64]string{}}
	for _, e := range events {
		if e.Key == "" {
			continue
		}
		if e.Token != "" {
			k.tokens[e.Token] = e.Key
		}
		if e.Message != "" {
			k.messages[e.Message] = e.Key
		}
		switch {
		case e.Op == history.Send && e.Kind == history.Call:
			k.open[e.Key] = true
		case e.Op == history.Send && e.Kind == history.Return:
			if n, err := strconv.ParseUint(path.Base(e.Ref), 10, 64); err == nil {
				k.sequences[n] = e.Key
			}
		case e.Op == history.Finish:
			k.ended[e.Key] = true
		case e.Op == history.Send && e.Kind == history.Unknown:
			delete(k.open, e.Key)
		}
	}
	maps.DeleteFunc(k.open, func(key string, _ bool) bool { return k.ended[key] })
	return k
}

// keysOf returns the keys of what was found.
func (k known) keysOf(items []inventory.Item) map[string]bool {
	keys := map[string]bool{}
	for _, i := range items {
		keys[k.keyOf(i)] = true
	}
	return keys
}

// keyOf returns the key of what was found, empty for what nobody knows by name.
func (k known) keyOf(i inventory.Item) string {
	var text wrapperspb.StringValue
	if len(i.Payload) > 0 && proto.Unmarshal(i.Payload, &text) == nil {
		return text.GetValue()
	}
	if i.Sequence > 0 { // the client is the only one that sends
		return k.sequences[i.Sequence]
	}
	return cmp.Or(k.tokens[i.Token], k.messages[i.Message])
}

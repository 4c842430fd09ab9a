package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/process"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/relay"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

// kind is what a fault does.
type kind int

const (
	// killAgent ends the agent with SIGKILL and starts it again; killRouter does so to the router.
	killAgent kind = iota
	killRouter
	// stopAgent and stopRouter ask them to end.
	stopAgent
	stopRouter
	// pauseAgent and pauseRouter let them stand still for two leases.
	pauseAgent
	pauseRouter
	// network is what happens to messages between agent and router.
	network
	// forget ends the agent after its handlers have run and before anything of that is on its disk.
	forget
	// oldCopy starts the agent on an old copy of its data, as if somebody had restored the wrong backup.
	oldCopy
)

// String names what the log says.
func (k kind) String() string {
	return [...]string{
		"SIGKILL to the agent", "SIGKILL to the router", "SIGTERM to the agent", "SIGTERM to the router", "SIGSTOP to the agent",
		"SIGSTOP to the router", "a fault of the network", "the agent dies between its handlers' end and their outcomes' record",
		"the agent starts on an old copy of its data",
	}[k]
}

// deck is dealt again and again. Faults that show the most come first, for runs with few.
var deck = [...]kind{
	killAgent, forget, network, killRouter, pauseAgent, network, stopAgent, forget, killAgent, network, pauseRouter, network,
	killAgent, stopRouter, oldCopy, network,
}

// fault comes when so many operations have ended.
type fault struct {
	kind  kind
	after int
	net   relay.Armed
}

// mostPass bounds how many messages pass before a fault of the network.
const mostPass = 5

// plan draws the faults. An old copy comes last: there must be one.
func plan(seed uint64, operations, faults int) []fault {
	rng := rand.New(rand.NewPCG(seed, 1))
	all := make([]fault, faults)
	nets := rng.Perm(int(relay.Faults - relay.DropRequest))
	for i := range all {
		all[i].kind = deck[i%len(deck)]
	}
	if faults > 2 {
		all[faults-1].kind = oldCopy
	}
	rng.Shuffle(max(0, faults-1), func(i, j int) { all[i], all[j] = all[j], all[i] })
	share := max(1, operations/(faults+1))
	for i := range all {
		all[i].after = operations*(i+1)/(faults+1) - rng.IntN(share)/2
		if all[i].kind == network {
			all[i].net = relay.Armed{
				Fault: relay.DropRequest + relay.Fault(nets[0]), Way: relay.Direction(rng.IntN(2)), Passes: rng.IntN(mostPass),
			}
			nets = append(nets[1:], nets[0])
		}
	}
	slices.SortStableFunc(all, func(a, b fault) int { return a.after - b.after })
	return all
}

// faults makes the faults of a plan, and remembers what of them tells of promises.
type faults struct {
	*stage
	// longest is how long a handler takes at most.
	longest time.Duration
	// engage returns when an operation has begun, and no earlier one has ended, since the sender's deliveries were parked.
	engage func(context.Context, fault) error

	done map[string]int
	// forgotten are messages whose handlers ran and whose outcomes were taken back.
	forgotten int
	// old is the copy of the agents' data that was made when they had these epochs; empty for none.
	old    string
	epochs map[string]uint64
	// refused counts old copies that the router refused, admitted names those that it did not.
	refused  int
	admitted []string
}

// make makes one fault. The agent and the router have started when it returns, or an error says why not.
func (f *faults) make(ctx context.Context, x fault, ended int) error {
	if err := f.awaitAgent(ctx); err != nil {
		return err
	}
	if x.kind == forget && len(f.directories()) == 0 {
		f.cfg.say("the agent keeps its data elsewhere than in SW4RM_DATA_DIR, so that only SIGKILL is possible")
		x.kind = killAgent
	}
	text := x.kind.String()
	if x.kind == network {
		text = "network: " + x.net.Fault.String()
	}
	f.cfg.say("after %d operations: %s", ended, text)
	f.done[x.kind.String()]++
	defer f.wire.proceed()
	if x.kind != network && x.kind != forget { // which take effect when messages come
		f.wire.park()
		if err := f.engage(ctx, x); err != nil {
			return err
		}
	}
	switch x.kind {
	case killAgent:
		return f.killAgent(ctx)
	case stopAgent:
		f.mark(f.agent, "stop")
		if !f.stop(ctx, f.agent) {
			f.cfg.say("the agent did not stop within %v of SIGTERM, and was killed", farewell)
		}
		return f.startAgent()
	case killRouter:
		f.kill(f.services)
		return f.startServices(ctx)
	case stopRouter:
		f.mark(f.services, "stop")
		f.stop(ctx, f.services)
		return f.startServices(ctx)
	case pauseAgent:
		return f.pause(ctx, f.agent)
	case pauseRouter:
		return f.pause(ctx, f.services)
	case forget:
		return f.forget(ctx, x)
	case oldCopy:
		return f.oldCopy(ctx)
	default:
		for _, id := range f.wire.ids() {
			f.relay.Arm(id, x.net) // one that waits still is as good
		}
		return f.engage(ctx, x)
	}
}

// mark notes a fault that is no kill.
func (f *faults) mark(p *process.Process, note string) {
	f.history.add(history.Event{Actor: servicesName, Op: history.Fault, Kind: history.Info, To: p.Name(), Note: note})
	f.wire.proceed()
}

// killAgent kills the agent and starts it again. The first time its data are copied in between.
func (f *faults) killAgent(ctx context.Context) error {
	f.kill(f.agent)
	if dirs := f.directories(); f.old == "" && len(dirs) > 0 {
		f.old, f.epochs = filepath.Join(f.dir, "old"), f.wire.epochs()
		if err := copyData(dirs, f.old); err != nil {
			return err
		}
	}
	return f.startAgent()
}

func (f *faults) pause(ctx context.Context, p *process.Process) error {
	f.mark(p, "pause")
	p.Freeze()
	defer p.Thaw()
	return wait(ctx, 2*f.cfg.Lease)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// forget lets messages come to the agent, copies its data as they are then, lets the handlers run without anybody hearing
// of it, kills the agent, and puts the copy in its place. This is what a loss of power does that comes after the handlers'
// effects and before the sync of their outcomes: whatever is not in the copy was told to nobody.
func (f *faults) forget(ctx context.Context, x fault) error {
	const (
		gathering = 10 * time.Second
		enough    = 8
		standing  = 50 * time.Millisecond
	)
	dirs := f.directories()
	f.wire.mute()
	defer f.wire.unmute()
	defer f.wire.release()
	if err := f.engage(ctx, x); err != nil {
		return err
	}
	gather, cancel := context.WithTimeout(ctx, gathering)
	f.wire.await(gather, func() bool { return len(f.wire.held) >= enough })
	cancel()
	f.wire.deafen()
	f.agent.Freeze()
	defer f.agent.Thaw()
	copied := filepath.Join(f.dir, fmt.Sprintf("before-%d", f.agentStarted))
	err := wait(ctx, standing)
	if err == nil {
		err = copyData(dirs, copied)
	}
	if err != nil {
		return err
	}
	f.agent.Thaw()
	f.wire.release()
	for _, id := range f.wire.ids() {
		f.relay.Cut(id) // in its next stream it asks what it has custody of
	}
	run, cancel := context.WithTimeout(ctx, f.longest+2*time.Second)
	f.wire.await(run, f.wire.allHandled)
	cancel()
	f.kill(f.agent)
	if err := putBack(dirs, copied); err != nil {
		return fmt.Errorf("put the agent's data back: %w", err)
	}
	n := f.wire.unmute()
	f.forgotten += n
	f.cfg.say("%d messages were handled, and the agent has lost the record of it", n)
	if err := os.RemoveAll(copied); err != nil {
		return err
	}
	return f.startAgent()
}

// oldCopy runs the agent on data that are at least two starts old. The router must not admit it.
func (f *faults) oldCopy(ctx context.Context) error {
	dirs := f.directories()
	if len(dirs) == 0 {
		return nil
	}
	for f.old == "" || !f.outdated() {
		if err := f.killAgent(ctx); err != nil {
			return err
		}
		if err := f.awaitAgent(ctx); err != nil {
			return err
		}
	}
	f.kill(f.agent)
	now := filepath.Join(f.dir, "now")
	if err := copyData(dirs, now); err != nil {
		return err
	}
	if err := putBack(dirs, f.old); err != nil {
		return fmt.Errorf("restore the old copy: %w", err)
	}
	if err := f.startAgent(); err != nil {
		return err
	}
	f.verdict(ctx)
	f.kill(f.agent)
	if err := putBack(dirs, now); err != nil {
		return fmt.Errorf("put the agent's data back: %w", err)
	}
	if err := os.RemoveAll(now); err != nil {
		return err
	}
	return f.startAgent()
}

// outdated tells whether every agent was opened at least twice since the copy was made. Opened once more each, the copy
// and the agent would look the same.
func (f *faults) outdated() bool {
	for id, epoch := range f.wire.epochs() {
		if epoch < f.epochs[id]+2 {
			return false
		}
	}
	return true
}

// verdict waits for what the router says to the old copies.
func (f *faults) verdict(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answered := func(a *known) bool { return a.since > f.launched && (a.welcomed || a.refused != 0) }
	f.wire.await(ctx, func() bool {
		for id := range f.epochs {
			if !answered(f.wire.agents[id]) {
				return false
			}
		}
		return true
	})
	f.wire.mu.Lock()
	defer f.wire.mu.Unlock()
	for id := range f.epochs {
		switch a := f.wire.agents[id]; {
		case !answered(a):
		case a.refused == transportpb.Goodbye_REASON_STORE_ROLLED_BACK:
			f.refused++
		case a.welcomed:
			f.admitted = append(f.admitted, id)
		}
	}
}

// ids returns the agents that have connected.
func (w *wire) ids() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	for id := range w.agents {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// epochs returns how often each agent's data were opened.
func (w *wire) epochs() map[string]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]uint64{}
	for id, a := range w.agents {
		all[id] = a.epoch
	}
	return all
}

// allHandled is called under the lock.
func (w *wire) allHandled() bool {
	for _, ended := range w.held {
		if !ended {
			return false
		}
	}
	return true
}

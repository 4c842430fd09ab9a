package agenttest

import (
	"sync"
	"time"
)

// DropAnswer makes the next n messages that the agent sends happen without the agent being told: the router takes the
// message, and the connection ends before its answer is through. The agent connects again and has to find out. Refusals
// do not count, nor do the acknowledgements and replies that the agent sends.
func (n *Net) DropAnswer(id string, count int) {
	n.t.Helper()
	n.faultsOf(id).set(func(f *faults) { f.drops += max(0, count) })
}

// Duplicate makes the next n messages and replies for the agent come twice, as they do when an acknowledgement of the
// first delivery was lost. Acknowledgements do not count.
func (n *Net) Duplicate(id string, count int) {
	n.t.Helper()
	n.faultsOf(id).set(func(f *faults) { f.duplicates += max(0, count) })
}

// Delay makes each of the next n messages and replies for the agent come d later than it would. Those behind them wait,
// so that the order stays; acknowledgements do neither wait nor count. A router delivers a message again when its lease
// ends, which is 30 s unless the net has another Lease.
func (n *Net) Delay(id string, count int, d time.Duration) {
	n.t.Helper()
	n.faultsOf(id).set(func(f *faults) {
		for range count {
			f.delays = append(f.delays, d)
		}
	})
}

// faults are what is to happen to one agent. They outlive its instances.
type faults struct {
	mu         sync.Mutex
	drops      int
	duplicates int
	delays     []time.Duration
	crash      *crash
}

func (f *faults) set(change func(*faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// drop tells whether an answer is lost.
func (f *faults) drop() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drops--
	if f.drops < 0 {
		f.drops = 0
		return false
	}
	return true
}

// delivery tells what happens to a message for the agent.
func (f *faults) delivery() (copies int, delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	copies = 1
	if f.duplicates > 0 {
		f.duplicates--
		copies = 2
	}
	if len(f.delays) > 0 {
		delay = f.delays[0]
		f.delays = f.delays[1:]
	}
	return copies, delay
}

// current returns the crash that is to come, nil for none.
func (f *faults) current() *crash {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.crash
}

package relay

import (
	"maps"
	"sync"
)

// Fault is what a network does to one message, or to one connection.
type Fault int

// The faults.
const (
	// DropRequest loses what an agent has sent, and ends the connection.
	DropRequest Fault = iota + 1
	// DropAnswer loses the answer to it: it happened, but the agent was not told.
	DropAnswer
	// Duplicate lets something come twice.
	Duplicate
	// Delay holds something back for Config.Slow, and all that is behind it.
	Delay
	// Reset ends the connection in the middle of a message.
	Reset
	// HalfOpen lets the connection stay open and carry nothing, for Config.Silent, and then ends it.
	HalfOpen
	// Faults is one more than the last fault.
	Faults
)

// String names what logs say.
func (f Fault) String() string {
	if f < 0 || f >= Faults {
		return "unknown"
	}
	return [...]string{"none", "drop request", "drop answer", "duplicate", "delay", "reset", "half-open"}[f]
}

// Direction is one way of a connection.
type Direction int

// The directions.
const (
	Upwards Direction = iota // from the agent
	Downwards
)

// Armed is a fault that waits for a message on its way, after Passes that go by.
type Armed struct {
	Fault  Fault
	Way    Direction
	Passes int
}

// faults are the faults that wait for traffic, by agent.
type faults struct {
	mu      sync.Mutex
	waiting map[string]*Armed
	// happened is told of every fault, under the lock.
	happened func(agent string, f Fault)
	done     map[Fault]int
}

func newFaults(happened func(string, Fault)) *faults {
	if happened == nil {
		happened = func(string, Fault) {}
	}
	return &faults{waiting: map[string]*Armed{}, happened: happened, done: map[Fault]int{}}
}

func (n *faults) arm(agent string, f Armed) bool {
	switch f.Fault {
	case DropRequest:
		f.Way = Upwards
	case DropAnswer:
		f.Way = Downwards
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting[agent] != nil {
		return false
	}
	n.waiting[agent] = &f
	return true
}

// next returns the fault that a message of the agent meets, 0 for none.
func (n *faults) next(agent string, way Direction) Fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.waiting[agent]
	if f == nil || f.Way != way {
		return 0
	}
	if f.Passes--; f.Passes >= 0 {
		return 0
	}
	delete(n.waiting, agent)
	n.done[f.Fault]++
	n.happened(agent, f.Fault)
	return f.Fault
}

func (n *faults) counts() map[Fault]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.done)
}

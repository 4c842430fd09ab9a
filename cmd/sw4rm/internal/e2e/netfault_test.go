package e2e

import (
	"maps"
	"sync"
	"time"
)

// netFault is what a network does to one message, or to one connection.
type netFault int

const (
	// dropRequest loses what an agent has sent, and ends the connection.
	dropRequest netFault = iota + 1
	// dropAnswer loses the answer to it: it happened, but the agent was not told.
	dropAnswer
	// duplicate lets something come twice.
	duplicate
	// delay holds something back for longer than a lease, and all that is behind it.
	delay
	// reset ends the connection in the middle of a message.
	reset
	// halfOpen lets the connection stay open and carry nothing, for longer than a lease.
	halfOpen
	netFaultKinds
)

// String names what the log says.
func (f netFault) String() string {
	return [...]string{"none", "drop request", "drop answer", "duplicate", "delay", "reset", "half-open"}[f]
}

const (
	// slowFor is longer than the lease of the tests' services, and than the acknowledgement timeout.
	slowFor = 1500 * time.Millisecond
	// silentFor is how long a half-open connection says nothing before it ends.
	silentFor = 2500 * time.Millisecond
)

// direction is one way of a connection.
type direction int

const (
	upwards direction = iota // from the agent
	downwards
)

// armed is a fault that waits for a message on its way, after some that pass.
type armed struct {
	fault  netFault
	way    direction
	passes int
}

// netFaults are the faults that wait for traffic, by agent.
type netFaults struct {
	mu      sync.Mutex
	waiting map[string]*armed
	silent  time.Duration
	// happened is told of every fault, under the lock.
	happened func(agent string, f netFault)
	done     map[netFault]int
}

func newNetFaults() *netFaults {
	return &netFaults{
		waiting: map[string]*armed{}, silent: silentFor, happened: func(string, netFault) {}, done: map[netFault]int{},
	}
}

// arm lets a fault happen to a message of the agent in a direction, after some that pass. Drops have a direction of their
// own. It is false while an earlier fault of this agent waits: a network that breaks every connection at its first
// message is none.
func (n *netFaults) arm(agent string, f armed) bool {
	switch f.fault {
	case dropRequest:
		f.way = upwards
	case dropAnswer:
		f.way = downwards
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
func (n *netFaults) next(agent string, way direction) netFault {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.waiting[agent]
	if f == nil || f.way != way {
		return 0
	}
	if f.passes--; f.passes >= 0 {
		return 0
	}
	delete(n.waiting, agent)
	n.done[f.fault]++
	n.happened(agent, f.fault)
	return f.fault
}

func (n *netFaults) silentFor() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.silent
}

// counts returns how many faults of each kind have happened.
func (n *netFaults) counts() map[netFault]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.done)
}

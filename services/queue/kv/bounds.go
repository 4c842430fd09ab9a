package kv

import (
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/internal/fullness"
)

// maxFollowed is of how many queues it is logged one by one how full they are.
const maxFollowed = 100

// bounds is what was logged of the engine's bounds. That more is used than before is logged at once, that there is room again
// by Prune: so a bound says no more than two or three lines between two of them, whatever comes and goes meanwhile.
type bounds struct {
	// queues has those that were said to be full, or nearly. more says that there are others.
	queues map[queueKey]*fullness.Gauge
	more   bool
	// work is how much may wait in all queues together when work is taken, control when signals and answers are.
	work, control, agents fullness.Gauge
	// disk says that work was refused for want of room on it.
	disk bool
}

const fixWaiting = "start the agents for which the messages wait, or raise the limit (sw4rm up --max-waiting)"

var (
	boundQueue   = fullness.Bound{Name: "max_work", Fix: "start more agents that take these messages, or raise the limit (sw4rm up --max-work)"}
	boundWork    = fullness.Bound{Name: "max_waiting", Fix: fixWaiting}
	boundControl = fullness.Bound{Name: "max_waiting for signals and answers", Fix: fixWaiting}
	boundAgents  = fullness.Bound{Name: "max_agents", Fix: "let fewer agent ids connect, or raise the limit (sw4rm up --max-agents)"}
)

// mayWait is how many messages of a class may wait in one queue, and how many in all before one of it is refused. Work may
// not when there are MaxWork; signals and answers may be more.
func (e *Engine) mayWait(class transportpb.Class) (inQueue, inAll int) {
	if class == transportpb.Class_CLASS_WORK {
		return e.limits.MaxWork, e.limits.MaxWaiting
	}
	return controlFactor * e.limits.MaxWork, 2 * e.limits.MaxWaiting
}

// noteQueue logs how full a queue is, and all of them together, when that is more than what was logged.
func (e *Engine) noteQueue(k queueKey) {
	_, mostWork := e.mayWait(transportpb.Class_CLASS_WORK)
	_, mostControl := e.mayWait(transportpb.Class_CLASS_SIGNAL)
	e.bounds.work.Grew(e.log, boundWork, len(e.rows), mostWork)
	e.bounds.control.Grew(e.log, boundControl, len(e.rows), mostControl)
	most, _ := e.mayWait(k.class)
	n := e.queueLen(k)
	if !fullness.Near(n, most) {
		return
	}
	g := e.bounds.queues[k]
	switch {
	case g != nil:
	case len(e.bounds.queues) < maxFollowed:
		if e.bounds.queues == nil {
			e.bounds.queues = make(map[queueKey]*fullness.Gauge)
		}
		g = new(fullness.Gauge)
		e.bounds.queues[k] = g
	default:
		if !e.bounds.more {
			e.bounds.more = true
			e.log.Warn("more addresses are nearly full than are logged one by one", "bound", boundQueue.Name, "logged", maxFollowed)
		}
		return
	}
	g.Grew(e.log, boundQueue, n, most, "address", k.address, "class", k.class.String())
}

func (e *Engine) noteAgents() {
	e.bounds.agents.Grew(e.log, boundAgents, len(e.instances), e.limits.MaxAgents)
}

// roomOnDisk returns why the disk has no room for new work, and logs it once.
func (e *Engine) roomOnDisk() error {
	err := store.Room(e.s)
	if err != nil && !e.bounds.disk {
		e.bounds.disk = true
		e.log.Error("the disk is nearly full, and new work is refused", "bound", "min_free_disk", "error", err)
	}
	return err
}

// noteRoom logs where there is room again.
func (e *Engine) noteRoom() {
	for k, g := range e.bounds.queues {
		most, _ := e.mayWait(k.class)
		if g.Shrank(e.log, boundQueue, e.queueLen(k), most, "address", k.address, "class", k.class.String()) {
			delete(e.bounds.queues, k)
			e.bounds.more = false
		}
	}
	_, mostWork := e.mayWait(transportpb.Class_CLASS_WORK)
	_, mostControl := e.mayWait(transportpb.Class_CLASS_SIGNAL)
	e.bounds.work.Shrank(e.log, boundWork, len(e.rows), mostWork)
	e.bounds.control.Shrank(e.log, boundControl, len(e.rows), mostControl)
	e.bounds.agents.Shrank(e.log, boundAgents, len(e.instances), e.limits.MaxAgents)
	if e.bounds.disk && store.Room(e.s) == nil {
		e.bounds.disk = false
		e.log.Info("there is room again", "bound", "min_free_disk")
	}
}

package agent

import (
	"context"
	"slices"
	"sync"
)

// dispatcher starts handlers: never more than max at once, and those of one lane one after another in the order in which
// they came. A handler that waits in a call gives its place and its lane to others, and takes a place again before it
// goes on.
type dispatcher struct {
	mu       sync.Mutex
	max      int
	running  int
	active   int // started and not finished, those that wait in a call included
	paused   bool
	ready    []*task
	resuming []chan struct{}
	lanes    map[string]*lane
	// busy has the records whose handler runs; a handler that outlived its timeout must end before its record runs again.
	busy  map[uint64]*task
	idle  chan struct{} // closed when active falls to 0 while paused
	start func(*task)
}

type lane struct {
	owner   *task
	waiting []*task
}

func newDispatcher(max int, start func(*task)) *dispatcher {
	return &dispatcher{max: max, lanes: map[string]*lane{}, busy: map[uint64]*task{}, start: start}
}

// add queues a task behind those of its lane.
func (d *dispatcher) add(t *task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.lane != "" {
		l := d.lanes[t.lane]
		if l == nil {
			l = &lane{}
			d.lanes[t.lane] = l
		}
		if l.owner != nil {
			l.waiting = append(l.waiting, t)
			return
		}
		l.owner = t
	}
	d.ready = append(d.ready, t)
	d.pump()
}

// pump starts what may start. Handlers that go on come before those that begin, so that every begun one can end.
func (d *dispatcher) pump() {
	for d.running < d.max && len(d.resuming) > 0 {
		close(d.resuming[0])
		d.resuming = d.resuming[1:]
		d.running++
	}
	var held []*task
	for d.running < d.max && !d.paused && len(d.ready) > 0 {
		t := d.ready[0]
		d.ready[0] = nil
		d.ready = d.ready[1:]
		if d.busy[t.seq()] != nil {
			held = append(held, t)
			continue
		}
		d.busy[t.seq()] = t
		t.returned = make(chan struct{})
		d.running++
		d.active++
		go d.start(t)
	}
	d.ready = append(held, d.ready...)
}

// finished gives back what the task had.
func (d *dispatcher) finished(t *task) {
	held := t.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	if held {
		d.running--
	}
	d.active--
	delete(d.busy, t.seq())
	close(t.returned)
	d.leaveLane(t)
	d.pump()
	d.checkIdle()
}

// taskOf returns the task whose handler runs for a record, nil for none.
func (d *dispatcher) taskOf(seq uint64) *task {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.busy[seq]
}

// yield gives the task's place and lane to others.
func (d *dispatcher) yield(t *task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
	d.leaveLane(t)
	d.pump()
}

// resume blocks until there is a place for a task again, and tells whether it has one; without one when ctx ends first.
// Places come free whatever happens, since handlers that wait hold none.
func (d *dispatcher) resume(ctx context.Context) bool {
	d.mu.Lock()
	ch := make(chan struct{})
	d.resuming = append(d.resuming, ch)
	d.pump()
	d.mu.Unlock()
	select {
	case <-ch:
		return true
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at := slices.Index(d.resuming, ch)
	if at < 0 { // it came at the same moment
		return true
	}
	d.resuming = slices.Delete(d.resuming, at, at+1)
	return false
}

// free gives a place back that resume has given.
func (d *dispatcher) free() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
	d.pump()
}

func (d *dispatcher) leaveLane(t *task) {
	l := d.lanes[t.lane]
	if l == nil || l.owner != t {
		return
	}
	if len(l.waiting) == 0 {
		delete(d.lanes, t.lane)
		return
	}
	l.owner = l.waiting[0]
	l.waiting = l.waiting[1:]
	d.ready = append(d.ready, l.owner)
}

// pause starts no more handlers, and returns a channel that is closed when none is active.
func (d *dispatcher) pause() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paused = true
	if d.idle == nil {
		d.idle = make(chan struct{})
	}
	d.checkIdle()
	return d.idle
}

func (d *dispatcher) checkIdle() {
	if d.paused && d.active == 0 && d.idle != nil {
		select {
		case <-d.idle:
		default:
			close(d.idle)
		}
	}
}

package agent

import "sync"

// turns lets the messages of one lane be accepted in the order in which they came, although the router says of some of
// them only later that this agent has them. Without a lane there is no order.
type turns struct {
	mu    sync.Mutex
	lanes map[string]*turnLane
}

type turnLane struct {
	waiting []*turn
	// accepting tells that somebody accepts those at the front.
	accepting bool
}

// turn is one message's place.
type turn struct {
	lane string
	// accept is nil for one that is dropped.
	accept  func()
	decided bool
}

func newTurns() *turns { return &turns{lanes: map[string]*turnLane{}} }

// enter takes the next place of a lane for a message that is not decided yet.
func (q *turns) enter(lane string, accept func()) *turn {
	t := &turn{lane: lane, accept: accept}
	if lane == "" {
		return t
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lane(lane).waiting = append(q.lane(lane).waiting, t)
	return t
}

func (q *turns) lane(name string) *turnLane {
	l := q.lanes[name]
	if l == nil {
		l = &turnLane{}
		q.lanes[name] = l
	}
	return l
}

// decide accepts a message when those before it are decided, or lets it go. Those behind it follow.
func (q *turns) decide(t *turn, accept bool) {
	if t.lane == "" {
		if accept {
			t.accept()
		}
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	t.decided = true
	if !accept {
		t.accept = nil
	}
	l := q.lane(t.lane)
	if l.accepting {
		return // who does sees this one too
	}
	l.accepting = true
	for len(l.waiting) > 0 && l.waiting[0].decided {
		next := l.waiting[0]
		l.waiting = l.waiting[1:]
		if next.accept == nil {
			continue
		}
		q.mu.Unlock()
		next.accept()
		q.mu.Lock()
	}
	l.accepting = false
	if len(l.waiting) == 0 {
		delete(q.lanes, t.lane)
	}
}

// pass accepts a message for which nothing has to be decided.
func (q *turns) pass(lane string, accept func()) { q.decide(q.enter(lane, accept), true) }

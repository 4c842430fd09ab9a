package agent

import (
	"maps"
	"slices"
	"sync"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
)

// refusals keep conversations in order while the router refuses their messages: the first that was refused is submitted
// again when it is time, and those behind it once it was accepted or has ended.
type refusals struct {
	mu    sync.Mutex
	lanes map[string]*refusedLane
}

// refusedLane is a conversation with one recipient.
type refusedLane struct {
	// waiting are those that were refused, and those that came to the turn behind them, by sequence number.
	waiting map[uint64]*operation
	// heard tells that the router has still to be told that its refusal is known.
	heard bool
}

func newRefusals() *refusals { return &refusals{lanes: map[string]*refusedLane{}} }

func refusedKey(rec *storagepb.OutRecord) string { return rec.GetTo() + " " + rec.GetCorrelationId() }

// first returns the lowest sequence number that waits.
func (l *refusedLane) first() uint64 { return slices.Min(slices.Collect(maps.Keys(l.waiting))) }

// add notes that an operation was refused, and tells whether it is the first of its conversation.
func (r *refusals) add(key string, o *operation) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[key]
	if l == nil {
		l = &refusedLane{waiting: map[uint64]*operation{}}
		r.lanes[key] = l
	}
	l.waiting[o.seq], l.heard = o, true
	return l.first() == o.seq
}

// pass tells whether an operation may be submitted, and whether the router has to be told that its refusal is known. One that
// may not is made ready in its turn.
func (r *refusals) pass(key string, o *operation) (ok, afterRefusal bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[key]
	if l == nil {
		return true, false
	}
	if len(l.waiting) > 0 && o.seq > l.first() {
		l.waiting[o.seq] = o
		return false, false
	}
	afterRefusal = l.heard
	if l.heard = false; len(l.waiting) == 0 {
		delete(r.lanes, key)
	}
	return true, afterRefusal
}

// remove takes out an operation that was accepted or has ended, and returns those whose turn it is now, in order.
func (r *refusals) remove(key string, o *operation) []*operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[key]
	if l == nil || l.waiting[o.seq] == nil {
		return nil
	}
	was := l.first()
	delete(l.waiting, o.seq)
	if was != o.seq {
		return nil
	}
	var next []*operation
	for _, seq := range slices.Sorted(maps.Keys(l.waiting)) {
		next = append(next, l.waiting[seq])
	}
	clear(l.waiting)
	if !l.heard || len(next) == 0 {
		delete(r.lanes, key)
	}
	return next
}

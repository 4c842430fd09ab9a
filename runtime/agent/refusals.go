package agent

import (
	"cmp"
	"slices"
	"sync"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// refusals keep conversations in order while the router refuses their messages: the first that was refused is submitted
// again when it is time, and those behind it once it was accepted or has ended.
type refusals struct {
	mu    sync.Mutex
	lanes map[string]*refusedLane
	log   refusing
}

// refusedLane is a conversation with one recipient.
type refusedLane struct {
	// waiting are those that were refused, and those that came to the turn behind them, by sequence number; never none.
	waiting []*operation
	// heard tells that the router has still to be told that its refusal is known.
	heard bool
	// obstacle is why the router has refused one of them last.
	obstacle *ack.Error
	// released tells that those that wait may be submitted, one behind the other without waiting for answers.
	released bool
}

func newRefusals() *refusals {
	return &refusals{lanes: map[string]*refusedLane{}, log: refusing{said: map[string]*refusingTo{}}}
}

func refusedKey(rec *storagepb.OutRecord) string { return rec.GetTo() + " " + rec.GetCorrelationId() }

// find returns where an operation waits, or would.
func (l *refusedLane) find(o *operation) (at int, waits bool) {
	return slices.BinarySearchFunc(l.waiting, o.seq, func(o *operation, seq uint64) int { return cmp.Compare(o.seq, seq) })
}

// wait lets an operation wait, and tells whether it is the first.
func (l *refusedLane) wait(o *operation) bool {
	at, waits := l.find(o)
	if !waits {
		l.waiting = slices.Insert(l.waiting, at, o)
	}
	return at == 0
}

// add notes that an operation was refused, and why, and tells whether it is the first of its conversation.
func (r *refusals) add(key string, o *operation, why *ack.Error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[key]
	if l == nil {
		l = &refusedLane{}
		r.lanes[key] = l
	}
	l.heard, l.released, l.obstacle = true, false, why
	return l.wait(o)
}

// obstacle returns why the router has last refused one of the conversation in which an operation waits, nil when it does not.
func (r *refusals) obstacle(key string, o *operation) *ack.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.lanes[key]; l != nil {
		if _, waits := l.find(o); waits {
			return l.obstacle
		}
	}
	return nil
}

// pass tells whether an operation may be submitted, and whether the router has to be told that its refusal is known. One that
// may not is made ready in its turn: next is whose turn it is now, nil for nobody's.
func (r *refusals) pass(key string, o *operation) (ok, afterRefusal bool, next *operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[key]
	if l == nil {
		return true, false, nil
	}
	if o.seq > l.waiting[0].seq {
		l.wait(o)
		return false, false, nil
	}
	afterRefusal, l.heard = l.heard, false
	if l.released {
		next = r.leave(key, l, o)
	}
	return true, afterRefusal, next
}

// remove takes out an operation that was accepted or has ended, and returns whose turn it is now, nil for nobody's.
func (r *refusals) remove(key string, o *operation) (next *operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[key]
	if l == nil {
		return nil
	}
	at, waits := l.find(o)
	if !waits {
		return nil
	}
	l.released = l.released || at == 0
	return r.leave(key, l, o)
}

// leave takes an operation out of its conversation, and returns the next one when those may be submitted.
func (r *refusals) leave(key string, l *refusedLane, o *operation) *operation {
	if at, waits := l.find(o); waits {
		l.waiting = slices.Delete(l.waiting, at, at+1)
	}
	switch {
	case len(l.waiting) == 0:
		delete(r.lanes, key)
		return nil
	case l.released:
		return l.waiting[0]
	default:
		return nil
	}
}

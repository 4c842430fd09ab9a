package agent

import (
	"container/heap"
	"context"
	"sync"
	"time"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

// window is how many submissions of one class may be unanswered, so that a slow router costs bounded memory.
const window = 512

// item is something that the outbox submits until the router has answered for it: an attempt of an operation, or an
// acknowledgement or reply that a received message owes.
type item struct {
	// key is what the item is about, where addOnce has to tell; nil else.
	key   any
	class transportpb.Class
	// order is the place among the items of the class.
	order uint64
	// build makes the submission; a nil one takes the item out. It is called by the outbox's goroutine alone.
	build func(s session) *transportpb.Submit
	// answered gets the router's answer, and due the passing of the time that setTimer set. Neither may block.
	// The answer is to the envelope with this message id, which need not be the one that build would make now.
	answered func(ans *transportpb.Answer, messageID string)
	due      func()
	// doubted is told that the answer to come, a refusal, does not say that the router has not got it; nil where that is all
	// the same. It may not block either.
	doubted func()

	at       time.Time
	timerIdx int
	readyIdx int
	n        uint64
	sent     string // the message id of what is in flight
	// rebuild tells that it was to be made ready while it was in flight: what build has read by then may be outdated.
	rebuild bool
	removed bool
}

// outbox hands items to the session in order, within a window for each class, and keeps their timers. Items are idle,
// ready or in flight; when a session ends, those in flight are ready again.
type outbox struct {
	mu       sync.Mutex
	timers   itemHeap
	ready    map[transportpb.Class]*itemHeap
	keyed    map[any]*item
	inFlight map[uint64]*item
	counts   map[transportpb.Class]int
	last     uint64
	session  session
	wake     chan struct{}
	quiet    *quiet // who waits for classes to be empty; nil for nobody
}

// quiet is closed when nothing of its classes is ready or in flight, or there is no session to hand it to.
type quiet struct {
	classes []transportpb.Class
	done    chan struct{}
}

func newOutbox() *outbox {
	o := &outbox{
		timers: itemHeap{
			less: func(a, b *item) bool { return a.at.Before(b.at) || a.at.Equal(b.at) && a.order < b.order },
			set:  func(i *item, n int) { i.timerIdx = n },
		},
		ready:    map[transportpb.Class]*itemHeap{},
		keyed:    map[any]*item{},
		inFlight: map[uint64]*item{},
		counts:   map[transportpb.Class]int{},
		wake:     make(chan struct{}, 1),
	}
	for _, class := range classes {
		o.ready[class] = &itemHeap{
			less: func(a, b *item) bool { return a.order < b.order },
			set:  func(i *item, n int) { i.readyIdx = n },
		}
	}
	return o
}

// classes in the order in which they are submitted: what ends something goes before what begins something, and a reply
// before its acknowledgement, which it makes needless.
var classes = [...]transportpb.Class{
	transportpb.Class_CLASS_ANSWER, transportpb.Class_CLASS_SIGNAL, transportpb.Class_CLASS_WORK,
}

// add makes a new item ready.
func (o *outbox) add(i *item) {
	i.timerIdx, i.readyIdx = -1, -1
	o.makeReady(i)
}

// addOnce makes a new item ready, unless there is one already that is about the same.
func (o *outbox) addOnce(i *item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keyed[i.key] != nil {
		return
	}
	o.keyed[i.key] = i
	i.timerIdx, i.readyIdx = -1, -1
	heap.Push(o.ready[i.class], i)
	o.signal()
}

// idle takes a new item that waits for its timer.
func (o *outbox) idle(i *item, at time.Time) {
	i.timerIdx, i.readyIdx = -1, -1
	o.setTimer(i, at)
}

// makeReady queues the item for submission unless it is queued or in flight. One in flight for which there turns out to be
// nothing to submit is built once more; where there is, its answer decides what is next.
func (o *outbox) makeReady(i *item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case i.removed || i.readyIdx >= 0:
	case i.n != 0:
		i.rebuild = true
	default:
		heap.Push(o.ready[i.class], i)
		o.signal()
	}
}

// setTimer sets when due is called; the zero time is never.
func (o *outbox) setTimer(i *item, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i.timerIdx >= 0 {
		heap.Remove(&o.timers, i.timerIdx)
	}
	if i.removed || at.IsZero() {
		return
	}
	i.at = at
	heap.Push(&o.timers, i)
	if i.timerIdx == 0 {
		o.signal()
	}
}

// remove takes the item out for good.
func (o *outbox) remove(i *item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.removeLocked(i)
}

func (o *outbox) removeLocked(i *item) {
	i.removed = true
	if o.keyed[i.key] == i {
		delete(o.keyed, i.key)
	}
	if i.timerIdx >= 0 {
		heap.Remove(&o.timers, i.timerIdx)
	}
	if i.readyIdx >= 0 {
		heap.Remove(o.ready[i.class], i.readyIdx)
	}
	o.landed(i)
	o.checkQuiet()
}

// landed takes the item out of flight.
func (o *outbox) landed(i *item) {
	if i.n != 0 {
		delete(o.inFlight, i.n)
		o.counts[i.class]--
		i.n, i.rebuild = 0, false
		o.signal()
		o.checkQuiet()
	}
}

// answer gives the router's answer to its item.
func (o *outbox) answer(a *transportpb.Answer) {
	o.mu.Lock()
	i := o.inFlight[a.GetN()]
	var sent string
	if i != nil {
		sent = i.sent
		o.landed(i)
	}
	o.mu.Unlock()
	if i != nil {
		i.answered(a, sent)
	}
}

// doubted implements events.
func (a *Agent) doubted(n uint64) {
	if i := a.outbox.flying(n); i != nil && i.doubted != nil {
		i.doubted()
	}
}

// flying returns the item that is in flight under a number, nil for none.
func (o *outbox) flying(n uint64) *item {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.inFlight[n]
}

// number returns a number for a frame that is answered.
func (o *outbox) number() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last++
	return o.last
}

// use makes s the session, nil for none; what was in flight on the former one is ready again.
func (o *outbox) use(s session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.session = s
	for _, i := range o.inFlight {
		o.landed(i)
		heap.Push(o.ready[i.class], i)
	}
	o.checkQuiet()
	o.signal()
}

// current returns the session, nil for none.
func (o *outbox) current() session {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.session
}

// settled returns a channel that is closed when no item of the classes is ready or in flight, or there is no session. One
// at a time may wait for it.
func (o *outbox) settled(classes ...transportpb.Class) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := &quiet{classes: classes, done: make(chan struct{})}
	o.quiet = q
	o.checkQuiet()
	return q.done
}

func (o *outbox) checkQuiet() {
	if o.quiet == nil {
		return
	}
	for _, c := range o.quiet.classes {
		if o.session != nil && (o.counts[c] > 0 || o.ready[c].Len() > 0) {
			return
		}
	}
	close(o.quiet.done)
	o.quiet = nil
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run fires timers and submits ready items until ctx ends.
func (o *outbox) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		next := o.fire()
		for {
			i, n, s := o.next()
			if i == nil {
				break
			}
			o.submit(i, n, s)
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-o.wake:
		case <-timer.C:
		}
	}
}

// fire calls due of every item whose time has come, and returns the time of the next.
func (o *outbox) fire() time.Time {
	for {
		o.mu.Lock()
		if o.timers.Len() == 0 {
			o.mu.Unlock()
			return time.Time{}
		}
		i := o.timers.items[0]
		if at := i.at; at.After(time.Now()) {
			o.mu.Unlock()
			return at
		}
		heap.Pop(&o.timers)
		o.mu.Unlock()
		i.due()
	}
}

// next takes the next item to submit out of its queue and puts it in flight.
func (o *outbox) next() (*item, uint64, session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.session == nil {
		return nil, 0, nil
	}
	for _, class := range classes {
		if o.ready[class].Len() == 0 || o.counts[class] >= window {
			continue
		}
		i := heap.Pop(o.ready[class]).(*item)
		o.last++
		i.n = o.last
		o.inFlight[i.n] = i
		o.counts[class]++
		return i, i.n, o.session
	}
	return nil, 0, nil
}

// submit hands the item to the session; should that have ended meanwhile, the item is ready again already.
func (o *outbox) submit(i *item, n uint64, s session) {
	m := i.build(s)
	if m == nil {
		o.mu.Lock()
		if i.n == n {
			if i.rebuild {
				heap.Push(o.ready[i.class], i)
			}
			o.landed(i)
		}
		o.mu.Unlock()
		return
	}
	o.mu.Lock()
	if i.n == n {
		i.sent = m.GetEnvelope().GetMessageId()
	}
	o.mu.Unlock()
	m.N, m.Class = n, i.class
	s.submit(m)
}

// itemHeap is a heap of items that know their place in it.
type itemHeap struct {
	items []*item
	less  func(a, b *item) bool
	set   func(i *item, n int)
}

func (h *itemHeap) Len() int           { return len(h.items) }
func (h *itemHeap) Less(i, j int) bool { return h.less(h.items[i], h.items[j]) }
func (h *itemHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.set(h.items[i], i)
	h.set(h.items[j], j)
}

// Push implements heap.Interface.
func (h *itemHeap) Push(x any) {
	i := x.(*item)
	h.set(i, len(h.items))
	h.items = append(h.items, i)
}

// Pop implements heap.Interface.
func (h *itemHeap) Pop() any {
	last := len(h.items) - 1
	i := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	h.set(i, -1)
	return i
}

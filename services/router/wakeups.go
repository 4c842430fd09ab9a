package router

import "sync"

// Wakeups passes the engine's notices of deliverable messages on to the streams that wait for them. The zero Wakeups is
// ready; an engine is opened with its Notify before there is a router.
type Wakeups struct {
	mu      sync.RWMutex
	waiting map[string]map[*waker]struct{}
}

// Notify wakes whoever waits for messages to an address. It never blocks.
func (w *Wakeups) Notify(to string) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for k := range w.waiting[to] {
		k.wake()
	}
}

// all wakes every waker.
func (w *Wakeups) all() {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, set := range w.waiting {
		for k := range set {
			k.wake()
		}
	}
}

func (w *Wakeups) add(k *waker, addresses []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = make(map[string]map[*waker]struct{})
	}
	for _, a := range addresses {
		set := w.waiting[a]
		if set == nil {
			set = make(map[*waker]struct{})
			w.waiting[a] = set
		}
		set[k] = struct{}{}
	}
}

func (w *Wakeups) remove(k *waker, addresses []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range addresses {
		delete(w.waiting[a], k)
		if len(w.waiting[a]) == 0 {
			delete(w.waiting, a)
		}
	}
}

// waker tells one goroutine that there may be something to do. Notices add up to one.
type waker struct{ c chan struct{} }

func newWaker() *waker { return &waker{c: make(chan struct{}, 1)} }

func (k *waker) wake() {
	select {
	case k.c <- struct{}{}:
	default:
	}
}

package agent

import "sync"

// endedKept is how many attempts ended remembers.
const endedKept = 4096

// ended remembers the attempts of operations that were lately FULFILLED. Their acknowledgements usually come right behind
// the reply and say nothing new, so that nothing has to be read for them.
type ended struct {
	mu   sync.Mutex
	ids  map[string]struct{}
	ring [endedKept]string
	next int
}

func newEnded() *ended { return &ended{ids: map[string]struct{}{}} }

func (e *ended) add(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ids, e.ring[e.next])
	e.ring[e.next] = id
	e.ids[id] = struct{}{}
	e.next = (e.next + 1) % endedKept
}

func (e *ended) has(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.ids[id]
	return ok
}

package agent

import "sync"

// serial runs functions of one key one after another, in the order in which they came, and those of different keys side
// by side. What is waiting is bounded by who calls it: deliveries by their credit, answers by the submission window.
type serial struct {
	mu     sync.Mutex
	queues map[string][]func()
	idle   *sync.Cond
}

func newSerial() *serial {
	s := &serial{queues: map[string][]func(){}}
	s.idle = sync.NewCond(&s.mu)
	return s
}

func (s *serial) do(key string, fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, running := s.queues[key]
	s.queues[key] = append(q, fn)
	if !running {
		go s.work(key)
	}
}

func (s *serial) work(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queues[key]) > 0 {
		q := s.queues[key]
		fn := q[0]
		q[0] = nil
		s.queues[key] = q[1:]
		s.mu.Unlock()
		fn()
		s.mu.Lock()
	}
	delete(s.queues, key)
	if len(s.queues) == 0 {
		s.idle.Broadcast()
	}
}

// wait blocks until nothing is running or waiting.
func (s *serial) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queues) > 0 {
		s.idle.Wait()
	}
}

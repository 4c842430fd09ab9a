package agent

import "sync"

// serial runs functions of one key one after another, in the order in which they came, and those of different keys side
// by side. What is waiting is bounded by who calls it: deliveries by their credit, answers by the submission window.
type serial struct {
	mu     sync.Mutex
	queues map[string][]func()
	idle   []chan struct{} // closed once nothing is running or waiting
}

func newSerial() *serial { return &serial{queues: map[string][]func(){}} }

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
		for _, idle := range s.idle {
			close(idle)
		}
		s.idle = nil
	}
}

// settled returns a channel that is closed once nothing is running or waiting.
func (s *serial) settled() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	idle := make(chan struct{})
	if len(s.queues) == 0 {
		close(idle)
	} else {
		s.idle = append(s.idle, idle)
	}
	return idle
}

// wait blocks until nothing is running or waiting.
func (s *serial) wait() { <-s.settled() }

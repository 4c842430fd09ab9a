package torture

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"sync"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
)

// recorder keeps what has happened. It may be used from any goroutine.
type recorder struct {
	mu     sync.Mutex
	events []history.Event
	keys   map[string]string // of operations by token
}

func newRecorder() *recorder { return &recorder{keys: map[string]string{}} }

func (r *recorder) add(e history.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.T == 0 {
		e.T = history.Now()
	}
	r.events = append(r.events, e)
}

// name tells which operation a token names.
func (r *recorder) name(token, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[token] = key
}

func (r *recorder) keyOf(token string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, ok := r.keys[token]
	return key, ok
}

// all returns the events in which every operation has its key. What names none of them is left out.
func (r *recorder) all() []history.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := slices.Clone(r.events)
	for i, e := range events {
		if e.Key == "" && e.Token != "" {
			events[i].Key = r.keys[e.Token]
		}
	}
	return slices.DeleteFunc(events, func(e history.Event) bool { return e.Key == "" && e.Token != "" })
}

// write keeps events in a file, one a line.
func write(name string, events []history.Event) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	for _, e := range events {
		if err == nil {
			err = lines.Encode(e)
		}
	}
	return errors.Join(err, w.Flush(), f.Close())
}

package storagefault

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
)

// recorder collects a history. Its methods may be called from any goroutine.
type recorder struct {
	mu     sync.Mutex
	events []storagecheck.Event
	n      atomic.Int64
}

func (r *recorder) add(e storagecheck.Event) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	r.n.Store(int64(len(r.events)))
	return len(r.events) - 1
}

// len is how many events there are.
func (r *recorder) len() int { return int(r.n.Load()) }

func (r *recorder) all() []storagecheck.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)]
}

// clone returns a recorder that goes on from here.
func (r *recorder) clone() *recorder {
	c := &recorder{events: r.all()}
	c.n.Store(int64(len(c.events)))
	return c
}

// call is what do records: who does what to which object.
type call struct{ actor, op, object string }

// do records a call. fn says what came of it.
func (r *recorder) do(c call, fn func(*storagecheck.Event) error) error {
	began := r.add(storagecheck.Event{Actor: c.actor, Op: c.op, Kind: storagecheck.Call, Object: c.object})
	e := storagecheck.Event{Actor: c.actor, Op: c.op, Kind: storagecheck.Return, Object: c.object, Began: began}
	err := fn(&e)
	if err != nil {
		e = storagecheck.Event{Actor: c.actor, Op: c.op, Kind: storagecheck.Unknown, Object: c.object, Began: began}
	}
	r.add(e)
	return err
}

// clock is the time of a run, which moves when the run says so.
type clock struct{ since atomic.Int64 }

// began is when every run begins. Its seconds are whole, so that they read well in a history.
func began() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func (c *clock) now() time.Time { return began().Add(time.Duration(c.since.Load())) }

func (c *clock) pass(d time.Duration) { c.since.Add(int64(d)) }

func (c *clock) clone() *clock {
	other := &clock{}
	other.since.Store(c.since.Load())
	return other
}

package router

import (
	"strings"
	"sync"
	"time"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// window knows what one stream has been handed and has not acknowledged.
type window struct {
	mu     sync.Mutex
	leased map[int64]leased
	count  [classes]int
	bytes  [classes]int64
	// soonest is not after the end of any lease.
	soonest time.Time
}

type leased struct {
	messageID string
	class     transportpb.Class
	bytes     int64
	until     time.Time
	// contested says that it was sent to a capability or has a time to live. Its agent waits for durable custody.
	contested bool
}

func newWindow() *window { return &window{leased: make(map[int64]leased)} }

// add enters deliveries; one that is there already counts once, with the new lease.
func (w *window) add(ds []queue.Delivery, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.leased) == 0 || until.Before(w.soonest) {
		w.soonest = until
	}
	for _, d := range ds {
		w.drop(d.Seq)
		w.leased[d.Seq] = leased{
			messageID: d.Envelope.GetMessageId(), class: d.Class, bytes: d.Bytes, until: until,
			contested: strings.HasPrefix(d.To, "capability:") || d.Envelope.GetTtlMs() > 0,
		}
		w.count[d.Class]++
		w.bytes[d.Class] += d.Bytes
	}
}

// drop removes a delivery. The caller holds mu.
func (w *window) drop(seq int64) (leased, bool) {
	l, ok := w.leased[seq]
	if ok {
		delete(w.leased, seq)
		w.count[l.class]--
		w.bytes[l.class] -= l.bytes
	}
	return l, ok
}

// take removes an acknowledged delivery and returns it.
func (w *window) take(seq int64) (leased, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drop(seq)
}

// ended removes the deliveries of a message that has ended, and tells whether there were any.
func (w *window) ended(messageID string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := false
	for seq, l := range w.leased {
		if l.messageID == messageID {
			w.drop(seq)
			found = true
		}
	}
	return found
}

// open returns what is out of one class, without the leases that have run out at now.
func (w *window) open(class transportpb.Class, now time.Time) (messages int, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	return w.count[class], w.bytes[class]
}

// expire removes the deliveries whose leases have run out. The caller holds mu.
func (w *window) expire(now time.Time) {
	if len(w.leased) == 0 || now.Before(w.soonest) {
		return
	}
	first := true
	for seq, l := range w.leased {
		if !now.Before(l.until) {
			w.drop(seq)
		} else if first || l.until.Before(w.soonest) {
			w.soonest, first = l.until, false
		}
	}
}

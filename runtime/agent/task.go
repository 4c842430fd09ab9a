package agent

import (
	"context"
	"encoding/binary"
	"sync"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// task is one run of a handler for a received message.
type task struct {
	a    *Agent
	rec  *storagepb.InRecord
	h    *handler
	req  proto.Message
	lane string
	// data is the run's transaction over the agent's own data.
	data *activity.DataTx
	// rerun tells that the run was void and another one is due at once.
	rerun bool
	// again tells that the message may have been started before, so that the run is counted durably before it begins.
	again bool

	mu     sync.Mutex
	held   bool           // it has a place of the dispatcher
	ended  bool           // its handler has returned
	waits  int            // calls of this handler that wait now
	sends  map[string]int // sends so far, by exchange and address
	placed bool           // it holds a place of the inbound window

	conclusion *conclusion // of the present run

	// returned is closed when the handler has returned and what it returned is recorded.
	returned chan struct{}
}

type taskKey struct{}

func taskFrom(ctx context.Context) *task {
	t, _ := ctx.Value(taskKey{}).(*task)
	return t
}

func (t *task) seq() uint64 { return t.rec.GetSequence() }

// begin notes that the dispatcher has given the task a place.
func (t *task) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = true
}

// running begins the conclusion of a run.
func (t *task) running() *conclusion {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conclusion = new(conclusion)
	return t.conclusion
}

// present returns the conclusion of the present run, nil before the first.
func (t *task) present() *conclusion {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conclusion
}

// end notes that the handler has returned, and tells whether the task has a place of the dispatcher to give back.
func (t *task) end() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leaveInflow()
	held := t.held
	t.held, t.ended = false, true
	return held
}

// yield gives the handler's places to others while it waits; with several calls waiting, the first does it.
func (t *task) yield() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits++
	if t.held {
		t.held = false
		t.leaveInflow()
		t.a.dispatch.yield(t)
	}
}

// resume takes places again when the last call has ended. When ctx ends before there is one, the handler goes on without,
// so that no call takes longer than its context.
func (t *task) resume(ctx context.Context) {
	t.mu.Lock()
	t.waits--
	last := t.waits == 0 && !t.held && !t.ended
	t.mu.Unlock()
	if !last || !t.a.dispatch.resume(ctx) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held || t.ended || t.waits > 0 { // another call of the handler was quicker, or waits again
		t.a.dispatch.free()
		return
	}
	t.held, t.placed = true, true
	t.a.inflow.take(t.rec.GetPayloadBytes())
}

// leaveInflow gives back the task's place of the inbound window. The caller holds the lock.
func (t *task) leaveInflow() {
	if t.placed {
		t.placed = false
		t.a.inflow.release(t.rec.GetPayloadBytes())
	}
}

// renew makes the task ready for another run of its handler.
func (t *task) renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rerun, t.again, t.sends = false, true, nil
}

// deriveKey names the n-th send of an exchange to an address by this message, so that a re-run of the handler finds what
// the earlier run has sent.
func (t *task) deriveKey(out *exchange.Outgoing) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sends == nil {
		t.sends = map[string]int{}
	}
	name := out.Exchange.Name() + "\n" + out.To.String()
	t.sends[name]++
	key := []byte(t.rec.GetFrom() + "\n" + inKey(t.rec) + "\n" + name + "\n")
	return binary.AppendUvarint(key, uint64(t.sends[name]))
}

// inKey is what names a received operation: its token, else the id under which it came first.
func inKey(rec *storagepb.InRecord) string {
	if rec.GetToken() != "" {
		return rec.GetToken()
	}
	if len(rec.GetAliases()) > 0 {
		return rec.GetAliases()[0].GetMessageId()
	}
	return ""
}

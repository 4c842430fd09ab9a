package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

const (
	// A reader that has fallen silent while a handler waits for it is reminded at these intervals.
	remindFirst = 5 * time.Second
	remindLast  = time.Minute
	// noteEvery is how many frames the router takes between two notes of it in the buffer. Frames that it has and nobody
	// knows of are sent again after a restart, to be answered as known.
	noteEvery = 16
	// readerPatience is how long a handler of a closing agent waits for a reader that says nothing.
	readerPatience = time.Second
	// resendPause is the least time between two repetitions of frames that a reader misses.
	resendPause = time.Second
)

// flow hands the stored frames of one received message to the router, in order, and knows how far its reader is.
type flow struct {
	a   *Agent
	rec *storagepb.InRecord
	run uint64
	// windowed tells that the reader says how far it is.
	windowed bool

	mu     sync.Mutex
	stored uint64
	sent   uint64 // frames that the router has, from the first
	read   uint64 // frames that the reader has read
	noted  uint64 // sent as the buffer knows it
	taken  map[uint64]bool
	items  map[uint64]*item
	resent time.Time
	// ended tells that nothing is sent any more: the reader takes no frames, a later run has begun, or a frame was refused
	// for good, which err says.
	ended bool
	err   error
	// over tells that the message has its outcome, so that no frames are added.
	over    bool
	drained []func()
	changed chan struct{} // closed and replaced with every change
}

// flow returns the flow of a message's frames as they are stored. The one of an earlier run ends. over tells that the
// message has its outcome.
func (a *Agent) flow(rec *storagepb.InRecord, s *storagepb.InStream, over bool) *flow {
	a.mu.Lock()
	f := a.flows[rec.GetSequence()]
	if f != nil && f.run == s.GetRun() {
		defer a.mu.Unlock()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.over = over
		f.wake()
		return f
	}
	next := &flow{
		a: a, rec: rec, run: s.GetRun(), windowed: windowOf(rec.GetContentType()) > 0,
		stored: s.GetStored(), sent: s.GetSent(), noted: s.GetSent(), read: s.GetRead(), over: over,
		taken: map[uint64]bool{}, items: map[uint64]*item{}, changed: make(chan struct{}),
	}
	a.flows[rec.GetSequence()] = next
	a.mu.Unlock()
	if f != nil {
		f.end(nil)
	}
	next.mu.Lock()
	defer next.mu.Unlock()
	for n := next.sent + 1; n <= next.stored; n++ {
		next.submit(n)
	}
	return next
}

// existingFlow returns the flow of a message, nil when it has none.
func (a *Agent) existingFlow(seq uint64) *flow {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.flows[seq]
}

// resumeFlow goes on with the frames that an earlier process has stored and not sent.
func (a *Agent) resumeFlow(rec *storagepb.InRecord) {
	s, err := a.buf.InStream(rec.GetSequence())
	if err != nil {
		a.failure("read how far a stream is", err)
		return
	}
	if s != nil && s.GetSent() < s.GetStored() {
		a.flow(rec, s, false)
	}
}

// whenDrained calls fn once the router has all frames of a message that has ended, at once when it has.
func (a *Agent) whenDrained(rec *storagepb.InRecord, fn func()) {
	s := rec.GetStream()
	if s == nil {
		fn()
		return
	}
	f := a.flow(rec, s, true)
	f.mu.Lock()
	f.drained = append(f.drained, func() {
		a.forget(f)
		fn()
	})
	f.settle()
	f.mu.Unlock()
}

// forget takes out the flow of a message that has ended, unless a further attempt goes on with it.
func (a *Agent) forget(f *flow) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq := f.rec.GetSequence(); f.over && a.flows[seq] == f {
		delete(a.flows, seq)
	}
}

// push sends a frame that was stored.
func (f *flow) push(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored = max(f.stored, n)
	if !f.ended {
		f.submit(n)
	}
}

// submit makes a frame ready. The lock is held.
func (f *flow) submit(n uint64) {
	i := &item{class: transportpb.Class_CLASS_ANSWER, order: f.a.order.Add(1)}
	i.due = func() { f.a.outbox.makeReady(i) }
	i.build = func(session) *transportpb.Submit {
		env, err := f.envelope(n, "")
		if err != nil {
			if !errors.Is(err, activity.ErrUnknown) { // unknown: a later run has begun
				f.a.failure("read a stored frame", err)
			}
			f.a.outbox.remove(i)
			return nil
		}
		return f.a.submission(f.rec.GetFrom(), env)
	}
	refused := 0
	i.answered = func(ans *transportpb.Answer, _ string) {
		code := ack.Code(ans.GetCode())
		switch {
		case ans.GetState() != transportpb.Answer_STATE_REFUSED:
			f.a.outbox.remove(i)
			f.took(n)
		case code.Temporary():
			f.a.outbox.setTimer(i, time.Now().Add(doubled(refusedFirst, refused, refusedLast)))
			refused++
		default:
			f.a.log.Warn("a frame was refused for good", "ref", f.a.inRef(f.rec.GetSequence()), "to", f.rec.GetFrom(), "frame", n, "reason", ans.GetNote())
			f.end(ack.Failf(code, "frame %d was refused: %s", n, ans.GetNote()))
		}
	}
	f.items[n] = i
	f.a.outbox.add(i)
}

// envelope reads a frame as it is sent; an id makes it another transmission of it.
func (f *flow) envelope(n uint64, id string) (*commonpb.Envelope, error) {
	frame, err := f.a.buf.InFrame(f.rec.GetSequence(), f.run, n)
	if err != nil {
		return nil, err
	}
	if id == "" {
		id = frame.GetMessageId()
	}
	return f.a.frameEnvelope(f.rec, frame.GetBody(), f.run, n, id), nil
}

// took notes that the router has a frame.
func (f *flow) took(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.items, n)
	f.taken[n] = true
	for f.taken[f.sent+1] {
		f.sent++
		delete(f.taken, f.sent)
	}
	if f.sent >= f.noted+noteEvery || f.sent == f.stored && len(f.drained) > 0 {
		f.note()
	}
	f.settle()
	f.wake()
}

// note keeps how far the frames are. The lock is held.
func (f *flow) note() {
	sent, read := f.sent, f.read
	f.noted = sent
	f.a.work.do("flow", func() {
		if err := f.a.buf.ProgressIn(f.rec.GetSequence(), f.run, sent, read); err != nil {
			f.a.failure("note how far a stream is", err)
		}
	})
}

// settle calls what waits for the router to have all frames. The lock is held.
func (f *flow) settle() {
	if f.sent < f.stored && !f.ended {
		return
	}
	for _, fn := range f.drained {
		f.a.work.do("flow", fn)
	}
	f.drained = nil
}

func (f *flow) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// end sends nothing any more.
func (f *flow) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	f.ended, f.err = true, err
	for _, i := range f.items {
		f.a.outbox.remove(i)
	}
	f.items = nil
	f.settle()
	f.wake()
}

// await blocks until there is room for another frame, or the agent closes and hears nothing of the reader. It gives the
// handler's place to others meanwhile.
func (f *flow) await(ctx context.Context, t *task) error {
	full, changed, err := f.full()
	if !full || err != nil {
		return err
	}
	t.yield()
	defer t.resume(ctx)
	leaving, silent := f.a.leaving, (<-chan time.Time)(nil)
	for reminded := 0; ; {
		remind := time.NewTimer(doubled(remindFirst, reminded, remindLast))
		select {
		case <-changed:
			if silent != nil {
				silent = time.After(readerPatience)
			}
		case <-remind.C:
			reminded++
			f.remind()
		case <-leaving:
			leaving, silent = nil, time.After(readerPatience)
		case <-silent:
			remind.Stop()
			return errDrain
		case <-ctx.Done():
			remind.Stop()
			return context.Cause(ctx)
		}
		remind.Stop()
		if full, changed, err = f.full(); !full || err != nil {
			return err
		}
	}
}

// full tells whether another frame has to wait.
func (f *flow) full() (bool, chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return false, nil, errHandlerReturned
	}
	room := f.sent
	if f.windowed {
		room = min(room, f.read)
	}
	return !f.ended && f.stored >= room+exchange.FrameWindow, f.changed, f.err
}

// remind sends the last frame once more, so that its reader says how far it is.
func (f *flow) remind() {
	f.mu.Lock()
	n, idle := f.stored, f.windowed && !f.ended && f.sent == f.stored && f.stored > 0
	f.mu.Unlock()
	if idle {
		f.again(n)
	}
}

// again sends a frame once more, under another id, since the router has it under its own.
func (f *flow) again(n uint64) {
	id, key := f.a.newID(), frameKey{f.rec.GetSequence(), f.run, n}
	build := func() (*commonpb.Envelope, error) { return f.envelope(n, id) }
	f.a.sendOnce(key, transportpb.Class_CLASS_ANSWER, f.rec.GetFrom(), build, func(string) {}) // its reader is reminded again
}

// told takes over what the reader says.
func (f *flow) told(w *transportpb.StreamWindow) {
	if w.GetClosed() {
		f.end(nil)
		return
	}
	f.mu.Lock()
	if read := min(w.GetRead(), f.stored); read > f.read {
		f.read = read
		f.note()
		f.wake()
	}
	from, to := w.GetStored()+1, min(f.sent, w.GetStored()+exchange.FrameWindow)
	due := w.GetMissing() && !f.ended && from <= to && time.Since(f.resent) >= resendPause
	if due {
		f.resent = time.Now()
	}
	f.mu.Unlock()
	if due {
		for n := from; n <= to; n++ {
			f.again(n)
		}
	}
}

package agent

import (
	"context"
	"errors"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// tellEvery is how many frames are read between two messages that say so: half the window, so that the sender need not wait
// for one while the other is under way.
const tellEvery = exchange.FrameWindow / 2

// reading is how far the frames of an operation have come, and how far they are read.
type reading struct {
	// frames is where they stand, as far as it is durable; nil before the first.
	frames *storagepb.OutStream
	// found is how many an earlier process has left: their sender may be as far ahead of them.
	found uint64
	// read is what the iterator that is furthest has passed, told is read as the sender was told it.
	read, told uint64
	// telling is set while a message that says so is with the router, toTell when there is more to say, missing when it is to
	// ask for frames.
	telling, toTell, missing bool
	// live counts the iterators at work, waiting what waits for the outcome without reading.
	live, waiting int
	// left tells that an iterator was left before the end.
	left bool
	// came is when the last frame came, askAt when to ask for missing ones, after asked times.
	came, askAt time.Time
	asked       int
	// overdue is when a frame was due that did not come.
	overdue time.Time
}

// draining tells whether frames count as read once they are stored: nobody reads them, and nobody will, or somebody waits
// for their end. The lock is held.
func (o *operation) draining() bool {
	r := &o.reading
	return r.live == 0 && (r.left || r.waiting > 0 || o.a.reg.replyHandler(o.rec.GetExchange()) != nil)
}

// framesCame takes over what frames did to the operation.
func (o *operation) framesCame(c activity.StreamChange) {
	o.mu.Lock()
	r := &o.reading
	if c.Stream.GetRun() != r.frames.GetRun() {
		r.read, r.told, r.found = 0, 0, 0
	}
	r.frames, r.came = c.Stream, time.Now()
	if c.Missing && r.frames.GetEnded() {
		if r.askAt.IsZero() {
			r.askAt = r.came.Add(remindFirst)
		}
	} else {
		r.askAt, r.asked = time.Time{}, 0
	}
	o.wake()
	o.mu.Unlock()
	o.tell(c.Repeated, c.Missing && c.Repeated)
	if c.OutcomeSet || c.Finished || c.Retry || c.Late || c.Missing {
		o.change(c.OutChange, nil)
	}
}

// askMissing asks for frames that have not come though the stream has ended.
func (o *operation) askMissing() {
	o.mu.Lock()
	r := &o.reading
	r.asked++
	r.askAt = time.Now().Add(doubled(remindFirst, r.asked, remindLast))
	o.mu.Unlock()
	o.tell(true, true)
}

// awaited counts who waits for the outcome of a stream without reading it.
func (o *operation) awaited(by int) {
	o.mu.Lock()
	o.reading.waiting += by
	o.mu.Unlock()
	o.tell(false, false)
}

// Frames implements exchange.StreamOperation.
func (o *operation) Frames(ctx context.Context) iter.Seq2[proto.Message, error] {
	return func(yield func(proto.Message, error) bool) {
		o.mu.Lock()
		o.waiters++
		o.reading.live++
		o.mu.Unlock()
		left, ended := true, false
		defer func() { o.stopReading(left, ended) }()
		left, ended = o.read(ctx, yield)
	}
}

// stopReading takes an iterator out: one that was left by its loop, one that has reached the end, or one whose context has
// ended, which may come back.
func (o *operation) stopReading(left, ended bool) {
	o.mu.Lock()
	o.waiters--
	o.reading.live--
	o.reading.left = o.reading.left || left
	abandoned := !ended && o.waiters == 0 && done(o.rec)
	o.mu.Unlock()
	if abandoned { // it ended meanwhile; somebody else has to take the result
		o.a.offerResult(o, false)
	}
	o.tell(false, false)
}

// read yields the frames, until the loop is left or the stream has ended.
func (o *operation) read(ctx context.Context, yield func(proto.Message, error) bool) (left, ended bool) {
	run, next := uint64(0), uint64(1)
	for {
		rec, s, changed := o.frames()
		if ctx.Err() != nil && !done(rec) {
			yield(nil, o.unfinished(o.why(context.Cause(ctx))))
			return false, false
		}
		if s.GetRun() != run {
			again := next > 1
			run, next = s.GetRun(), 1
			if again && !yield(nil, exchange.ErrRestarted) {
				return true, false
			}
		}
		if next <= s.GetStored() {
			m, err := o.frame(rec, run, next)
			switch {
			case errors.Is(err, activity.ErrUnknown) && !done(rec): // replaced by a later run
			case err != nil:
				yield(nil, err)
				return false, false
			default:
				if !yield(m, nil) {
					return true, false
				}
				o.passed(run, next)
				next++
				continue
			}
		} else if done(rec) {
			if err := o.a.buf.HandledOut(o.seq); err != nil && !errors.Is(err, activity.ErrUnknown) {
				o.a.log.Warn("cannot mark a stream as handled", "ref", o.Ref(), "error", err)
			}
			if err := streamError(rec); err != nil {
				yield(nil, err)
			}
			return false, true
		}
		if err := o.awaitFrame(ctx, s, changed); err != nil {
			yield(nil, err)
			return false, false
		}
	}
}

// frames returns the record with where its frames stand.
func (o *operation) frames() (*storagepb.OutRecord, *storagepb.OutStream, chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if done(o.rec) {
		return o.rec, o.rec.GetStream(), o.changed
	}
	return o.rec, o.reading.frames, o.changed
}

// frame reads a frame.
func (o *operation) frame(rec *storagepb.OutRecord, run, n uint64) (proto.Message, error) {
	f, err := o.a.buf.OutFrame(o.seq, run, n)
	if err != nil {
		return nil, err
	}
	return o.a.decodeReply(o.d, rec.GetExchange(), f.GetBody())
}

// passed notes that an iterator has passed a frame.
func (o *operation) passed(run, n uint64) {
	o.mu.Lock()
	r := &o.reading
	news := r.frames.GetRun() == run && n > r.read
	if news {
		r.read = n
	}
	o.mu.Unlock()
	if news {
		o.tell(false, false)
	}
}

// awaitFrame blocks until something has changed. When it takes longer than the reply timeout, the operation ends.
func (o *operation) awaitFrame(ctx context.Context, seen *storagepb.OutStream, changed chan struct{}) error {
	if t := taskFrom(ctx); t != nil {
		t.yield()
		defer t.resume(ctx)
	}
	var late <-chan time.Time
	if o.replyTimeout > 0 {
		timer := time.NewTimer(o.replyTimeout)
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case <-changed:
			rec, s, next := o.frames()
			if s.GetRun() != seen.GetRun() || s.GetStored() != seen.GetStored() || done(rec) {
				return nil
			}
			changed = next // its progress, not a frame
		case <-late:
			o.do(func() { o.frameLate(seen) })
		case <-ctx.Done():
			return o.unfinished(o.why(context.Cause(ctx)))
		case <-o.a.failed:
			return o.unfinished(o.a.stopCause())
		case <-o.a.stopped:
			return o.unfinished(o.why(o.a.stopCause()))
		}
	}
}

// frameLate ends the operation when no frame has come in time.
func (o *operation) frameLate(seen *storagepb.OutStream) {
	o.mu.Lock()
	overdue := o.reading.frames == seen && !done(o.rec)
	if overdue {
		o.reading.overdue = time.Now()
	}
	o.mu.Unlock()
	if overdue {
		o.due()
	}
}

// deadline is when the operation ends. The lock is held.
func (o *operation) deadline() time.Time {
	if at := o.reading.overdue; !at.IsZero() {
		return at
	}
	return o.rec.GetDeadline().AsTime()
}

// graceEnds is when a stream that has its outcome ends without waiting for more, the zero time for never: frames that were
// sent before a failure may still be under way, and who does not number frames does not say which is the last. The lock is
// held.
func (o *operation) graceEnds() time.Time {
	rec := o.rec
	outcome := rec.GetOutcome()
	if outcome == nil || !rec.GetStreams() || done(rec) {
		return time.Time{}
	}
	from := outcome.GetAt().AsTime()
	if ack.Stage(outcome.GetStage()) == ack.Fulfilled {
		if rec.GetWindow() > 0 {
			return time.Time{}
		}
		if o.reading.came.After(from) {
			from = o.reading.came
		}
	}
	return from.Add(time.Duration(rec.GetAckTimeoutNs()))
}

// endStream ends a stream whose grace is over.
func (o *operation) endStream() {
	ch, err := o.a.buf.EndStreamOut(o.a.base, o.seq)
	if errors.Is(err, activity.ErrOpen) || errors.Is(err, activity.ErrFinished) {
		return
	}
	o.change(ch, err)
}

// streamError is the error that a finished stream ends with, nil when all its frames are here.
func streamError(rec *storagepb.OutRecord) error {
	if err := outcomeError(rec); err != nil || rec.GetHasReply() {
		return err
	}
	return missingReply(rec)
}

// storedFrames returns an iterator over the frames of a finished operation, with err behind them.
func (a *Agent) storedFrames(o *operation, rec *storagepb.OutRecord, err error) iter.Seq2[proto.Message, error] {
	return func(yield func(proto.Message, error) bool) {
		s := rec.GetStream()
		for n := uint64(1); n <= s.GetStored(); n++ {
			m, readErr := o.frame(rec, s.GetRun(), n)
			if !yield(m, readErr) || readErr != nil {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// streaming gives a caller's stream its reply timeout.
func (a *Agent) streaming(o *operation, out *exchange.Outgoing) *operation {
	if out.Caller && out.Exchange.Kind() == exchange.KindStream {
		o.mu.Lock()
		o.replyTimeout = out.Policy.ReplyTimeout
		o.mu.Unlock()
	}
	return o
}

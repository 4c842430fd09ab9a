package activity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

const (
	// maxAhead bounds how far a frame may be ahead of one that is missing.
	maxAhead = 1024
	// maxRecent is how many frames without a number are known again by their message ids.
	maxRecent = 64
)

// StreamFrame is a frame of a stream, or its end.
type StreamFrame struct {
	// Run is the run of the handler with which its numbers begin; a later one replaces the frames of an earlier one. 0 says
	// that the sender numbers no frames, and this one is the next.
	Run uint64
	// Number counts from 1.
	Number    uint64
	MessageID string
	Body      *storagepb.Body
	// End, when set, says that the stream has ended, and how; there is no Body. Number is then how many frames there are;
	// without a Run, there are those that have come.
	End *ack.Ack
}

// Frames are what came together of one stream, in order.
type Frames struct {
	// Token is the request's token as the frames name it; empty when they name none.
	Token         string
	CorrelationID string
	// From is the agent that sends them.
	From string
	// Limit is the highest number that is taken; the sender was told so.
	Limit uint64
	List  []StreamFrame
}

// StreamChange tells what frames did to an operation.
type StreamChange struct {
	OutChange
	// Stream is where the stream stands after it, nil before the first frame.
	Stream *storagepb.OutStream
	// Repeated tells that something of it was here already.
	Repeated bool
	// Missing tells that frames are missing before one that is here, or before the end.
	Missing bool
}

// outStream is the state of an active stream.
type outStream struct {
	state *storagepb.OutStream
	// ahead has the numbers of frames behind a missing one, recent the ids of the last frames without numbers.
	ahead  map[uint64]bool
	recent []string
}

func (s *outStream) get() *storagepb.OutStream {
	if s == nil {
		return nil
	}
	return s.state
}

// FramesOut stores frames, durably. A later run replaces the frames of an earlier one, whose frames are then ignored;
// what is here already says nothing new. The end of the stream is an outcome as by AckOut; the operation ends with it as
// soon as all frames are here. ErrUnknown when nothing asked for them, ErrFinished, with the record, when the operation has
// ended.
func (b *Buffer) FramesOut(ctx context.Context, f Frames) (StreamChange, error) {
	b.mu.Lock()
	c, mark, err := b.framesOut(f)
	b.mu.Unlock()
	if err != nil {
		return c, fmt.Errorf("store frames: %w", err)
	}
	return c, b.wait(ctx, mark)
}

func (b *Buffer) framesOut(f Frames) (StreamChange, store.Mark, error) {
	rec, e, err := b.findForReply(Reply{Token: f.Token, CorrelationID: f.CorrelationID})
	switch {
	case err != nil:
		return StreamChange{}, 0, err
	case !rec.GetStreams():
		return StreamChange{}, 0, fmt.Errorf("operation %d wants no frames: %w", rec.GetSequence(), ErrUnknown)
	case e == nil:
		return StreamChange{OutChange: OutChange{Record: rec}, Stream: rec.GetStream()}, 0, ErrFinished
	}
	c := StreamChange{OutChange: OutChange{Record: rec}}
	mark, err := b.storeFrames(e, f, &c)
	if err != nil {
		return c, 0, err
	}
	mark = max(mark, e.mark)
	for _, one := range f.List {
		if one.End == nil || e.stream.get() == nil || e.stream.state.GetRun() != one.Run {
			continue
		}
		end, err := b.endStream(e, one, f.From, &c)
		if err != nil {
			return c, 0, err
		}
		mark = max(mark, end)
		if c.Finished {
			return c, mark, nil
		}
	}
	end, err := b.completeStream(e, &c)
	return c, max(mark, end), err
}

// storeFrames commits the frames of a list, and the beginning of a later run.
func (b *Buffer) storeFrames(e *outEntry, f Frames, c *StreamChange) (store.Mark, error) {
	seq := e.rec.GetSequence()
	w := frameWriter{b: b, t: b.begin(), seq: seq, from: f.From, limit: f.Limit, s: e.stream.copy()}
	for _, one := range f.List {
		if err := w.add(one); err != nil {
			return 0, err
		}
	}
	c.Repeated = w.repeated
	c.Stream = e.stream.get()
	if !w.changed {
		return 0, nil
	}
	if _, err := w.t.set(numberKey(keyOutStream, seq), w.s.state); err != nil {
		return 0, err
	}
	mark, err := b.commit(w.t, true, "write them")
	if err != nil {
		return 0, err
	}
	b.frameBytes += w.s.state.GetBytes() - e.stream.get().GetBytes()
	e.stream, e.mark = w.s, mark
	c.Stream = w.s.state
	return mark, nil
}

// copy returns a state that may be changed, nil for none.
func (s *outStream) copy() *outStream {
	if s == nil {
		return nil
	}
	c := &outStream{state: proto.CloneOf(s.state), ahead: make(map[uint64]bool, len(s.ahead)), recent: slices.Clone(s.recent)}
	for n := range s.ahead {
		c.ahead[n] = true
	}
	return c
}

// frameWriter adds frames to a change.
type frameWriter struct {
	b     *Buffer
	t     *tx
	seq   uint64
	from  string
	limit uint64
	s     *outStream

	changed, repeated bool
}

func (w *frameWriter) add(f StreamFrame) error {
	if !w.accepts(f.Run) {
		return nil
	}
	if f.End != nil {
		w.repeated = w.repeated || w.s.state.GetEnded()
		return nil
	}
	st := w.s.state
	n := f.Number
	if f.Run == 0 {
		if f.MessageID != "" && slices.Contains(w.s.recent, f.MessageID) {
			w.repeated = true
			return nil
		}
		n = st.GetStored() + 1
	}
	switch _, room := w.b.frameRoom(); {
	case n <= st.GetStored() || w.s.ahead[n]:
		w.repeated = true
		return nil
	case n > w.limit || n > st.GetStored()+maxAhead || !room || st.GetEnded() && n > st.GetTotal():
		if f.Run == 0 && !st.GetLossy() { // nobody can send it again
			st.Lossy, w.changed = true, true
		}
		w.b.cfg.Logger.Warn("a frame is dropped, there is no room for it", slog.Uint64("sequence", w.seq), slog.Uint64("frame", n),
			slog.String("from", w.from))
		return nil
	}
	size, err := w.t.set(frameKey(keyOutFrame, w.seq, f.Run, n), &storagepb.Frame{Body: f.Body, MessageId: f.MessageID})
	if err != nil {
		return err
	}
	w.changed = true
	st.Bytes += int64(size)
	w.s.ahead[n] = true
	for w.s.ahead[st.Stored+1] {
		st.Stored++
		delete(w.s.ahead, st.Stored)
	}
	if f.Run == 0 {
		w.s.recent = append(w.s.recent, f.MessageID)
		w.s.recent = w.s.recent[max(0, len(w.s.recent)-maxRecent):]
	}
	return nil
}

// accepts tells whether frames of a run are taken, and begins a later one.
func (w *frameWriter) accepts(run uint64) bool {
	if w.s != nil {
		switch was := w.s.state.GetRun(); {
		case run < was || run == was && w.from != w.s.state.GetFrom():
			return false
		case run == was:
			return true
		}
		if w.s.state.GetEnded() {
			return false // it has its end, and an outcome
		}
		w.t.removeFrames(keyOutFrame, w.seq)
	}
	w.s = &outStream{state: &storagepb.OutStream{From: w.from, Run: run}, ahead: map[uint64]bool{}}
	w.changed = true
	return true
}

// endStream applies the end of a stream as the outcome that it is.
func (b *Buffer) endStream(e *outEntry, f StreamFrame, from string, c *StreamChange) (store.Mark, error) {
	seq := e.rec.GetSequence()
	id := f.End.ForMessageID
	if attemptOf(e.rec, id) == nil {
		id = lastAttempt(e.rec).GetMessageId()
	}
	change, mark, err := b.endAttempt(seq, b.outcome(f.End.Stage, f.End.Code, f.End.Note, from, id))
	if err != nil {
		return 0, err
	}
	c.OutChange = change
	if change.Finished {
		return mark, nil
	}
	if e.rec.GetOutcome().GetStage() != commonpb.AckStage(f.End.Stage) || e.stream.state.GetEnded() {
		return mark, nil // only the attempt has ended, or it is known
	}
	now := e.stream.copy()
	now.state.Ended, now.state.Total = true, f.Number
	if f.Run == 0 {
		now.state.Total = now.state.GetStored()
	}
	t := b.begin()
	if _, err := t.set(numberKey(keyOutStream, seq), now.state); err != nil {
		return 0, err
	}
	if mark, err = b.commit(t, true, "record the end of a stream"); err != nil {
		return 0, err
	}
	e.stream, e.mark = now, mark
	c.Stream = now.state
	return mark, nil
}

// completeStream ends an operation that has its outcome and all frames.
func (b *Buffer) completeStream(e *outEntry, c *StreamChange) (store.Mark, error) {
	if s := e.stream; s != nil {
		c.Missing = len(s.ahead) > 0 || s.state.GetEnded() && !complete(s.state)
	}
	if e.rec.GetOutcome() == nil || !complete(e.stream.get()) {
		return 0, nil
	}
	return b.endWithFrames(e, c)
}

func (b *Buffer) endWithFrames(e *outEntry, c *StreamChange) (store.Mark, error) {
	rec := copyOut(e.rec)
	rec.HasReply = rec.GetOutcome().GetStage() == commonpb.AckStage_FULFILLED && !e.stream.get().GetLossy()
	mark, err := b.endOut(b.begin(), rec, 0)
	c.Record, c.Finished = rec, err == nil
	return mark, err
}

// complete tells whether all frames are here.
func complete(s *storagepb.OutStream) bool { return s.GetEnded() && s.GetStored() >= s.GetTotal() }

// framesMayFollow tells whether a failure of a stream does not end it yet, since frames that were sent before it may still
// be under way: an agent had the request, and said that it numbers frames and tells their end.
func framesMayFollow(rec *storagepb.OutRecord, s *storagepb.OutStream, o *storagepb.Outcome) bool {
	failed := o.GetStage() == commonpb.AckStage_FAILED || o.GetStage() == commonpb.AckStage_REJECTED
	at := attemptOf(rec, o.GetMessageId())
	// Its frames, and that it has read the request, may come before its word that it has it.
	had := at.GetReceivedAt() != nil || at.GetReadAt() != nil || s.GetRun() > 0
	return failed && rec.GetStreams() && rec.GetWindow() > 0 && had && !complete(s)
}

// EndStreamOut ends a stream that has its outcome and was given time for frames that may have been under way: one that has
// failed, or one whose frames have no numbers. Others stay open, as they are, with ErrOpen.
func (b *Buffer) EndStreamOut(ctx context.Context, seq uint64) (OutChange, error) {
	return b.change(ctx, "end a stream", func() (OutChange, store.Mark, error) {
		e, err := b.activeOut(seq)
		if err != nil {
			return OutChange{}, 0, err
		}
		o := e.rec.GetOutcome()
		if o == nil || !e.rec.GetStreams() || o.GetStage() == commonpb.AckStage_FULFILLED && e.rec.GetWindow() > 0 {
			return OutChange{}, 0, fmt.Errorf("operation %d: %w", seq, ErrOpen)
		}
		var c StreamChange
		mark, err := b.endWithFrames(e, &c)
		return c.OutChange, mark, err
	})
}

// OutStream returns where the frames of an operation stand, nil before the first. It need not be durable yet.
func (b *Buffer) OutStream(seq uint64) (*storagepb.OutStream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rec, e, err := b.findOut(seq)
	if err != nil {
		return nil, err
	}
	if e != nil {
		return e.stream.get(), nil
	}
	return rec.GetStream(), nil
}

// OutFrame returns a frame of an operation, ErrUnknown when there is none, or a later run has replaced it.
func (b *Buffer) OutFrame(seq, run, n uint64) (*storagepb.Frame, error) {
	return b.frame(keyOutFrame, seq, run, n, "operation")
}

// OutForReply returns the operation that a reply or frame with this token or correlation belongs to, ErrUnknown when there
// is none.
func (b *Buffer) OutForReply(token, correlationID string) (*storagepb.OutRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rec, _, err := b.findForReply(Reply{Token: token, CorrelationID: correlationID})
	return rec, err
}

// endOutStream puts the state of an operation's frames into its record, which is about to end.
func (t *tx) endOutStream(e *outEntry, rec *storagepb.OutRecord) (bytes int64) {
	if e == nil || e.stream == nil {
		return 0
	}
	rec.Stream = e.stream.state
	t.batch.Delete(numberKey(keyOutStream, rec.GetSequence()))
	return e.stream.state.GetBytes()
}

// loadOutStream reads what memory knows of an active stream besides its state.
func (b *Buffer) loadOutStream(seq uint64, state *storagepb.OutStream) (*outStream, error) {
	s, run := &outStream{state: state, ahead: map[uint64]bool{}}, state.GetRun()
	end := frameKey(keyOutFrame, seq, run, ^uint64(0))
	err := b.store.Scan(frameKey(keyOutFrame, seq, run, state.GetStored()+1), end, func(key, _ []byte) error {
		n, err := lastNumber(key)
		s.ahead[n] = true
		return err
	})
	if err != nil || run != 0 {
		return s, err
	}
	err = b.store.ScanReverse(frameKey(keyOutFrame, seq, run, 0), end, func(key, value []byte) error {
		var f storagepb.Frame
		if err := proto.Unmarshal(value, &f); err != nil {
			return damaged(key, err)
		}
		if s.recent = append(s.recent, f.GetMessageId()); len(s.recent) == maxRecent {
			return store.ErrStop
		}
		return nil
	})
	slices.Reverse(s.recent)
	return s, err
}

// readStreams reads the state of the active streams of both sides.
func (b *Buffer) readStreams(ctx context.Context) error {
	orphan := errors.New("there is no active record for it")
	err := b.readActive(ctx, keyInStream, 0, func(seq uint64, value []byte) error {
		s := new(storagepb.InStream)
		if err := proto.Unmarshal(value, s); err != nil {
			return err
		}
		e := b.in.entries[seq]
		if e == nil || e.rec.GetFinished() != 0 {
			return orphan
		}
		e.stream = s
		b.frameBytes += s.GetBytes()
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the streams of received messages: %w", err)
	}
	states := map[uint64]*storagepb.OutStream{}
	err = b.readActive(ctx, keyOutStream, 0, func(seq uint64, value []byte) error {
		s := new(storagepb.OutStream)
		if err := proto.Unmarshal(value, s); err != nil {
			return err
		}
		if b.out.entries[seq] == nil {
			return orphan
		}
		states[seq] = s
		return nil
	})
	for seq, s := range states { // the store cannot be read while it is scanned
		if err != nil {
			break
		}
		b.out.entries[seq].stream, err = b.loadOutStream(seq, s)
		b.frameBytes += s.GetBytes()
	}
	if err != nil {
		return fmt.Errorf("read the streams of operations: %w", err)
	}
	return nil
}

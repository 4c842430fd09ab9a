package activity

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// BeginStreamIn begins the frames of a handler's run, and removes those of an earlier one. With resume it goes on with what
// is stored instead, if there is something. It returns where the frames stand. It is not durable at once.
func (b *Buffer) BeginStreamIn(seq, run uint64, resume bool) (*storagepb.InStream, error) {
	const what = "begin a stream"
	b.mu.Lock()
	defer b.mu.Unlock()
	e, err := b.activeIn(seq)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	was := e.stream
	if was != nil && (resume || was.GetRun() == run) {
		return was, nil
	}
	t := b.begin()
	if was != nil {
		t.removeFrames(keyInFrame, seq)
	}
	now := &storagepb.InStream{Run: run}
	if _, err := t.set(numberKey(keyInStream, seq), now); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if _, err := b.commit(t, false, what); err != nil {
		return nil, err
	}
	b.frameBytes -= was.GetBytes()
	e.stream = now
	return now, nil
}

// FrameIn stores the next frame of a run, durably, and returns its number, from 1. ErrFinished when the message has
// ended or a later run has begun; *ack.Error with BUFFER_FULL when MaxDedupBytes is used up.
func (b *Buffer) FrameIn(ctx context.Context, seq, run uint64, f *storagepb.Frame) (uint64, error) {
	value, err := encode(f)
	if err != nil {
		return 0, fmt.Errorf("store a frame: %w", err)
	}
	b.mu.Lock()
	n, mark, err := b.frameIn(seq, run, value)
	b.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("store a frame: %w", err)
	}
	return n, b.wait(ctx, mark)
}

func (b *Buffer) frameIn(seq, run uint64, value []byte) (uint64, store.Mark, error) {
	e, err := b.activeIn(seq)
	if err != nil {
		return 0, 0, err
	}
	if e.stream == nil || e.stream.GetRun() != run {
		return 0, 0, fmt.Errorf("a later run of the handler has begun: %w", ErrFinished)
	}
	if used, ok := b.frameRoom(); !ok {
		return 0, 0, ack.Failf(ack.BufferFull, "%d bytes of frames and of what is kept for deduplication are stored, the limit is %d. "+
			"Fix: try again later, or raise Config.MaxDedupBytes of the agent that streams", used, b.cfg.MaxDedupBytes)
	}
	now := proto.CloneOf(e.stream)
	now.Stored++
	now.Bytes += int64(len(value))
	t := b.begin()
	t.batch.Set(frameKey(keyInFrame, seq, run, now.Stored), value)
	if _, err := t.set(numberKey(keyInStream, seq), now); err != nil {
		return 0, 0, err
	}
	mark, err := b.commit(t, true, "write it")
	if err != nil {
		return 0, 0, err
	}
	e.stream, e.mark = now, mark
	b.frameBytes += int64(len(value))
	return now.Stored, mark, nil
}

// ProgressIn notes how many frames of a run the router has, and how many the reader has read. Neither goes back, and
// neither is durable at once. Another run's, and a message that is not there any more, are no error.
func (b *Buffer) ProgressIn(seq, run, sent, read uint64) error {
	const what = "note the progress of a stream"
	b.mu.Lock()
	defer b.mu.Unlock()
	rec, e, err := b.findIn(seq)
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	was := rec.GetStream()
	if rec.GetFinished() == 0 {
		was = e.stream
	}
	if was == nil || was.GetRun() != run || sent <= was.GetSent() && read <= was.GetRead() {
		return nil
	}
	now := proto.CloneOf(was)
	now.Sent = min(max(sent, was.GetSent()), was.GetStored())
	now.Read = min(max(read, was.GetRead()), was.GetStored())
	t := b.begin()
	if rec.GetFinished() != 0 {
		rec = copyIn(rec)
		rec.Stream = now
		_, err := b.replaceIn(t, rec, false, what)
		return err
	}
	if _, err := t.set(numberKey(keyInStream, seq), now); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if _, err := b.commit(t, false, what); err != nil {
		return err
	}
	e.stream = now
	return nil
}

// InStream returns where the frames of a received message stand, nil when it has none.
func (b *Buffer) InStream(seq uint64) (*storagepb.InStream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rec, e, err := b.findIn(seq)
	if err != nil {
		return nil, err
	}
	if rec.GetFinished() == 0 {
		return e.stream, nil
	}
	return rec.GetStream(), nil
}

// InFrame returns a frame of a received message, ErrUnknown when there is none.
func (b *Buffer) InFrame(seq, run, n uint64) (*storagepb.Frame, error) {
	return b.frame(keyInFrame, seq, run, n, "received message")
}

// endInStream puts the state of a message's frames into its record, which is about to end.
func (t *tx) endInStream(e *inEntry, rec *storagepb.InRecord) (bytes int64) {
	if e.stream == nil {
		return 0
	}
	rec.Stream = e.stream
	t.batch.Delete(numberKey(keyInStream, rec.GetSequence()))
	return e.stream.GetBytes()
}

// reopenInStream is the opposite of endInStream, for a message that becomes active again.
func (t *tx) reopenInStream(rec *storagepb.InRecord) (*storagepb.InStream, error) {
	s := rec.GetStream()
	if s == nil {
		return nil, nil
	}
	rec.Stream = nil
	_, err := t.set(numberKey(keyInStream, rec.GetSequence()), s)
	return s, err
}

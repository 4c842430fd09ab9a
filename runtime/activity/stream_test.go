package activity_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

func streams(r *storagepb.OutRecord) { r.WantsReply, r.Streams, r.Window = true, true, 64 }

// unnumbered is a stream of a peer that numbers no frames.
func unnumbered(r *storagepb.OutRecord) { r.WantsReply, r.Streams = true, true }

func frame(run, n uint64) activity.StreamFrame {
	return activity.StreamFrame{Run: run, Number: n, MessageID: fmt.Sprintf("f-%d-%d", run, n), Body: body(fmt.Sprint(run, ".", n))}
}

func end(run, n uint64, id string, s ack.Stage, c ack.Code) activity.StreamFrame {
	return activity.StreamFrame{Run: run, Number: n, End: &ack.Ack{ForMessageID: id, Stage: s, Code: c, Note: "end"}}
}

// framesOut stores frames from "peer".
func (g *ground) framesOut(rec *storagepb.OutRecord, list ...activity.StreamFrame) (activity.StreamChange, error) {
	return g.FramesOut(g.ctx, activity.Frames{
		Token: rec.GetToken(), CorrelationID: rec.GetCorrelationId(), From: "peer", Limit: math.MaxUint64, List: list,
	})
}

func (g *ground) frames(rec *storagepb.OutRecord, list ...activity.StreamFrame) activity.StreamChange {
	g.Helper()
	c, err := g.framesOut(rec, list...)
	require.NoError(g, err)
	return c
}

// stored returns the payloads of an operation's frames.
func (g *ground) stored(seq uint64) []string {
	g.Helper()
	s, err := g.OutStream(seq)
	require.NoError(g, err)
	var all []string
	for n := range s.GetStored() {
		f, err := g.OutFrame(seq, s.GetRun(), n+1)
		require.NoError(g, err)
		all = append(all, string(f.GetBody().GetPayload()))
	}
	return all
}

func TestFramesOfAnOperation(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		rec, id := g.send(streams)
		seq := rec.GetSequence()
		c := g.frames(rec, frame(1, 1), frame(1, 3))
		assert.True(t, c.Missing)
		assert.False(t, c.Repeated)
		step()
		assert.Equal(t, []string{"1.1"}, g.stored(seq))
		c = g.frames(rec, frame(1, 3))
		assert.True(t, c.Repeated)
		step()
		c = g.frames(rec, frame(1, 2))
		assert.False(t, c.Missing)
		assert.Equal(t, []string{"1.1", "1.2", "1.3"}, g.stored(seq))
		step()
		keys := g.keys()
		c = g.frames(rec, frame(2, 1), frame(1, 4))
		assert.EqualValues(t, 2, c.Stream.GetRun())
		assert.Equal(t, []string{"2.1"}, g.stored(seq))
		assert.Equal(t, keys-2, g.keys(), "the frames of the run before are gone")
		_, err := g.OutFrame(seq, 1, 1)
		require.ErrorIs(t, err, activity.ErrUnknown)
		step()

		c = g.frames(rec, end(2, 2, id, ack.Fulfilled, 0))
		assert.True(t, c.OutcomeSet)
		assert.False(t, c.Finished)
		assert.True(t, c.Missing)
		step()
		assert.False(t, g.ack(id, ack.Fulfilled, 0, "").Finished)
		c = g.frames(rec, frame(2, 2), frame(2, 3))
		assert.True(t, c.Finished)
		step()
		done := g.outNow(seq)
		assert.True(t, done.GetHasReply())
		assert.EqualValues(t, 2, done.GetStream().GetTotal())
		assert.Equal(t, []string{"2.1", "2.2"}, g.stored(seq))
		_, err = g.FramesOut(g.ctx, activity.Frames{Token: rec.GetToken(), From: "peer", List: []activity.StreamFrame{frame(3, 1)}})
		require.ErrorIs(t, err, activity.ErrFinished)
		_, err = g.ReplyOut(g.ctx, activity.Reply{Token: rec.GetToken(), Body: body("x")})
		require.ErrorIs(t, err, activity.ErrUnknown)
	})
}

func TestFramesAndFailures(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		// The acknowledgement comes first, and says not how many frames there are.
		rec, id := g.send(streams)
		g.ack(id, ack.Received, 0, "")
		g.frames(rec, frame(1, 1))
		c := g.ack(id, ack.Failed, ack.ToolTimeout, "")
		assert.True(t, c.OutcomeSet)
		assert.False(t, c.Finished)
		step()
		assert.False(t, g.frames(rec, end(1, 2, id, ack.Failed, ack.ToolTimeout)).Finished)
		step()
		assert.True(t, g.frames(rec, frame(1, 2)).Finished)
		assert.False(t, g.outNow(rec.GetSequence()).GetHasReply())
		assert.Equal(t, []string{"1.1", "1.2"}, g.stored(rec.GetSequence()))

		// The word that it was received comes last, or that it was read comes before.
		for _, before := range []func(rec *storagepb.OutRecord, id string){
			func(rec *storagepb.OutRecord, _ string) { g.frames(rec, frame(1, 1)) },
			func(rec *storagepb.OutRecord, _ string) { g.frames(rec, frame(1, 2)) },
			func(_ *storagepb.OutRecord, id string) { g.ack(id, ack.Read, 0, "") },
		} {
			rec, id := g.send(streams)
			before(rec, id)
			step()
			assert.False(t, g.ack(id, ack.Failed, ack.ToolTimeout, "").Finished)
			g.ack(id, ack.Received, 0, "")
			assert.True(t, g.frames(rec, frame(1, 1), frame(1, 2), end(1, 2, id, ack.Failed, ack.ToolTimeout)).Finished)
			assert.Equal(t, []string{"1.1", "1.2"}, g.stored(rec.GetSequence()))
		}

		// Nobody says it.
		rec, id = g.send(streams)
		_, err := g.EndStreamOut(g.ctx, rec.GetSequence())
		require.ErrorIs(t, err, activity.ErrOpen)
		g.ack(id, ack.Received, 0, "")
		g.ack(id, ack.Failed, ack.ToolTimeout, "")
		step()
		c, err = g.EndStreamOut(g.ctx, rec.GetSequence())
		require.NoError(t, err)
		assert.True(t, c.Finished)
		assert.Equal(t, "peer", c.Record.GetOutcome().GetFrom())

		// A failure that is tried again ends the attempt only; a later run begins anew.
		rec, id = g.send(streams)
		g.ack(id, ack.Received, 0, "")
		c2 := g.frames(rec, frame(1, 1), end(1, 1, id, ack.Failed, ack.InternalError))
		assert.True(t, c2.Retry)
		assert.False(t, c2.Stream.GetEnded())
		step()
		assert.True(t, g.ack(id, ack.Failed, ack.InternalError, "end").Duplicate)
		again := g.attempt(rec.GetSequence())
		c2 = g.frames(rec, frame(1, 2), end(1, 2, again, ack.Fulfilled, 0))
		assert.True(t, c2.Finished, "it may go on, too")

		// What was never received is over at once.
		_, id = g.send(streams)
		assert.True(t, g.ack(id, ack.Rejected, ack.PermissionDenied, "").Finished)
	})
}

func TestFramesWithoutNumbers(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		rec, id := g.send(unnumbered)
		one := func(id string) activity.StreamFrame { return activity.StreamFrame{MessageID: id, Body: body(id)} }
		g.frames(rec, one("a"), one("b"))
		step()
		assert.True(t, g.frames(rec, one("b")).Repeated)
		g.frames(rec, one("c"))
		assert.Equal(t, []string{"a", "b", "c"}, g.stored(rec.GetSequence()))
		assert.False(t, g.ack(id, ack.Fulfilled, 0, "").Finished)
		step()
		c, err := g.EndStreamOut(g.ctx, rec.GetSequence())
		require.NoError(t, err)
		assert.True(t, c.Record.GetHasReply())

		rec, id = g.send(unnumbered)
		assert.True(t, g.frames(rec, one("d"), end(0, 0, id, ack.Fulfilled, 0)).Finished)
		assert.Equal(t, []string{"d"}, g.stored(rec.GetSequence()))
	})
}

func TestFramesOfAReceivedMessage(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		_, rec := g.receive(g.arrival("token", 0))
		seq := rec.GetSequence()
		begin := func(run uint64, resume bool) *storagepb.InStream {
			s, err := g.BeginStreamIn(seq, run, resume)
			require.NoError(t, err)
			require.NoError(t, g.Settle(g.ctx))
			return s
		}
		put := func(run uint64) uint64 {
			n, err := g.FrameIn(g.ctx, seq, run, &storagepb.Frame{Body: body(fmt.Sprint(run)), MessageId: g.newID()})
			require.NoError(t, err)
			return n
		}
		assert.Zero(t, begin(1, true).GetStored())
		assert.EqualValues(t, 1, put(1))
		assert.EqualValues(t, 2, put(1))
		require.NoError(t, g.ProgressIn(seq, 1, 1, 9))
		require.NoError(t, g.Settle(g.ctx))
		step()
		s := begin(2, true)
		assert.EqualValues(t, 1, s.GetRun(), "it goes on")
		assert.EqualValues(t, [...]uint64{2, 1, 2}, [...]uint64{s.GetStored(), s.GetSent(), s.GetRead()})
		assert.EqualValues(t, 3, put(1))
		step()
		assert.Zero(t, begin(3, false).GetStored())
		_, err := g.FrameIn(g.ctx, seq, 1, &storagepb.Frame{})
		require.ErrorIs(t, err, activity.ErrFinished)
		_, err = g.InFrame(seq, 1, 1)
		require.ErrorIs(t, err, activity.ErrUnknown)
		put(3)
		step()
		done, err := g.FinishIn(g.ctx, seq, activity.Ending{Outcome: outcome(ack.Failed, ack.InternalError, ""), ReplyID: "end", NewID: g.newID})
		require.NoError(t, err)
		assert.EqualValues(t, 1, done.GetStream().GetStored())
		require.Len(t, done.GetOwed(), 2)
		require.NoError(t, g.ProgressIn(seq, 3, 1, 0))
		require.NoError(t, g.Settle(g.ctx))
		step()
		assert.EqualValues(t, 1, g.inNow(seq).GetStream().GetSent())
		_, err = g.FrameIn(g.ctx, seq, 3, &storagepb.Frame{})
		require.ErrorIs(t, err, activity.ErrFinished)

		// A further attempt goes on with what is there, and the end of the earlier one is not owed any more.
		v, again := g.receive(g.arrival("token", 1))
		assert.Equal(t, activity.Rerun, v)
		assert.Len(t, again.GetOwed(), 1)
		step()
		assert.EqualValues(t, 1, begin(1_000_004, true).GetStored())
		assert.EqualValues(t, 2, put(3))
		f, err := g.InFrame(seq, 3, 1)
		require.NoError(t, err)
		assert.Equal(t, "3", string(f.GetBody().GetPayload()))
	})
}

func TestFramesGoWithTheirRecords(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		empty := g.keys()
		rec, id := g.send(streams)
		for n := range uint64(20) {
			g.frames(rec, frame(1, n+1))
		}
		_, in := g.receive(g.arrival("token", 0))
		_, err := g.BeginStreamIn(in.GetSequence(), 1, false)
		require.NoError(t, err)
		for range 20 {
			_, err := g.FrameIn(g.ctx, in.GetSequence(), 1, &storagepb.Frame{Body: body("x")})
			require.NoError(t, err)
		}
		g.now = g.now.Add(100 * time.Hour)
		step()
		g.prune()
		assert.Len(t, g.stored(rec.GetSequence()), 20, "what is open stays")
		assert.True(t, g.frames(rec, end(1, 20, id, ack.Fulfilled, 0)).Finished)
		done := g.finish(in.GetSequence(), ack.Fulfilled, 0, "")
		for _, o := range done.GetOwed() {
			require.NoError(t, g.OwedSentIn(in.GetSequence(), o.GetMessageId()))
		}
		step()
		assert.Positive(t, g.Stats().DedupBytes)
		g.now = g.now.Add(100 * time.Hour)
		r := g.prune()
		assert.Equal(t, [...]int{1, 1}, [...]int{r.Out, r.In})
		assert.LessOrEqual(t, g.keys(), empty+6, "numbers and totals")
		assert.Zero(t, g.Stats().DedupBytes)
	})
}

func TestFramesAreBounded(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{MaxDedupBytes: 2000}, func(t *testing.T, g *ground, step func()) {
		_, in := g.receive(g.arrival("token", 0))
		_, err := g.BeginStreamIn(in.GetSequence(), 1, false)
		require.NoError(t, err)
		require.NoError(t, g.Settle(g.ctx))
		full := func(from int) (n int) {
			for n = from; n < 1000; n++ {
				if _, err = g.FrameIn(g.ctx, in.GetSequence(), 1, &storagepb.Frame{Body: body("0123456789")}); err != nil {
					break
				}
			}
			return n
		}
		n := full(0)
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.BufferFull})
		assert.Less(t, n, 200)
		step()
		assert.Equal(t, n, full(n))

		rec, id := g.send(streams)
		c := g.frames(rec, frame(1, 1), end(1, 1, id, ack.Fulfilled, 0))
		assert.True(t, c.Missing, "numbered frames come again")
		rec, id = g.send(unnumbered)
		c = g.frames(rec, activity.StreamFrame{Body: body("x")}, end(0, 0, id, ack.Fulfilled, 0))
		require.True(t, c.Finished)
		assert.False(t, c.Record.GetHasReply(), "what is lost is not taken for the end")
	})
}

// TestWorkOfAFrameDoesNotGrow counts what a frame costs on both sides, first and after 20,000.
func TestWorkOfAFrameDoesNotGrow(t *testing.T) {
	t.Parallel()
	count := &counting{fast: true}
	g := newGround(t, activity.Config{})
	g.s = store.NewMemory()
	g.wrap = func(s store.Store) store.Store {
		count.Store = s
		return count
	}
	g.start()
	rec, _ := g.send(streams)
	_, in := g.receive(g.arrival("token", 0))
	_, err := g.BeginStreamIn(in.GetSequence(), 1, false)
	require.NoError(t, err)
	n := uint64(0)
	both := func() {
		n++
		g.frames(rec, frame(1, n))
		_, err := g.FrameIn(g.ctx, in.GetSequence(), 1, &storagepb.Frame{Body: body("x")})
		require.NoError(t, err)
		require.NoError(t, g.ProgressIn(in.GetSequence(), 1, n, n))
		_, err = g.OutFrame(rec.GetSequence(), 1, n)
		require.NoError(t, err)
		_, err = g.InFrame(in.GetSequence(), 1, n)
		require.NoError(t, err)
	}
	both()
	count.take()
	both()
	early := count.take()
	for range 20_000 {
		both()
	}
	count.take()
	both()
	assert.Equal(t, early, count.take())

	opened := &counting{}
	g.wrap = func(s store.Store) store.Store {
		opened.Store = s
		return opened
	}
	g.s = g.s.(*store.Memory).Reopen()
	g.start()
	assert.Less(t, opened.visited, 10, "opening reads no frames")
}

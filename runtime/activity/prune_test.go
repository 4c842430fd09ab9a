package activity_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

func (g *ground) prune() activity.PruneResult {
	g.Helper()
	r, err := g.Prune(g.ctx)
	require.NoError(g, err)
	return r
}

// done sends operations that end FULFILLED.
func (g *ground) done(n int, handled bool, change ...func(*storagepb.OutRecord)) []uint64 {
	g.Helper()
	var seqs []uint64
	for range n {
		rec, id := g.send(change...)
		g.ack(id, ack.Fulfilled, 0, "")
		if handled {
			require.NoError(g, g.HandledOut(rec.GetSequence()))
		}
		seqs = append(seqs, rec.GetSequence())
	}
	return seqs
}

// keys counts what lies in the store.
func (g *ground) keys() int {
	g.Helper()
	n := 0
	require.NoError(g, g.s.Scan(nil, nil, func(_, _ []byte) error {
		n++
		return nil
	}))
	return n
}

// TestPruneCountsFromTheEnd keeps a request from when it has ended, which may be long after its outcome.
func TestPruneCountsFromTheEnd(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{KeepAge: time.Hour, DedupWindow: time.Hour}, func(t *testing.T, g *ground, step func()) {
		rec, id := g.send(wantsReply)
		g.ack(id, ack.Fulfilled, 0, "")
		g.now = g.now.Add(2 * time.Hour)
		_, err := g.FinishOut(g.ctx, rec.GetSequence(), &storagepb.Outcome{Stage: commonpb.AckStage_TIMED_OUT})
		require.NoError(t, err)
		step()
		assert.Equal(t, activity.PruneResult{}, g.prune(), "nobody has had the time to see it")
		g.now = g.now.Add(2 * time.Hour)
		assert.Equal(t, 1, g.prune().Out)
	})
}

func TestPruneOutByCount(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{KeepBodies: 10}, func(t *testing.T, g *ground, step func()) {
		seqs := g.done(300, true)
		open, _ := g.send()
		step()
		assert.Equal(t, activity.PruneResult{Out: 290}, g.prune())
		step()
		assert.Equal(t, activity.PruneResult{}, g.prune())
		_, err := g.Out(seqs[289])
		require.ErrorIs(t, err, activity.ErrUnknown)
		_, err = g.OutBody(seqs[289])
		require.ErrorIs(t, err, activity.ErrUnknown)
		assert.NotNil(t, g.outNow(seqs[290]))
		_, err = g.OutBody(open.GetSequence())
		require.NoError(t, err, "what is active is never pruned")
		assert.Equal(t, 10, g.Stats().OutFinished)
	})
}

func TestPruneOutByAge(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{KeepAge: time.Hour}, func(t *testing.T, g *ground, step func()) {
		g.done(3, true)
		g.now = g.now.Add(time.Hour - 1)
		g.done(2, true)
		assert.Zero(t, g.prune())
		g.now = g.now.Add(1)
		step()
		assert.Equal(t, activity.PruneResult{Out: 3}, g.prune())
		step()
		assert.Equal(t, 2, g.Stats().OutFinished)
	})
}

func TestPruneUnhandled(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := activity.Config{KeepAge: time.Hour, KeepBodies: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	g := memoryGround(t, cfg)
	g.done(20, false)
	assert.Zero(t, g.prune(), "their number does not matter")
	g.now = g.now.Add(10 * time.Hour)
	g.reopen()
	assert.Zero(t, g.prune(), "results get their time after an opening, too")
	g.now = g.now.Add(time.Hour)
	assert.Empty(t, log.String())
	assert.Equal(t, activity.PruneResult{Out: 20, Unhandled: 20}, g.prune())
	assert.Contains(t, log.String(), "operations=20")
	assert.Empty(t, g.unhandled("a.S/M"))
	assert.Zero(t, g.Stats().OutUnhandled)

	g.cfg.MaxDedupBytes = 2000
	g.reopen2()
	g.done(100, false)
	r := g.prune()
	assert.Equal(t, r.Out, r.Unhandled)
	assert.Greater(t, r.Unhandled, 80)
	assert.NotEmpty(t, g.unhandled("a.S/M"))
}

// reopen2 opens the buffer with another configuration.
func (g *ground) reopen2() {
	g.s = g.open(g.s)
	g.start()
}

func TestPruneKeyed(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{KeepAge: 2 * time.Hour, DedupWindow: time.Hour, KeepBodies: 1}, func(t *testing.T, g *ground, step func()) {
		set := func(r *storagepb.OutRecord) { r.KeyKind = content }
		g.done(5, true, set)
		g.done(5, false, set)
		step()
		assert.Zero(t, g.prune(), "a window does not shrink for their number")
		g.now = g.now.Add(time.Hour)
		assert.Equal(t, activity.PruneResult{Out: 4}, g.prune(), "from then on they are like others")
		step()
		assert.Equal(t, 5, g.Stats().OutUnhandled)
		assert.Zero(t, g.Stats().DedupBytes)
		for _, seq := range g.unhandled("a.S/M") {
			require.NoError(t, g.HandledOut(seq))
			step()
		}
		assert.Equal(t, activity.PruneResult{Out: 5}, g.prune())
		g.now = g.now.Add(24 * time.Hour)
		step()
		assert.Equal(t, activity.PruneResult{Out: 1}, g.prune())
	})
}

func TestPruneDerived(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{KeepAge: time.Hour, KeepBodies: 1}, func(t *testing.T, g *ground, step func()) {
		_, parent := g.receive(g.arrival("parent", 0))
		set := func(r *storagepb.OutRecord) { r.KeyKind, r.ParentToken = derived, "parent" }
		seqs := g.done(20, true, set)
		g.now = g.now.Add(48 * time.Hour)
		step()
		assert.Zero(t, g.prune(), "the handler may send them again")
		step()
		assert.Zero(t, g.prune())
		rec := g.outNow(seqs[0])
		same, existed, err := g.RecordOut(g.ctx, g.draft(set, func(r *storagepb.OutRecord) { r.Token = rec.GetToken() }))
		require.NoError(t, err)
		assert.True(t, existed)
		assert.Equal(t, rec.GetSequence(), same.GetSequence())
		g.finish(parent.GetSequence(), ack.Fulfilled, 0, "")
		step()
		assert.Equal(t, 20, g.prune().Out)
		step()
		assert.Zero(t, g.Stats().OutFinished)
	})
}

func TestPruneIn(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{KeepAge: time.Hour, KeepBodies: 2, InKeep: 10 * time.Hour}, func(t *testing.T, g *ground, step func()) {
		var all []activity.Arrival
		var seqs []uint64
		var owed []string
		for range 5 {
			a := g.arrival(g.id("token"), 0)
			_, rec := g.receive(a)
			done, err := g.FinishIn(g.ctx, rec.GetSequence(), activity.Ending{Outcome: outcome(ack.Fulfilled, 0, ""), Reply: body("answer"), ReplyID: g.newID(), NewID: g.newID})
			require.NoError(t, err)
			all, seqs = append(all, a), append(seqs, rec.GetSequence())
			for _, o := range done.GetOwed() {
				owed = append(owed, o.GetMessageId())
			}
		}
		for n := range 4 { // the last one still owes
			require.NoError(t, g.OwedSentIn(seqs[n], owed[2*n]))
			require.NoError(t, g.OwedSentIn(seqs[n], owed[2*n+1]))
		}
		step()
		assert.Equal(t, activity.PruneResult{Bodies: 3}, g.prune())
		_, err := g.InBody(seqs[2])
		require.ErrorIs(t, err, activity.ErrUnknown)
		_, err = g.InBody(seqs[3])
		require.NoError(t, err)
		g.now = g.now.Add(time.Hour)
		step()
		assert.Equal(t, activity.PruneResult{Bodies: 2}, g.prune())
		g.now = g.now.Add(9*time.Hour - 1)
		step()
		assert.Zero(t, g.prune())
		for n, a := range all {
			v, _ := g.receive(a)
			assert.Equal(t, activity.Repeated, v)
			_, err := g.InReply(seqs[n])
			require.NoError(t, err, "a repeated message gets its reply again")
		}
		g.now = g.now.Add(1)
		assert.Equal(t, activity.PruneResult{In: 4}, g.prune())
		step()
		assert.Zero(t, g.prune(), "what is owed stays")
		v, _ := g.receive(all[0])
		assert.Equal(t, activity.New, v)
		v, _ = g.receive(all[4])
		assert.Equal(t, activity.Repeated, v)
		require.NoError(t, g.OwedSentIn(seqs[4], owed[8]))
		require.NoError(t, g.OwedSentIn(seqs[4], owed[9]))
		step()
		assert.Equal(t, activity.PruneResult{In: 1}, g.prune())
		assert.Zero(t, g.Stats().InFinished)
	})
}

func TestPruneLeavesNothing(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		_, _, err := g.RecordOut(g.ctx, g.draft(func(r *storagepb.OutRecord) { r.KeyKind = 0 }))
		require.NoError(t, err)
		_, err = g.FinishOut(g.ctx, g.OpenOut()[0].GetSequence(), outcome(ack.Rejected, ack.NoRoute, ""))
		require.NoError(t, err)
		for n := range 40 {
			kind := []storagepb.KeyKind{call, content, caller, derived}[n%4]
			rec, id := g.send(wantsReply, func(r *storagepb.OutRecord) { r.KeyKind = kind })
			if n%3 == 0 {
				g.ack(id, ack.Failed, ack.InternalError, "")
				id = g.attempt(rec.GetSequence())
				g.ack(id, ack.Read, 0, "")
			}
			_, err := g.reply(rec.GetToken(), "", g.id("reply"), "answer")
			require.NoError(t, err)
			if n%2 == 0 {
				require.NoError(t, g.HandledOut(rec.GetSequence()))
			}
			_, in := g.receive(g.arrival(g.id("token"), 0))
			done, err := g.FinishIn(g.ctx, in.GetSequence(), activity.Ending{Outcome: outcome(ack.Fulfilled, 0, ""), Reply: body("answer"), ReplyID: g.newID(), NewID: g.newID})
			require.NoError(t, err)
			for _, o := range done.GetOwed() {
				require.NoError(t, g.OwedSentIn(in.GetSequence(), o.GetMessageId()))
			}
		}
		step()
		g.now = g.now.Add(25 * time.Hour)
		r := g.prune()
		g.now = g.now.Add(24 * time.Hour)
		r2 := g.prune()
		assert.Equal(t, 41, r.Out+r2.Out)
		assert.Equal(t, 40, r.In+r2.In)
		stats := g.Stats()
		assert.Zero(t, stats.OutFinished+stats.InFinished+stats.OutUnhandled)
		assert.Zero(t, stats.DedupBytes)
		// Counters and totals stay.
		assert.LessOrEqual(t, g.keys(), 7)
	})
}

func TestPruneEndsWithItsContext(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{KeepBodies: 1})
	g.done(10, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Prune(ctx)
	require.ErrorIs(t, err, context.Canceled)
	g.s.(*store.Memory).Fail(assert.AnError)
	_, err = g.Prune(g.ctx)
	require.ErrorIs(t, err, store.ErrFailed)
}

func TestRecent(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		var want []uint64
		for n := range 20 {
			g.now = g.now.Add(time.Second)
			if n%2 == 0 {
				rec, id := g.send()
				want = append(want, rec.GetSequence())
				if n%4 == 0 {
					g.ack(id, ack.Fulfilled, 0, "")
				}
				continue
			}
			_, rec := g.receive(g.arrival(g.id("token"), 0))
			want = append(want, rec.GetSequence())
			if n%3 == 0 {
				g.finish(rec.GetSequence(), ack.Fulfilled, 0, "")
			}
		}
		step()
		for _, n := range []int{0, 1, 7, 20, 100} {
			recs, err := g.Recent(n)
			require.NoError(t, err)
			got := make([]uint64, 0, n)
			for _, r := range recs {
				if r.Out != nil {
					got = append(got, r.Out.GetSequence())
				} else {
					got = append(got, r.In.GetSequence())
				}
			}
			if n == 0 {
				assert.Empty(t, got)
				continue
			}
			assert.Equal(t, want[max(0, 20-n):], got)
		}
	})
}

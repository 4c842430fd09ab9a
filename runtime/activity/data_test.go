package activity_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// write stores data by itself.
func (g *ground) write(entries map[string]string) {
	g.Helper()
	tx := g.BeginData(g.ctx)
	for key, value := range entries {
		require.NoError(g, tx.Set(key, []byte(value)))
	}
	require.NoError(g, g.CommitData(g.ctx, tx))
}

// data is all that is stored.
func (g *ground) data() map[string]string { return scan(g, g.BeginData(g.ctx), "") }

func scan(t require.TestingT, tx *activity.DataTx, prefix string) map[string]string {
	found := map[string]string{}
	last := ""
	require.NoError(t, tx.Scan(prefix, func(key string, value []byte) error {
		require.Less(t, last, key, "in order")
		require.True(t, strings.HasPrefix(key, prefix))
		last, found[key] = key, string(value)
		return nil
	}))
	return found
}

func (g *ground) end(seq uint64, stage ack.Stage, data *activity.DataTx) error {
	_, err := g.FinishIn(g.ctx, seq, activity.Ending{Outcome: outcome(stage, 0, ""), NewID: g.newID, Data: data})
	return err
}

func set(t *testing.T, tx *activity.DataTx, key, value string) {
	t.Helper()
	require.NoError(t, tx.Set(key, []byte(value)))
}

// TestDataWithOutcome writes data with outcomes, deferrals and by itself, over restarts.
func TestDataWithOutcome(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		_, in := g.receive(g.arrival("one", 0))
		tx := g.BeginData(g.ctx)
		set(t, tx, "a", "1")
		set(t, tx, "b", "")
		got, err := tx.Get("a")
		require.NoError(t, err)
		assert.Equal(t, "1", string(got), "a run sees what it has written")
		assert.Equal(t, map[string]string{"a": "1", "b": ""}, scan(t, tx, ""))
		assert.Empty(t, g.data(), "and nobody else does")
		require.NoError(t, g.DeferIn(g.ctx, in.GetSequence(), tx))
		step()
		assert.Equal(t, map[string]string{"a": "1", "b": ""}, g.data())
		require.ErrorIs(t, tx.Set("c", nil), activity.ErrTxEnded)
		_, err = tx.Get("a")
		require.ErrorIs(t, err, activity.ErrTxEnded)

		tx = g.BeginData(g.ctx)
		set(t, tx, "a", "22")
		require.NoError(t, tx.Delete("b"))
		require.NoError(t, tx.Delete("nothing"))
		got, err = tx.Get("b")
		require.NoError(t, err)
		assert.Nil(t, got)
		require.NoError(t, g.end(in.GetSequence(), ack.Fulfilled, tx))
		step()
		assert.Equal(t, map[string]string{"a": "22"}, g.data())
		assert.Equal(t, 1, g.Stats().DataKeys)
		assert.EqualValues(t, 3, g.Stats().DataBytes)

		tx = g.BeginData(g.ctx)
		set(t, tx, "a", "333")
		require.ErrorIs(t, g.end(in.GetSequence(), ack.Fulfilled, tx), activity.ErrFinished)
		tx = g.BeginData(g.ctx)
		set(t, tx, "a", "333")
		tx.Close()
		require.ErrorIs(t, g.CommitData(g.ctx, tx), activity.ErrTxEnded)
		step()
		assert.Equal(t, map[string]string{"a": "22"}, g.data(), "a run that has lost leaves nothing")

		g.write(map[string]string{"a": "4", "z": "5"})
		step()
		assert.Equal(t, map[string]string{"a": "4", "z": "5"}, g.data())
		none := g.BeginData(g.ctx)
		none.Close()
		none.Close()
		require.NoError(t, g.CommitData(g.ctx, g.BeginData(g.ctx)), "one that does nothing")
	})
}

// TestDataConflicts voids what has read something that was changed, by key and by range, and nothing else.
func TestDataConflicts(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{})
	g.write(map[string]string{"in/a": "1", "in/b": "2", "out": "3"})
	for name, tc := range map[string]struct {
		read     func(tx *activity.DataTx)
		change   func(tx *activity.DataTx)
		conflict bool
	}{
		"the key":       {get("out"), func(tx *activity.DataTx) { set(t, tx, "out", "changed") }, true},
		"its end":       {get("in/a"), func(tx *activity.DataTx) { require.NoError(t, tx.Delete("in/a")) }, true},
		"its beginning": {get("new"), func(tx *activity.DataTx) { set(t, tx, "new", "") }, true},
		"a range":       {scanAll("in/"), func(tx *activity.DataTx) { set(t, tx, "in/between", "x") }, true},
		"all":           {scanAll(""), func(tx *activity.DataTx) { set(t, tx, "zzz", "x") }, true},
		"another key":   {get("out"), func(tx *activity.DataTx) { set(t, tx, "in/b", "other") }, false},
		"another range": {scanAll("in/"), func(tx *activity.DataTx) { set(t, tx, "io", "x") }, false},
		"the same":      {get("out"), func(tx *activity.DataTx) { set(t, tx, "out", "3") }, false},
		"unread":        {func(tx *activity.DataTx) {}, func(tx *activity.DataTx) { set(t, tx, "own", "x") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := memoryGround(t, activity.Config{})
			g.write(map[string]string{"in/a": "1", "in/b": "2", "out": "3"})
			_, in := g.receive(g.arrival("one", 0))
			mine, other := g.BeginData(g.ctx), g.BeginData(g.ctx)
			set(t, mine, "own", "mine")
			tc.read(mine)
			tc.change(other)
			require.NoError(t, g.CommitData(g.ctx, other))
			err := g.end(in.GetSequence(), ack.Fulfilled, mine)
			if !tc.conflict {
				require.NoError(t, err)
				require.Equal(t, "mine", g.data()["own"])
				return
			}
			require.ErrorIs(t, err, activity.ErrConflict)
			require.NotContains(t, g.data(), "own")
			require.Zero(t, g.inNow(in.GetSequence()).GetFinished(), "neither outcome nor data")
		})
	}
	reader, other := g.BeginData(g.ctx), g.BeginData(g.ctx)
	get("out")(reader)
	set(t, other, "out", "4")
	require.NoError(t, g.CommitData(g.ctx, other))
	require.NoError(t, g.CommitData(g.ctx, reader), "one that writes nothing is never void")
}

func get(key string) func(*activity.DataTx) {
	return func(tx *activity.DataTx) { _, _ = tx.Get(key) }
}

func scanAll(prefix string) func(*activity.DataTx) {
	return func(tx *activity.DataTx) { _ = tx.Scan(prefix, func(string, []byte) error { return nil }) }
}

// TestDataCounter adds up from many goroutines, and loses nothing.
func TestDataCounter(t *testing.T) {
	t.Parallel()
	g := pebbleGround(t, activity.Config{})
	const workers, times = 8, 20
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range times {
				for {
					tx := g.BeginData(g.ctx)
					text, err := tx.Get("n")
					n, _ := strconv.Atoi(string(text))
					if assert.NoError(t, errors.Join(err, tx.Set("n", []byte(strconv.Itoa(n+1))))) {
						err = g.CommitData(g.ctx, tx)
					}
					if !errors.Is(err, activity.ErrConflict) {
						assert.NoError(t, err)
						break
					}
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, map[string]string{"n": strconv.Itoa(workers * times)}, g.data())
	g.reopen()
}

// TestDataLimits refuses what is too large, and keeps the outcome open for another one.
func TestDataLimits(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{MaxDataBytes: 100})
	long := strings.Repeat("k", activity.MaxDataKey)
	refused := func(want ack.Code, err error) {
		t.Helper()
		var e *ack.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, want, e.Code, err)
		require.Equal(t, ack.Failed, e.Stage)
	}
	for key, code := range map[string]ack.Code{"": ack.ValidationError, long + "k": ack.ValidationError, "\xff": ack.ValidationError, long: 0} {
		tx := g.BeginData(g.ctx)
		err := tx.Set(key, nil)
		if code == 0 {
			require.NoError(t, err)
			continue
		}
		refused(code, err)
		refused(code, tx.Delete(key))
		require.NoError(t, tx.Set("fine", nil))
		refused(code, g.CommitData(g.ctx, tx))
	}
	tx := g.BeginData(g.ctx)
	refused(ack.OversizePayload, tx.Set("v", make([]byte, activity.MaxDataValue+1)))
	tx = g.BeginData(g.ctx)
	for i := range 4 {
		require.NoError(t, tx.Set(strconv.Itoa(i), make([]byte, activity.MaxDataValue-1)))
	}
	refused(ack.OversizePayload, tx.Set("5", make([]byte, 1)))
	tx = g.BeginData(g.ctx)
	for i := range activity.MaxTxWrites {
		require.NoError(t, tx.Set(strconv.Itoa(i), nil))
	}
	require.NoError(t, tx.Set("1", nil), "it is written already")
	refused(ack.OversizePayload, tx.Delete("one more"))

	_, in := g.receive(g.arrival("one", 0))
	tx = g.BeginData(g.ctx)
	set(t, tx, "k", strings.Repeat("v", 100))
	refused(ack.BufferFull, g.end(in.GetSequence(), ack.Fulfilled, tx))
	tx = g.BeginData(g.ctx)
	set(t, tx, "k", strings.Repeat("v", 99))
	require.NoError(t, g.end(in.GetSequence(), ack.Fulfilled, tx))
	require.True(t, g.Stats().Warning)
	tx = g.BeginData(g.ctx)
	set(t, tx, "l", "")
	refused(ack.BufferFull, g.CommitData(g.ctx, tx))
	g.cfg.MaxDataBytes = 10 // less than there is: it may only shrink
	g.reopenWith()
	g.write(map[string]string{"k": "shorter, and still more than ten"})
	g.write(map[string]string{"k": "short"})
	require.False(t, g.Stats().Warning)
	g.consistent()
}

// reopenWith opens the store again with another configuration.
func (g *ground) reopenWith() {
	g.Helper()
	g.s = g.open(g.s)
	g.start()
}

// TestDataNeedsRoom refuses data that grows while the disk is nearly full, and takes data that shrinks.
func TestDataNeedsRoom(t *testing.T) {
	t.Parallel()
	g := newGround(t, activity.Config{})
	g.s = store.NewMemory()
	disk := &fullDisk{}
	g.wrap = func(s store.Store) store.Store {
		disk.Store = s
		return disk
	}
	g.start()
	g.write(map[string]string{"a": "long"})
	disk.full = true
	tx := g.BeginData(g.ctx)
	set(t, tx, "b", "more")
	err := g.CommitData(g.ctx, tx)
	var full *ack.Error
	require.ErrorAs(t, err, &full)
	require.Equal(t, ack.BufferFull, full.Code)
	require.Contains(t, full.Note, "min_free_disk")
	g.write(map[string]string{"a": "x"})
}

// TestDataScan scans more than it reads at a time, with its own writes in between.
func TestDataScan(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{})
	tx := g.BeginData(g.ctx)
	for i := range 700 {
		set(t, tx, fmt.Sprintf("k%04d", i), strconv.Itoa(i))
	}
	require.NoError(t, g.CommitData(g.ctx, tx))
	tx = g.BeginData(g.ctx)
	set(t, tx, "k0000a", "new")
	set(t, tx, "k0300", "changed")
	require.NoError(t, tx.Delete("k0301"))
	set(t, tx, "k9", "last")
	set(t, tx, "l", "beyond")
	all := scan(t, tx, "k")
	require.Len(t, all, 701)
	require.Equal(t, "new", all["k0000a"])
	require.Equal(t, "changed", all["k0300"])
	require.NotContains(t, all, "k0301")
	left := errors.New("left")
	seen := 0
	require.ErrorIs(t, tx.Scan("k", func(string, []byte) error { seen++; return left }), left)
	require.Equal(t, 1, seen)
	require.Len(t, scan(t, tx, "k000"), 11)
	require.Empty(t, scan(t, tx, "m"))

	ctx, cancel := context.WithCancel(g.ctx)
	slow := &slowDisk{}
	g.wrap = func(s store.Store) store.Store {
		slow.Store = s
		return slow
	}
	g.start()
	slow.hold = true
	tx = g.BeginData(ctx)
	set(t, tx, "x", "")
	require.ErrorIs(t, g.CommitData(ctx, tx), errHeld)
	cancel()
	_, err := g.BeginData(ctx).Get("x")
	require.ErrorIs(t, err, errHeld, "what is read must be durable")
	require.ErrorIs(t, g.BeginData(ctx).Scan("", func(string, []byte) error { return nil }), errHeld)
}

var errHeld = errors.New("the disk takes its time")

// slowDisk is a store whose syncs do not end in time.
type slowDisk struct {
	store.Store
	hold bool
}

func (d *slowDisk) Sync(ctx context.Context, m store.Mark) error {
	if d.hold {
		return errHeld
	}
	return d.Store.Sync(ctx, m)
}

// TestDataSalvaged counts anew what a salvage has left.
func TestDataSalvaged(t *testing.T) {
	t.Parallel()
	g := everything(t)
	all := pairs(t, g.s)
	delete(all, "mt")
	delete(all, "dbalance")
	s := memoryOf(t, all)
	require.NoError(t, activity.Rebuild(t.Context(), s, g.now, func(string) {}))
	require.Empty(t, problems(t, s))
	found := map[string]string{}
	require.NoError(t, activity.WalkData(t.Context(), s, func(key string, value []byte) error {
		found[key] = string(value)
		return nil
	}))
	require.Equal(t, map[string]string{"empty": "", "name/\u00e4": "x"}, found)
	require.Equal(t, `data "x"`, activity.DescribeKey([]byte("dx")))

	all["d\xff"] = "" // nobody can have written it
	require.NotEmpty(t, problems(t, memoryOf(t, all)))
	var in *storagepb.InRecord
	_, in = g.receive(g.arrival("late", 0))
	require.NoError(t, g.end(in.GetSequence(), ack.Fulfilled, nil))
}

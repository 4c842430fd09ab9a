package activity_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// counting counts what a buffer asks of its store. With fast it does not wait for the disk.
type counting struct {
	store.Store
	fast                               bool
	gets, scans, visited, batches, ops int
}

func (c *counting) Apply(b *store.Batch) (store.Mark, error) {
	c.batches++
	c.ops += b.Len()
	return c.Store.Apply(b)
}

func (c *counting) Sync(ctx context.Context, m store.Mark) error {
	if c.fast {
		return nil
	}
	return c.Store.Sync(ctx, m)
}

func (c *counting) Get(key []byte) ([]byte, error) {
	c.gets++
	return c.Store.Get(key)
}

func (c *counting) Scan(start, end []byte, fn func(key, value []byte) error) error {
	c.scans++
	return c.Store.Scan(start, end, func(key, value []byte) error {
		c.visited++
		return fn(key, value)
	})
}

func (c *counting) ScanReverse(start, end []byte, fn func(key, value []byte) error) error {
	c.scans++
	return c.Store.ScanReverse(start, end, func(key, value []byte) error {
		c.visited++
		return fn(key, value)
	})
}

func (c *counting) take() string {
	text := fmt.Sprintf("gets %d, scans %d, visited %d, batches %d, ops %d", c.gets, c.scans, c.visited, c.batches, c.ops)
	c.gets, c.scans, c.visited, c.batches, c.ops = 0, 0, 0, 0, 0
	return text
}

// TestWorkDoesNotGrow counts what each message costs with an empty buffer and with 100,000 finished records.
func TestWorkDoesNotGrow(t *testing.T) {
	t.Parallel()
	if testing.Short() || raceDetector {
		t.Skip("writes 100,000 records, one after the other")
	}
	g := newGround(t, activity.Config{KeepBodies: 1 << 30})
	dir := t.TempDir()
	count := &counting{fast: true}
	open := func() {
		db, err := pebble.Open(dir, pebble.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		count.Store = db
		count.take()
		g.s = count
		g.start()
	}
	open()
	t.Cleanup(func() { assert.NoError(t, count.Close()) })
	work := func(exchange string) []string {
		rare := func(r *storagepb.OutRecord) { r.Exchange, r.WantsReply = exchange, true }
		var lines []string
		note := func(what string) { lines = append(lines, what+": "+count.take()) }
		keyed := func(r *storagepb.OutRecord) { r.KeyKind = content }
		count.take()
		rec, id := g.send(rare)
		note("RecordOut")
		g.ack(id, ack.Received, 0, "")
		note("RECEIVED")
		g.ack(id, ack.Failed, ack.InternalError, "")
		note("FAILED")
		id = g.attempt(rec.GetSequence())
		note("AttemptOut")
		g.ack(id, ack.Fulfilled, 0, "")
		note("FULFILLED")
		_, err := g.reply(rec.GetToken(), "", "reply", "answer")
		require.NoError(t, err)
		note("ReplyOut")
		_, err = g.reply(rec.GetToken(), "", "reply", "answer")
		require.NoError(t, err)
		note("ReplyOut again")
		g.ack(id, ack.Fulfilled, 0, "")
		note("FULFILLED again")
		assert.Contains(t, g.unhandled(exchange), rec.GetSequence())
		note("UnhandledOut")
		require.NoError(t, g.HandledOut(rec.GetSequence()))
		note("HandledOut")
		rec, id = g.send(keyed)
		note("RecordOut keyed")
		g.ack(id, ack.Fulfilled, 0, "")
		note("FULFILLED keyed")
		_, existed, err := g.RecordOut(g.ctx, g.draft(keyed, func(r *storagepb.OutRecord) { r.Token = rec.GetToken() }))
		require.NoError(t, err)
		assert.True(t, existed)
		note("RecordOut existed")

		a := g.arrival(g.id("token"), 0)
		_, in := g.receive(a)
		note("RecordIn")
		_, err = g.StartIn(g.ctx, in.GetSequence(), false)
		require.NoError(t, err)
		note("StartIn")
		done := g.finish(in.GetSequence(), ack.Failed, ack.InternalError, "")
		note("FinishIn")
		require.NoError(t, g.OwedSentIn(in.GetSequence(), done.GetOwed()[0].GetMessageId()))
		note("OwedSentIn")
		g.receive(a)
		note("RecordIn repeated")
		v, _ := g.receive(g.arrival(in.GetToken(), 1))
		assert.Equal(t, activity.Rerun, v)
		note("RecordIn rerun")
		done = g.finish(in.GetSequence(), ack.Fulfilled, 0, "")
		require.NoError(t, g.OwedSentIn(in.GetSequence(), done.GetOwed()[0].GetMessageId()))
		v, _ = g.receive(g.arrival(in.GetToken(), 2))
		assert.Equal(t, activity.Finished, v)
		note("finished")
		g.LowestOpenOut()
		_, err = g.Recent(3)
		require.NoError(t, err)
		g.Stats()
		note("Recent")
		g.prune()
		assert.Less(t, count.visited, 1000, "a Prune without work looks at the oldest records only")
		count.take()
		return lines
	}
	fill := func(n int) {
		for range n {
			_, id := g.send()
			g.ack(id, ack.Fulfilled, 0, "")
			_, rec := g.receive(g.arrival(g.id("filler"), 0))
			done := g.finish(rec.GetSequence(), ack.Fulfilled, 0, "")
			require.NoError(t, g.OwedSentIn(rec.GetSequence(), done.GetOwed()[0].GetMessageId()))
		}
	}
	fill(3) // so that the first round has not to reserve numbers
	first := work("a.S/First")
	fill(50_000)
	// Low-water marks and reserved numbers are written again now and then: the rounds may meet that.
	second := work("a.S/Second")
	assert.Equal(t, first, second)

	require.NoError(t, count.Store.Close())
	open()
	assert.GreaterOrEqual(t, g.Stats().OutFinished+g.Stats().InFinished, 100_000)
	assert.Less(t, count.gets+count.visited, 1000, "an opening reads active records only")
	t.Log(strings.Join(second, "\n"), "\nOpen: ", count.take())
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*testing.T, activity.Config) *ground{"memory": memoryGround, "pebble": pebbleGround} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := make(t, activity.Config{Now: nil})
			var wg sync.WaitGroup
			const writers, each = 8, 25
			var mu sync.Mutex
			seen := map[uint64]bool{}
			for w := range writers {
				wg.Go(func() {
					for n := range each {
						token := fmt.Sprintf("%d-%d", w, n)
						rec, existed, err := g.RecordOut(g.ctx, activity.Draft{
							Record: &storagepb.OutRecord{Token: token, To: "agent:a", CorrelationId: "c", Exchange: "x", WantsReply: n%2 == 0},
							Body:   body("b"), MessageID: "m" + token,
						})
						if !assert.NoError(t, err) || !assert.False(t, existed) {
							return
						}
						mu.Lock()
						assert.False(t, seen[rec.GetSequence()])
						seen[rec.GetSequence()] = true
						mu.Unlock()
						_, err = g.AcceptedOut(rec.GetSequence(), "m"+token)
						assert.NoError(t, err)
						_, err = g.AckOut(g.ctx, ack.Ack{ForMessageID: "m" + token, Stage: ack.Fulfilled}, "a")
						assert.NoError(t, err)
						if rec.GetWantsReply() {
							_, err = g.ReplyOut(g.ctx, activity.Reply{Token: token, MessageID: "r" + token, Body: body("r")})
							assert.NoError(t, err)
						}
						assert.NoError(t, g.HandledOut(rec.GetSequence()))
					}
				})
				wg.Go(func() {
					for n := range each {
						a := arrivalNamed(fmt.Sprintf("in-%d-%d", w, n), uint32(w))
						a.Envelope.IdempotencyToken = fmt.Sprintf("shared-%d", n)
						v, rec, err := g.RecordIn(g.ctx, a)
						if !assert.NoError(t, err) || v != activity.New {
							continue
						}
						done, err := g.FinishIn(g.ctx, rec.GetSequence(), activity.Ending{Outcome: outcome(ack.Fulfilled, 0, ""), NewID: func() string { return "own" + a.Envelope.GetMessageId() }})
						if assert.NoError(t, err) {
							assert.NoError(t, g.OwedSentIn(rec.GetSequence(), done.GetOwed()[0].GetMessageId()))
						}
					}
				})
			}
			wg.Go(func() {
				for range 20 {
					g.OpenOut()
					g.OpenIn()
					g.OwingIn()
					g.LowestOpenOut()
					g.Stats()
					_, err := g.Recent(10)
					assert.NoError(t, err)
					_, err = g.Prune(g.ctx)
					assert.NoError(t, err)
					assert.NoError(t, g.UnhandledOut("x", func(*storagepb.OutRecord) error { return nil }))
					_, err = g.OutByCorrelation("c")
					assert.NoError(t, err)
				}
			})
			wg.Wait()
			assert.Empty(t, g.OpenOut())
			assert.Empty(t, g.OpenIn())
			s := g.Stats()
			assert.Equal(t, writers*each, s.OutFinished)
			assert.Equal(t, each, s.InFinished, "one of each token")
			assert.Zero(t, s.OutUnhandled)
			require.NoError(t, g.Settle(g.ctx))
			g.reopen()
		})
	}
}

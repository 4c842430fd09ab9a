package kv_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

const to = "capability:acme.Reviewer"

func message(id string) queue.Message {
	return queue.Message{
		Envelope: &commonpb.Envelope{
			MessageId: id, IdempotencyToken: "token-" + id, ProducerId: "sam", CorrelationId: "c-" + id,
			MessageType: commonpb.MessageType_DATA, ContentType: "application/json", Payload: make([]byte, 512),
		},
		To: to, Class: transportpb.Class_CLASS_WORK, From: queue.Holder{Agent: "sam"}, At: time.Now(),
	}
}

func signal(id, from, to string) queue.Message {
	m := message(id)
	m.Envelope.IdempotencyToken, m.Envelope.ProducerId, m.Envelope.Payload = "", from, []byte(`{}`)
	m.From.Agent, m.To, m.Class = from, to, transportpb.Class_CLASS_SIGNAL
	return m
}

func holder(agent string) queue.Holder {
	return queue.Holder{Agent: agent, Store: "s", Epoch: 1, Stream: 1}
}

func request(h queue.Holder, class transportpb.Class, address string) queue.LeaseRequest {
	now := time.Now()
	return queue.LeaseRequest{
		Holder: h, Addresses: []string{address}, Class: class,
		MaxMessages: 1, MaxBytes: 1 << 30, Now: now, Until: now.Add(time.Minute),
	}
}

// cycle brings one message from Accept to its outcome, and its outcome to its producer.
func cycle(ctx context.Context, e queue.Engine, id string, from, by queue.Holder, address string) error {
	m := message(id)
	m.From, m.To = from, address
	if a, err := queue.Submit(ctx, e, m); err != nil || a.State != transportpb.Answer_STATE_NEW {
		return fmt.Errorf("accept: %v %s: %w", a.State, a.Note, err)
	}
	if err := take(ctx, e, by, transportpb.Class_CLASS_WORK, address); err != nil {
		return err
	}
	s := signal("ack-"+id, by.Agent, "agent:"+from.Agent)
	s.From, s.Ends = by, &queue.Outcome{MessageID: id, Stage: ack.Fulfilled}
	if a, err := queue.Submit(ctx, e, s); err != nil || a.State != transportpb.Answer_STATE_NEW {
		return fmt.Errorf("outcome: %v %s: %w", a.State, a.Note, err)
	}
	return take(ctx, e, from, transportpb.Class_CLASS_SIGNAL, "agent:"+from.Agent)
}

func take(ctx context.Context, e queue.Engine, h queue.Holder, class transportpb.Class, address string) error {
	ds, err := e.Lease(ctx, request(h, class, address))
	if err != nil || len(ds) != 1 {
		return fmt.Errorf("lease of %d: %w", len(ds), err)
	}
	if ok, err := e.Custody(ctx, h, ds[0].Seq, ds[0].Envelope.GetMessageId()); err != nil || !ok {
		return fmt.Errorf("custody: %v: %w", ok, err)
	}
	return nil
}

func TestWorkDoesNotGrowWithWhatIsFinished(t *testing.T) {
	finished := 100_000
	if testing.Short() || raceEnabled {
		finished = 2_000
	}
	ctx, dir := t.Context(), t.TempDir()
	s := openPebble(t, dir, pebble.Options{Profile: pebble.Service})
	c := &counting{Store: s, noSync: true}
	e := open(t, c)
	atOpen := c.take()
	measure := func(e queue.Engine, id string) counts {
		c.take()
		require.NoError(t, cycle(ctx, e, id, holder("sam"), holder("alice"), to))
		dup, err := queue.Submit(ctx, e, signal("ack-"+id, "alice", "agent:sam"))
		require.NoError(t, err)
		require.Equal(t, transportpb.Answer_STATE_DONE, dup.State)
		_, err = e.Expire(ctx, time.Now())
		require.NoError(t, err)
		require.NoError(t, e.Prune(ctx, time.Now(), nobody))
		return c.take()
	}
	require.NoError(t, cycle(ctx, e, "warm", holder("sam"), holder("alice"), to))
	before := measure(e, "first")
	for i := range finished {
		require.NoError(t, cycle(ctx, e, fmt.Sprint("m", i), holder("sam"), holder("alice"), to))
	}
	after := measure(e, "last")
	// Now and then a batch also reserves sequence numbers or moves a queue's head.
	require.InDelta(t, before.Ops, after.Ops, 3)
	after.Ops = before.Ops
	require.Equal(t, before, after)

	require.NoError(t, s.Close())
	s = openPebble(t, dir, pebble.Options{Profile: pebble.Service})
	defer func() { require.NoError(t, s.Close()) }()
	c.Store = s
	c.take()
	e = open(t, c)
	reopened := c.take()
	t.Logf("open: %+v with nothing, %+v with %d finished; a cycle: %+v", atOpen, reopened, finished, before)
	// The heads of the two queues that were used, and no row or token.
	require.LessOrEqual(t, reopened.Scanned, 2)
	require.LessOrEqual(t, reopened.Gets, atOpen.Gets)
	final := measure(e, "reopened")
	require.InDelta(t, before.Ops, final.Ops, 4)
}

func TestFailedApplyChangesNothing(t *testing.T) {
	ctx := t.Context()
	now := time.Now()
	s := &counting{Store: store.NewMemory()}
	var told []string
	e, err := kv.Open(ctx, s, kv.Options{Notify: func(a string) { told = append(told, a) }})
	require.NoError(t, err)
	_, err = e.Admit(ctx, holder("alice"), false)
	require.NoError(t, err)
	_, err = queue.Submit(ctx, e, message("a"))
	require.NoError(t, err)
	ttl := message("ttl")
	ttl.Envelope.TtlMs = 1000
	ttl.To, ttl.At = "agent:bob", now
	_, err = queue.Submit(ctx, e, ttl)
	require.NoError(t, err)
	told = nil
	depths := func() map[string]queue.Depth {
		all := make(map[string]queue.Depth)
		require.NoError(t, e.Scan(ctx, func(d queue.Depth) error { all[d.To] = d; return nil }))
		return all
	}
	before := depths()
	s.fail = errors.New("disk")
	_, err = queue.Submit(ctx, e, message("b"))
	require.ErrorIs(t, err, s.fail)
	_, err = e.Lease(ctx, request(holder("alice"), transportpb.Class_CLASS_WORK, to))
	require.ErrorIs(t, err, s.fail)
	_, err = e.Expire(ctx, now.Add(time.Hour))
	require.ErrorIs(t, err, s.fail)
	_, err = e.Withdraw(ctx, queue.Withdrawal{From: queue.Holder{Agent: "sam"}, To: to, Token: "token-a"})
	require.ErrorIs(t, err, s.fail)
	next := holder("alice")
	next.Epoch = 2
	_, err = e.Admit(ctx, next, false)
	require.ErrorIs(t, err, s.fail)
	require.Equal(t, before, depths())
	require.Empty(t, told)

	s.fail = nil
	ds, err := e.Lease(ctx, request(holder("alice"), transportpb.Class_CLASS_WORK, to))
	require.NoError(t, err)
	require.Len(t, ds, 1)
	require.Equal(t, 1, ds[0].Deliveries)
	s.fail = errors.New("disk")
	_, err = e.Custody(ctx, holder("alice"), ds[0].Seq, "a")
	require.ErrorIs(t, err, s.fail)
	_, err = e.Dead(ctx, holder("alice"), ds[0].Seq, "a", "no")
	require.ErrorIs(t, err, s.fail)
	s.fail = nil
	ok, err := e.Custody(ctx, holder("alice"), ds[0].Seq, "a")
	require.NoError(t, err)
	require.True(t, ok)
	_, err = e.Expire(ctx, now.Add(time.Hour))
	require.NoError(t, err)
	dead, err := e.DeadLetters(ctx, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
}

// gated makes nothing durable until its gate is opened.
type gated struct {
	store.Store
	gate    chan struct{}
	waiting chan store.Mark
}

func (g *gated) Sync(ctx context.Context, m store.Mark) error {
	g.waiting <- m
	select {
	case <-g.gate:
		return g.Store.Sync(ctx, m)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestNothingIsToldBeforeItIsSynced(t *testing.T) {
	ctx := t.Context()
	s := &gated{Store: store.NewMemory(), gate: make(chan struct{}), waiting: make(chan store.Mark, 10)}
	e := open(t, s)
	answers := make(chan transportpb.Answer_State, 3)
	var wg sync.WaitGroup
	accept := func() {
		a, err := queue.Submit(ctx, e, message("a"))
		if err == nil {
			answers <- a.State
		}
	}
	wg.Go(accept)
	first := <-s.waiting
	// The duplicate and the delivery are known from memory, and wait for the same batch.
	wg.Go(accept)
	second := <-s.waiting
	require.GreaterOrEqual(t, second, first)
	delivered := make(chan int, 1)
	wg.Go(func() {
		ds, err := e.Lease(ctx, request(holder("alice"), transportpb.Class_CLASS_WORK, to))
		if err == nil {
			delivered <- len(ds)
		}
	})
	third := <-s.waiting
	require.GreaterOrEqual(t, third, first)
	require.Empty(t, answers)
	require.Empty(t, delivered)
	close(s.gate)
	wg.Wait()
	require.ElementsMatch(t, []transportpb.Answer_State{transportpb.Answer_STATE_NEW, transportpb.Answer_STATE_QUEUED}, []transportpb.Answer_State{<-answers, <-answers})
	require.Equal(t, 1, <-delivered)
}

// TestCustodyOfWhatMayRunOutIsSynced takes custody of messages to an agent. That of one with a time to live is durable
// before the agent is told, since a crash would let it run out in the queue while it is handled.
func TestCustodyOfWhatMayRunOutIsSynced(t *testing.T) {
	ctx := t.Context()
	s := &gated{Store: store.NewMemory(), gate: make(chan struct{}), waiting: make(chan store.Mark, 10)}
	close(s.gate)
	e := open(t, s)
	for _, ttl := range []uint64{0, 60_000} {
		m := message(fmt.Sprint("ttl-", ttl))
		m.To, m.Envelope.TtlMs = "agent:alice", ttl
		_, err := queue.Submit(ctx, e, m)
		require.NoError(t, err)
		ds, err := e.Lease(ctx, request(holder("alice"), transportpb.Class_CLASS_WORK, "agent:alice"))
		require.NoError(t, err)
		require.Len(t, ds, 1)
		for len(s.waiting) > 0 {
			<-s.waiting
		}
		for range 2 { // the second asks again
			ok, err := e.Custody(ctx, holder("alice"), ds[0].Seq, ds[0].Envelope.GetMessageId())
			require.NoError(t, err)
			require.True(t, ok)
			if ttl > 0 {
				require.NotEmpty(t, s.waiting)
				<-s.waiting
			} else {
				require.Empty(t, s.waiting)
				break
			}
		}
	}
}

func TestCancelledLeaseGivesBack(t *testing.T) {
	s := &gated{Store: store.NewMemory(), gate: make(chan struct{}), waiting: make(chan store.Mark, 10)}
	e := open(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := queue.Submit(ctx, e, message("a"))
		assert.ErrorIs(t, err, context.Canceled)
	})
	<-s.waiting
	wg.Go(func() {
		_, err := e.Lease(ctx, request(holder("alice"), transportpb.Class_CLASS_WORK, to))
		assert.ErrorIs(t, err, context.Canceled)
	})
	<-s.waiting
	cancel()
	wg.Wait()
	close(s.gate)
	// It was applied, so it waits, and is durable before anybody gets it.
	ds, err := e.Lease(t.Context(), request(holder("bob"), transportpb.Class_CLASS_WORK, to))
	require.NoError(t, err)
	require.Len(t, ds, 1)
	require.Equal(t, 1, ds[0].Deliveries)
}

func TestNotify(t *testing.T) {
	ctx := t.Context()
	var e *kv.Engine
	var told []string
	e, err := kv.Open(ctx, store.NewMemory(), kv.Options{Notify: func(a string) {
		told = append(told, a)
		// No lock is held.
		_, _, err := e.Lookup(ctx, "x")
		require.NoError(t, err)
	}})
	require.NoError(t, err)
	wants := func(want ...string) {
		t.Helper()
		require.ElementsMatch(t, want, told)
		told = nil
	}
	alice := holder("alice")
	m := message("a")
	m.Envelope.TtlMs = 60_000
	_, err = queue.Submit(ctx, e, m)
	require.NoError(t, err)
	wants(to)
	_, err = queue.Submit(ctx, e, m)
	require.NoError(t, err)
	wants()
	lease := func() queue.Delivery {
		ds, err := e.Lease(ctx, request(alice, transportpb.Class_CLASS_WORK, to))
		require.NoError(t, err)
		require.Len(t, ds, 1)
		return ds[0]
	}
	lease()
	wants()
	require.NoError(t, e.Release(ctx, alice))
	wants(to)
	d := lease()
	_, err = e.Expire(ctx, time.Now().Add(61*time.Second))
	require.NoError(t, err)
	wants(to, "agent:sam")
	ok, err := e.Custody(ctx, alice, d.Seq, "a")
	require.NoError(t, err)
	require.False(t, ok)

	_, err = queue.Submit(ctx, e, message("b"))
	require.NoError(t, err)
	require.NoError(t, take(ctx, e, alice, transportpb.Class_CLASS_WORK, to))
	wants(to)
	_, err = queue.Submit(ctx, e, message("b"))
	require.NoError(t, err)
	wants("agent:alice")
	_, err = queue.Submit(ctx, e, message("c"))
	require.NoError(t, err)
	d = lease()
	wants(to)
	ok, err = e.Dead(ctx, alice, d.Seq, "c", "no")
	require.NoError(t, err)
	require.True(t, ok)
	wants("agent:sam")
}

func TestNewAck(t *testing.T) {
	ctx := t.Context()
	custom := &commonpb.Envelope{MessageId: "custom"}
	e, err := kv.Open(ctx, store.NewMemory(), kv.Options{
		NewAck: func(of *commonpb.Envelope, stage ack.Stage, code ack.Code, _ string) *commonpb.Envelope {
			if of.GetMessageId() == "b" {
				return nil
			}
			require.Equal(t, ack.Failed, stage)
			require.Equal(t, ack.TTLExpired, code)
			return custom
		},
	})
	require.NoError(t, err)
	for _, id := range []string{"a", "b"} {
		m := message(id)
		m.Envelope.TtlMs = 1
		_, err = queue.Submit(ctx, e, m)
		require.NoError(t, err)
	}
	_, err = e.Expire(ctx, time.Now().Add(time.Second))
	require.NoError(t, err)
	r := request(holder("sam"), transportpb.Class_CLASS_SIGNAL, "agent:sam")
	r.MaxMessages = 10
	ds, err := e.Lease(ctx, r)
	require.NoError(t, err)
	require.Len(t, ds, 2)
	ids := map[string]string{}
	for _, d := range ds {
		ids[d.Envelope.GetMessageId()] = d.Envelope.GetProducerId()
	}
	require.Contains(t, ids, "custom")
	delete(ids, "custom")
	for _, producer := range ids {
		require.Equal(t, address.RouterID, producer)
	}
}

func TestKeepDead(t *testing.T) {
	ctx, s := t.Context(), store.NewMemory()
	e, err := kv.Open(ctx, s, kv.Options{Limits: queue.Limits{KeepDead: time.Hour, KeepUnfetched: time.Minute, KeepUnknown: time.Minute}})
	require.NoError(t, err)
	now := time.Now()
	for i := range 200 {
		_, err = queue.Submit(ctx, e, signal(fmt.Sprint(i), "sam", "agent:bob"))
		require.NoError(t, err)
	}
	_, err = e.Expire(ctx, now.Add(2*time.Minute))
	require.NoError(t, err)
	require.NoError(t, e.Prune(ctx, now.Add(time.Hour), nobody))
	dead, err := e.DeadLetters(ctx, 1000)
	require.NoError(t, err)
	require.Len(t, dead, 200)
	require.NoError(t, e.Prune(ctx, now.Add(2*time.Hour), nobody))
	dead, err = e.DeadLetters(ctx, 1000)
	require.NoError(t, err)
	require.Empty(t, dead)
	// Nothing but the counters and the queue's head is left.
	left := 0
	require.NoError(t, s.Scan(nil, nil, func(key, _ []byte) error { left++; return nil }))
	require.LessOrEqual(t, left, 2)
}

func TestNothingIsLeftOfAnEndedOperation(t *testing.T) {
	ctx, s := t.Context(), store.NewMemory()
	e := open(t, s)
	for i := range 100 {
		require.NoError(t, cycle(ctx, e, fmt.Sprint(i), holder("sam"), holder("alice"), to))
	}
	require.NoError(t, e.Prune(ctx, time.Now().Add(26*time.Hour), nobody))
	var left []string
	require.NoError(t, s.Scan(nil, nil, func(key, _ []byte) error { left = append(left, string(key)); return nil }))
	// The counters and the heads of two queues.
	require.Len(t, left, 3, "%q", left)
}

func TestDamagedRecord(t *testing.T) {
	ctx, s := t.Context(), store.NewMemory()
	e := open(t, s)
	_, err := queue.Submit(ctx, e, message("a"))
	require.NoError(t, err)
	var keys [][]byte
	require.NoError(t, s.Scan(nil, nil, func(key, value []byte) error {
		if len(value) > 0 {
			keys = append(keys, append([]byte(nil), key...))
		}
		return nil
	}))
	var b store.Batch
	for _, k := range keys {
		b.Set(k, []byte{0xff})
	}
	_, err = s.Apply(&b)
	require.NoError(t, err)
	var damaged *store.DamagedError
	_, err = queue.Submit(ctx, e, message("a"))
	require.ErrorAs(t, err, &damaged)
	_, err = e.Lease(ctx, request(holder("alice"), transportpb.Class_CLASS_WORK, to))
	require.ErrorAs(t, err, &damaged)
	_, err = kv.Open(ctx, s, kv.Options{})
	require.ErrorAs(t, err, &damaged)
}

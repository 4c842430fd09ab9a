package kv_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// morgue is an engine on a clock that the test drives.
type morgue struct {
	*testing.T
	*kv.Engine
	ctx    context.Context
	now    time.Time
	s      *store.Memory
	log    bytes.Buffer
	limits queue.Limits
}

func newMorgue(t *testing.T, l queue.Limits) *morgue {
	m := &morgue{T: t, ctx: t.Context(), now: time.Date(2026, 5, 1, 9, 0, 0, 0, time.UTC), s: store.NewMemory(), limits: l}
	m.reopen()
	return m
}

func (m *morgue) reopen() {
	m.Helper()
	m.s = m.s.Reopen()
	e, err := kv.Open(m.ctx, m.s, kv.Options{
		Limits: m.limits, Logger: slog.New(slog.NewTextHandler(&m.log, nil)), Now: func() time.Time { return m.now },
	})
	require.NoError(m, err)
	m.Engine = e
}

func (m *morgue) accept(id string, ttl time.Duration) {
	m.Helper()
	msg := message(id)
	msg.At, msg.Envelope.TtlMs = m.now, uint64(ttl.Milliseconds())
	a, err := queue.Submit(m.ctx, m, msg)
	require.NoError(m, err)
	require.Equal(m, transportpb.Answer_STATE_NEW, a.State, a.Note)
}

// lease hands the only message that waits to an agent for a minute.
func (m *morgue) lease(h queue.Holder) queue.Delivery {
	m.Helper()
	ds, err := m.Lease(m.ctx, queue.LeaseRequest{
		Holder: h, Addresses: []string{to}, Class: transportpb.Class_CLASS_WORK, MaxMessages: 1, MaxBytes: 1, Now: m.now, Until: m.now.Add(time.Minute),
	})
	require.NoError(m, err)
	require.Len(m, ds, 1)
	return ds[0]
}

func (m *morgue) expire() {
	m.Helper()
	_, err := m.Expire(m.ctx, m.now)
	require.NoError(m, err)
}

func (m *morgue) dead() []queue.DeadLetter {
	m.Helper()
	list, err := m.DeadLetters(m.ctx, 1000)
	require.NoError(m, err)
	return list
}

// sound checks that the closed store contradicts itself nowhere.
func (m *morgue) sound() {
	m.Helper()
	_, err := kv.Check(m.ctx, m.s, func(d *store.DamagedError) { m.Error(d) })
	require.NoError(m, err)
}

// TestDeadLettersTell says of each dead letter why it was given up, and of each delivery when, to whom and how it ended.
func TestDeadLettersTell(t *testing.T) {
	m := newMorgue(t, queue.Limits{DeliveryBudget: 2, KeepUnfetched: time.Hour})
	began := m.now
	named, unnamed := queue.Holder{Agent: "alice", Store: "s", Epoch: 1, Stream: 1}, queue.Holder{Agent: "bob", Stream: 2}
	m.accept("budget", 0)
	m.lease(named)
	m.now = m.now.Add(time.Second)
	require.NoError(t, m.Release(m.ctx, named)) // its stream ended
	m.lease(named)
	m.now = m.now.Add(time.Second)
	m.reopen()
	m.lease(named)
	m.now = m.now.Add(time.Minute)
	m.expire() // the lease ran out
	m.lease(unnamed)
	m.now = m.now.Add(time.Second)
	require.NoError(t, m.Release(m.ctx, unnamed))
	m.accept("refused", 0)
	d := m.lease(named)
	ok, err := m.Dead(m.ctx, named, d.Seq, "refused", "not for me")
	require.NoError(t, err)
	require.True(t, ok)
	m.accept("late", time.Second)
	sig := signal("signal", "sam", "agent:nobody")
	sig.At = m.now
	_, err = queue.Submit(m.ctx, m, sig)
	require.NoError(t, err)
	m.now = m.now.Add(time.Hour)
	m.expire()
	m.reopen()

	letters := m.dead()
	require.Len(t, letters, 6, "two signals of the router's own too")
	byID := map[string]queue.DeadLetter{}
	for _, l := range letters {
		byID[l.Envelope.GetMessageId()] = l
		require.Positive(t, l.Bytes)
	}
	l := byID["budget"]
	require.Equal(t, queue.Retryable, l.Kind)
	require.Equal(t, ack.AgentUnavailable, l.Code)
	require.Equal(t, 4, l.Deliveries)
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	for i, want := range []queue.Handout{
		{Agent: "alice", At: at(0), EndedAt: at(1), End: "the agent's stream ended"},
		{Agent: "alice", At: at(1), EndedAt: at(2), End: "the router started anew, and had not noted it"},
		{Agent: "alice", At: at(2), EndedAt: at(62), End: "the lease ran out"},
		{Agent: "bob", At: at(62), EndedAt: at(63), End: "the agent's stream ended"},
	} {
		got := l.Handouts[i]
		got.At, got.EndedAt = got.At.UTC(), got.EndedAt.UTC()
		require.Equal(t, want, got)
	}
	require.Equal(t, at(63), l.DiedAt.UTC())
	l = byID["refused"]
	require.Equal(t, queue.Permanent, l.Kind)
	require.Equal(t, "the agent refused it", l.Handouts[0].End)
	require.Equal(t, "permanent_failure: not for me", l.Reason)
	require.Equal(t, queue.Expired, byID["late"].Kind)
	require.Equal(t, ack.TTLExpired, byID["late"].Code)
	require.Empty(t, byID["late"].Handouts)
	require.Equal(t, queue.Unanswerable, byID["signal"].Kind)
	m.sound()
}

// TestHandoutsAreBounded remembers the first and the latest deliveries of a message that is handed out again and again.
func TestHandoutsAreBounded(t *testing.T) {
	m := newMorgue(t, queue.Limits{})
	m.accept("a", time.Hour)
	alice := queue.Holder{Agent: "alice", Store: "s", Epoch: 1, Stream: 1}
	for range 40 {
		m.lease(alice)
		require.NoError(t, m.Release(m.ctx, alice))
		m.now = m.now.Add(time.Second)
	}
	m.now = m.now.Add(time.Hour)
	m.expire()
	l := m.dead()[0]
	require.Equal(t, 40, l.Deliveries)
	require.Len(t, l.Handouts, 16)
	require.Equal(t, 25*time.Second, l.Handouts[1].At.Sub(l.Handouts[0].At))
}

// TestDeadLettersAreBounded keeps no more dead letters than it may, by number, size and age, over restarts and a clock that
// was set back, and says which go.
func TestDeadLettersAreBounded(t *testing.T) {
	m := newMorgue(t, queue.Limits{MaxDead: 3, KeepUnfetched: 100 * time.Hour})
	die := func(id string) {
		m.accept(id, time.Second)
		m.now = m.now.Add(time.Minute)
		m.expire()
	}
	ids := func() string {
		var list []string
		for _, l := range m.dead() {
			list = append(list, l.Envelope.GetMessageId())
		}
		return strings.Join(list, " ")
	}
	for i := range 5 {
		die(fmt.Sprint(i))
	}
	require.Equal(t, "2 3 4", ids())
	require.Contains(t, m.log.String(), "the oldest dead letters were removed to make room")
	m.reopen()
	m.sound()
	die("5")
	require.Equal(t, "3 4 5", ids())
	m.now = m.now.Add(-time.Hour)
	die("back") // it counts as the oldest
	die("back 2")
	require.Equal(t, "back 2 4 5", ids())
	m.sound()
	var sizes int64
	for _, l := range m.dead() {
		sizes += l.Bytes
	}
	m.limits.MaxDeadBytes = sizes - 1
	m.reopen()
	for i := range 4 { // several in one batch
		m.accept(fmt.Sprint("many", i), time.Second)
	}
	m.now = m.now.Add(2 * time.Hour)
	m.expire()
	require.LessOrEqual(t, len(m.dead()), 3)
	m.sound()
	require.NoError(t, m.Prune(m.ctx, m.now.Add(queue.DefaultKeepDead-time.Second), nobody))
	require.NotEmpty(t, m.dead())
	require.NoError(t, m.Prune(m.ctx, m.now.Add(queue.DefaultKeepDead+time.Second), nobody))
	require.Empty(t, m.dead())
	m.sound()
}

// TestRequeue lets dead letters wait again, unless their operation has gone on, and removes them.
func TestRequeue(t *testing.T) {
	m := newMorgue(t, queue.Limits{DeliveryBudget: 1})
	die := func(id string, ttl time.Duration) int64 {
		m.accept(id, ttl)
		m.now = m.now.Add(ttl)
		m.expire()
		list := m.dead()
		return list[len(list)-1].Seq
	}
	bob := queue.Holder{Agent: "bob", Stream: 2}
	seq := die("late", time.Minute)
	m.now = m.now.Add(time.Hour)
	next, err := m.Requeue(m.ctx, seq, m.now)
	require.NoError(t, err)
	require.Greater(t, next, seq)
	require.Empty(t, m.dead())
	m.reopen()
	m.sound()
	d := m.lease(bob)
	require.Equal(t, next, d.Seq)
	require.Equal(t, "late", d.Envelope.GetMessageId())
	require.EqualValues(t, time.Minute.Milliseconds(), d.Envelope.GetTtlMs(), "its whole time to live")
	ok, err := m.Custody(m.ctx, bob, d.Seq, "late")
	require.NoError(t, err)
	require.True(t, ok)
	sig := signal("ack-late", "bob", "agent:sam")
	sig.At, sig.From, sig.Ends = m.now, bob, &queue.Outcome{MessageID: "late", Stage: ack.Fulfilled}
	a, err := queue.Submit(m.ctx, m, sig)
	require.NoError(t, err)
	require.Equal(t, transportpb.Answer_STATE_NEW, a.State, "its sender hears of it")

	seq = die("retried", time.Minute)
	again := message("retried-2")
	again.At, again.Envelope.IdempotencyToken, again.Envelope.RetryCount = m.now, "token-retried", 1
	a, err = queue.Submit(m.ctx, m, again)
	require.NoError(t, err)
	require.Equal(t, transportpb.Answer_STATE_NEW, a.State)
	var no *kv.RequeueError
	_, err = m.Requeue(m.ctx, seq, m.now)
	require.ErrorAs(t, err, &no)
	require.Contains(t, no.Error(), "its sender has tried again since")
	require.NoError(t, m.DropDead(m.ctx, seq))
	require.ErrorIs(t, m.DropDead(m.ctx, seq), kv.ErrNoDeadLetter)
	_, err = m.Requeue(m.ctx, seq, m.now)
	require.ErrorIs(t, err, kv.ErrNoDeadLetter)

	m.now = m.now.Add(queue.DefaultKeepUnfetched)
	m.expire()
	var signals []int64
	for _, l := range m.dead() {
		if l.Kind == queue.Unanswerable {
			signals = append(signals, l.Seq)
		}
	}
	require.NotEmpty(t, signals)
	_, err = m.Requeue(m.ctx, signals[0], m.now)
	require.NoError(t, err)
	m.reopen()
	m.sound()
}

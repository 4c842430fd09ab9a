package kv_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// numbered is work of a sender that numbers it, and says that everything below lowest has ended for good.
func (m *morgue) numbered(id, token string, retry uint32, sequence, lowest uint64) queue.Message {
	msg := message(id)
	msg.At, msg.Envelope.TtlMs, msg.From = m.now, uint64(time.Minute.Milliseconds()), queue.Holder{Agent: "sam", Store: "s", Epoch: 1}
	msg.Envelope.IdempotencyToken, msg.Envelope.RetryCount, msg.Envelope.SequenceNumber, msg.LowestOpen = token, retry, sequence, lowest
	return msg
}

func (m *morgue) submit(msg queue.Message, want transportpb.Answer_State) {
	m.Helper()
	a, err := queue.Submit(m.ctx, m, msg)
	require.NoError(m, err)
	require.Equal(m, want, a.State, a.Note)
}

// die lets a message run out in the queue, and returns its dead letter's number.
func (m *morgue) die(msg queue.Message) int64 {
	m.Helper()
	m.submit(msg, transportpb.Answer_STATE_NEW)
	m.now = m.now.Add(time.Minute)
	m.expire()
	list := m.dead()
	return list[len(list)-1].Seq
}

// pass lets time go by, in which the router forgets what it may.
func (m *morgue) pass(d time.Duration) {
	m.Helper()
	m.now = m.now.Add(d)
	require.NoError(m, m.Prune(m.ctx, m.now, nobody))
}

// none wants nothing to wait for bob.
func (m *morgue) none() {
	m.Helper()
	ds, err := m.Lease(m.ctx, queue.LeaseRequest{
		Holder: holder("bob"), Addresses: []string{to}, Class: transportpb.Class_CLASS_WORK, MaxMessages: 9, MaxBytes: 1 << 20, Now: m.now, Until: m.now.Add(time.Minute),
	})
	require.NoError(m, err)
	require.Empty(m, ds)
}

// fulfil takes the message that waits, and ends it.
func (m *morgue) fulfil(id string) {
	m.Helper()
	bob := queue.Holder{Agent: "bob", Stream: 2}
	d := m.lease(bob)
	require.Equal(m, id, d.Envelope.GetMessageId())
	ok, err := m.Custody(m.ctx, bob, d.Seq, id)
	require.NoError(m, err)
	require.True(m, ok)
	m.ends(id, ack.Fulfilled)
}

func (m *morgue) ends(id string, stage ack.Stage) {
	m.Helper()
	sig := signal("ack-"+id, "bob", "agent:sam")
	sig.At, sig.From, sig.Ends = m.now, queue.Holder{Agent: "bob", Stream: 2}, &queue.Outcome{MessageID: id, Stage: stage}
	m.submit(sig, transportpb.Answer_STATE_NEW)
}

func (m *morgue) refuses(seq int64, why string) {
	m.Helper()
	var no *kv.RequeueError
	_, err := m.Requeue(m.ctx, seq, m.now)
	require.ErrorAs(m, err, &no)
	require.Contains(m, no.Error(), why)
	require.NotEmpty(m, m.dead(), "it stays")
}

// TestRequeueOfForgottenOperations lets dead letters wait again for as long as they are kept, also when their sender has gone
// on, or the router has forgotten everything else of them. One requeue makes one delivery.
func TestRequeueOfForgottenOperations(t *testing.T) {
	for name, tc := range map[string]struct {
		lowest uint64
		after  time.Duration
	}{
		"the sender has gone on":    {lowest: 1, after: time.Minute},
		"a day later":               {lowest: 1, after: 26 * time.Hour},
		"almost a week later":       {lowest: 1, after: 6 * 24 * time.Hour},
		"an unnumbered one's, then": {after: 6 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMorgue(t, queue.Limits{})
			lost := m.numbered("lost", "key", 0, 1, tc.lowest)
			seq := m.die(lost)
			if tc.lowest > 0 {
				m.submit(m.numbered("next", "next", 0, 2, 2), transportpb.Answer_STATE_NEW)
				m.fulfil("next")
			}
			m.pass(tc.after)
			_, found, err := m.Lookup(m.ctx, "lost")
			require.NoError(t, err)
			require.False(t, found, "it was forgotten")
			m.reopen()
			m.sound()
			require.NoError(t, kv.Rebuild(m.ctx, m.s, func(what string) { t.Error(what) }))
			m.reopen()

			next, err := m.Requeue(m.ctx, seq, m.now)
			require.NoError(t, err)
			require.Greater(t, next, seq)
			_, err = m.Requeue(m.ctx, seq, m.now)
			require.ErrorIs(t, err, kv.ErrNoDeadLetter)
			m.reopen()
			m.sound()
			m.pass(time.Second)
			m.submit(lost, transportpb.Answer_STATE_QUEUED)
			m.fulfil("lost")
			m.none()
			lost.LowestOpen = 0
			m.submit(lost, transportpb.Answer_STATE_DONE)
			m.none()
			m.sound()
			m.pass(queue.DefaultKeepUnknown + queue.DefaultWindow + time.Second)
			_, found, err = m.Lookup(m.ctx, "lost")
			require.NoError(t, err)
			require.False(t, found, "what a requeue has made known is forgotten in its time")
			m.reopen()
			m.sound()
		})
	}
}

// TestRequeueTwice lets a message die again after it was requeued, and requeues that letter too.
func TestRequeueTwice(t *testing.T) {
	m := newMorgue(t, queue.Limits{})
	seq := m.die(m.numbered("lost", "key", 0, 1, 1))
	for range 3 {
		m.submit(m.numbered(fmt.Sprint("next", seq), fmt.Sprint("next", seq), 0, 2, 2), transportpb.Answer_STATE_NEW)
		m.pass(26 * time.Hour)
		next, err := m.Requeue(m.ctx, seq, m.now)
		require.NoError(t, err)
		m.now = m.now.Add(time.Minute)
		m.expire()
		seq = next
		m.reopen()
		m.sound()
	}
}

// TestRequeueRefusesWhatWentOn refuses the letter of an attempt that was followed by another, or was fulfilled after all, or
// whose token stands for another operation, whether or not that is known still.
func TestRequeueRefusesWhatWentOn(t *testing.T) {
	t.Run("tried again", func(t *testing.T) {
		m := newMorgue(t, queue.Limits{})
		seq := m.die(m.numbered("lost", "key", 0, 1, 1))
		m.submit(m.numbered("lost-2", "key", 1, 1, 1), transportpb.Answer_STATE_NEW)
		m.fulfil("lost-2")
		m.refuses(seq, "its sender has tried again since")
		m.pass(26 * time.Hour)
		m.refuses(seq, "tried again since")
		m.reopen()
		m.sound()
	})
	t.Run("fulfilled", func(t *testing.T) {
		m := newMorgue(t, queue.Limits{})
		msg := m.numbered("late", "key", 0, 1, 1)
		m.submit(msg, transportpb.Answer_STATE_NEW)
		m.lease(queue.Holder{Agent: "bob", Stream: 2})
		m.now = m.now.Add(time.Hour)
		m.expire()
		var seq int64
		for _, l := range m.dead() {
			seq = l.Seq
		}
		m.ends("late", ack.Fulfilled)
		m.refuses(seq, "it was fulfilled after all")
		m.pass(26 * time.Hour)
		m.refuses(seq, "fulfilled after all")
	})
	t.Run("token used again", func(t *testing.T) {
		m := newMorgue(t, queue.Limits{})
		seq := m.die(m.numbered("lost", "key", 0, 1, 1))
		m.submit(m.numbered("other", "key", 0, 2, 2), transportpb.Answer_STATE_NEW)
		m.refuses(seq, "its sender has tried again since, or has used its token again")
		m.fulfil("other")
		m.refuses(seq, "its sender has tried again since, or has used its token again")
	})
	t.Run("message id used again", func(t *testing.T) {
		m := newMorgue(t, queue.Limits{})
		seq := m.die(m.numbered("lost", "key", 0, 1, 0))
		m.pass(26 * time.Hour)
		other := m.numbered("lost", "other", 0, 1, 0)
		other.From.Agent = "eve"
		m.submit(other, transportpb.Answer_STATE_NEW)
		m.refuses(seq, "its message id names another message")
	})
}

// TestRequeueOfForgottenSignals does so for what nobody has fetched.
func TestRequeueOfForgottenSignals(t *testing.T) {
	m := newMorgue(t, queue.Limits{})
	sig := signal("signal", "sam", "agent:nobody")
	sig.At = m.now
	m.submit(sig, transportpb.Answer_STATE_NEW)
	m.now = m.now.Add(queue.DefaultKeepUnfetched)
	m.expire()
	seq := m.dead()[0].Seq
	m.pass(6 * 24 * time.Hour)
	sig.At = m.now
	next, err := m.Requeue(m.ctx, seq, m.now)
	require.NoError(t, err)
	require.Greater(t, next, seq)
	m.reopen()
	m.sound()
	m.submit(sig, transportpb.Answer_STATE_QUEUED)
	origin, found, err := m.Lookup(m.ctx, "signal")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, queue.Origin{Producer: "sam", To: "agent:nobody", CorrelationID: "c-signal"}, origin)

	// What was forgotten and sent again is not the letter's any more.
	m.now = m.now.Add(queue.DefaultKeepUnfetched)
	m.expire()
	seq = m.dead()[0].Seq
	m.pass(26 * time.Hour)
	sig.At = m.now
	m.submit(sig, transportpb.Answer_STATE_NEW)
	m.refuses(seq, "its sender has tried again since")
}

// TestRequeueOverCrashes wants one message, dead or waiting, in every image of the disk that a crash may leave between what the
// router forgets, a requeue, and what of it was synced.
func TestRequeueOverCrashes(t *testing.T) {
	ctx, now := t.Context(), time.Unix(1000, 0)
	fs := vfs.NewCrashableMem()
	on := func(fs vfs.FS) (*kv.Engine, store.Store) {
		s := openPebble(t, "db", pebble.Options{FS: fs})
		e, err := kv.Open(ctx, &counting{Store: s, noSync: true}, kv.Options{Now: func() time.Time { return now }})
		require.NoError(t, err)
		return e, s
	}
	e, s := on(fs)
	msg := message("lost")
	msg.At, msg.Envelope.TtlMs = now, 1
	_, err := queue.Submit(ctx, e, msg)
	require.NoError(t, err)
	now = now.Add(time.Minute)
	_, err = e.Expire(ctx, now)
	require.NoError(t, err)
	mark, err := s.Apply(new(store.Batch))
	require.NoError(t, err)
	require.NoError(t, s.Sync(ctx, mark))
	now = now.Add(48 * time.Hour)
	require.NoError(t, e.Prune(ctx, now, nobody))
	rng := rand.New(rand.NewPCG(1, 2))
	check := func() {
		for i := range 12 {
			again, s := on(fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[i%3], RNG: rng}))
			dead, err := again.DeadLetters(ctx, 9)
			require.NoError(t, err)
			if len(dead) == 1 {
				_, err := again.Requeue(ctx, dead[0].Seq, now)
				require.NoError(t, err)
			}
			waiting := 0
			require.NoError(t, again.Scan(ctx, func(d queue.Depth) error { waiting += d.Work; return nil }))
			require.Equal(t, 1, waiting)
			_, err = kv.Check(ctx, s, func(d *store.DamagedError) { t.Error(d) })
			require.NoError(t, err)
			require.NoError(t, s.Close())
		}
	}
	check()
	_, err = e.Requeue(ctx, 1, now)
	require.NoError(t, err)
	check()
	require.NoError(t, s.Close())
}

package kv_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// skewed is an engine whose clock jumps: m.now is what the clock shows, true what a clock would that never jumped. Times
// have no monotonic part, so that nothing but the wall clock counts, as after a restart.
type skewed struct {
	*morgue
	truth time.Time
}

func newSkewed(t *testing.T) *skewed {
	m := newMorgue(t, queue.Limits{})
	return &skewed{morgue: m, truth: m.now}
}

func (s *skewed) pass(d time.Duration) {
	s.Helper()
	s.now, s.truth = s.now.Add(d), s.truth.Add(d)
	s.expire()
	require.NoError(s, s.Prune(s.ctx, s.now, nobody))
}

// jump sets the clock, and starts the engine again if told to.
func (s *skewed) jump(by time.Duration, restart bool) {
	s.Helper()
	s.now = s.now.Add(by)
	if restart {
		s.reopen()
	}
	s.pass(0)
}

// submit sends work, or asks for it again.
func (s *skewed) submit(id string, ttl time.Duration) queue.Answer {
	s.Helper()
	m := message(id)
	m.At, m.Envelope.TtlMs, m.DeadlineLeft = s.now, uint64(ttl.Milliseconds()), 24*time.Hour
	a, err := queue.Submit(s.ctx, s, m)
	require.NoError(s, err)
	return a
}

func (s *skewed) state(id string) transportpb.Answer_State { return s.submit(id, 0).State }

// take leases everything that waits, and checks that numbers only grow.
func (s *skewed) take(h queue.Holder) []queue.Delivery {
	s.Helper()
	ds, err := s.Lease(s.ctx, queue.LeaseRequest{
		Holder: h, Addresses: []string{to}, Class: transportpb.Class_CLASS_WORK, MaxMessages: 100, MaxBytes: 1 << 30,
		Now: s.now, Until: s.now.Add(30 * time.Second),
	})
	require.NoError(s, err)
	return ds
}

const jumpSize = time.Hour

// jumps runs a test with the clock set an hour back and on, with and without a restart.
func jumps(t *testing.T, fn func(t *testing.T, by time.Duration, restart bool)) {
	for _, by := range []time.Duration{-jumpSize, jumpSize} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/restart=%t", by, restart), func(t *testing.T) { fn(t, by, restart) })
		}
	}
}

// TestJumpMovesExpiry moves the end of a time to live by the jump at most, wherever in its life it comes, and ends each
// message once.
func TestJumpMovesExpiry(t *testing.T) {
	jumps(t, func(t *testing.T, by time.Duration, restart bool) {
		for _, at := range []time.Duration{0, 20 * time.Minute, 100 * time.Minute} {
			s := newSkewed(t)
			began := s.truth
			const ttl = 2 * time.Hour
			s.submit("ttl", ttl)
			s.submit("forever", 0)
			s.pass(at)
			s.jump(by, restart)
			for s.truth.Sub(began) < ttl-jumpSize-time.Minute {
				require.Equal(t, transportpb.Answer_STATE_QUEUED, s.state("ttl"), "%v after it was sent", s.truth.Sub(began))
				s.pass(time.Minute)
			}
			for len(s.dead()) == 0 {
				require.LessOrEqual(t, s.truth.Sub(began), ttl+jumpSize)
				s.pass(time.Minute)
			}
			require.GreaterOrEqual(t, s.truth.Sub(began), ttl-jumpSize)
			require.Empty(t, s.dead()[0].Handouts)
			s.jump(-by, restart) // and back again
			s.pass(4 * time.Hour)
			require.Len(t, s.dead(), 1, "once")
			a := s.submit("ttl", ttl)
			require.Equal(t, transportpb.Answer_STATE_DONE, a.State)
			require.Equal(t, ack.TTLExpired, a.Code)
			require.Len(t, s.take(holder("alice")), 1, "what has no time to live waits")
			s.sound()
		}
	})
}

// TestJumpEndsLeases keeps no lease beyond its time and the jump, and counts no delivery that a jump has ended otherwise than
// any other.
func TestJumpEndsLeases(t *testing.T) {
	jumps(t, func(t *testing.T, by time.Duration, restart bool) {
		s := newSkewed(t)
		s.submit("a", 0)
		require.Len(t, s.take(holder("alice")), 1)
		began := s.truth
		s.jump(by, restart)
		for {
			ds := s.take(holder("bob"))
			if len(ds) == 1 {
				require.Equal(t, 2, ds[0].Deliveries)
				ok, err := s.Custody(s.ctx, holder("bob"), ds[0].Seq, "a")
				require.NoError(t, err)
				require.True(t, ok)
				break
			}
			require.LessOrEqual(t, s.truth.Sub(began), jumpSize+30*time.Second, "the lease does not end")
			s.pass(10 * time.Second)
		}
		require.Equal(t, transportpb.Answer_STATE_DELIVERED, s.state("a"))
		s.sound()
	})
}

// TestJumpKeepsOutcomes answers for an ended operation with its outcome, for its window less the jump at least, and gives
// numbers that only grow.
func TestJumpKeepsOutcomes(t *testing.T) {
	jumps(t, func(t *testing.T, by time.Duration, restart bool) {
		s := newSkewed(t)
		s.submit("a", 0)
		d := s.take(holder("alice"))[0]
		ok, err := s.Custody(s.ctx, holder("alice"), d.Seq, "a")
		require.NoError(t, err)
		require.True(t, ok)
		s.jump(by, restart)
		sig := signal("ack-a", "alice", "agent:sam")
		sig.At, sig.From, sig.Ends = s.now, holder("alice"), &queue.Outcome{MessageID: "a", Stage: ack.Fulfilled}
		_, err = queue.Submit(s.ctx, s, sig)
		require.NoError(t, err)
		ended := s.truth
		s.jump(-by, restart)
		s.jump(by, restart)
		seq := d.Seq
		for n := 0; s.truth.Sub(ended) < 24*time.Hour+queue.DefaultWindow-jumpSize-time.Minute; n++ {
			require.Equal(t, transportpb.Answer_STATE_DONE, s.state("a"), "%v after its outcome", s.truth.Sub(ended))
			if n%10 == 0 {
				s.submit(fmt.Sprint("b", n), 0)
				for _, d := range s.take(holder("alice")) {
					require.Greater(t, d.Seq, seq)
					seq = d.Seq
					_, err := s.Custody(s.ctx, holder("alice"), d.Seq, d.Envelope.GetMessageId())
					require.NoError(t, err)
				}
			}
			s.pass(30 * time.Minute)
		}
		s.pass(2*jumpSize + time.Hour)
		require.Equal(t, transportpb.Answer_STATE_NEW, s.state("a"), "forgotten in the end")
		s.sound()
	})
}

// TestJumpKeepsUnfetched gives signals a day to be fetched, less the jump at most, and dead letters their week.
func TestJumpKeepsUnfetched(t *testing.T) {
	jumps(t, func(t *testing.T, by time.Duration, restart bool) {
		s := newSkewed(t)
		sig := signal("signal", "sam", "agent:alice")
		sig.At = s.now
		_, err := queue.Submit(s.ctx, s, sig)
		require.NoError(t, err)
		s.jump(by, restart)
		s.pass(queue.DefaultKeepUnfetched - jumpSize - time.Minute)
		require.Empty(t, s.dead())
		s.pass(2*jumpSize + time.Minute)
		require.Len(t, s.dead(), 1)
		s.jump(-by, restart)
		s.pass(queue.DefaultKeepDead - 3*jumpSize)
		require.Len(t, s.dead(), 1)
		s.pass(6 * jumpSize)
		require.Empty(t, s.dead())
		s.sound()
	})
}

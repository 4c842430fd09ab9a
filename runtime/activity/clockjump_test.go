package activity_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

const jump = time.Hour

// skewed is a buffer whose clock is set back or on, while truth goes on.
type skewed struct {
	*ground
	truth time.Time
}

func (s *skewed) pass(d time.Duration) {
	s.Helper()
	s.now, s.truth = s.now.Add(d), s.truth.Add(d)
	_, err := s.Prune(s.ctx)
	require.NoError(s, err)
}

// jumps runs a test with the clock set an hour back and on, with and without a restart after it.
func jumps(t *testing.T, cfg activity.Config, fn func(t *testing.T, s *skewed, by time.Duration, set func(time.Duration))) {
	for _, by := range []time.Duration{-jump, jump} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/restart=%t", by, restart), func(t *testing.T) {
				t.Parallel()
				g := memoryGround(t, cfg)
				fn(t, &skewed{g, g.now}, by, func(by time.Duration) {
					g.now = g.now.Add(by)
					if restart {
						g.reopen()
					}
				})
				g.reopen()
			})
		}
	}
}

// TestJumpKeepsKeys answers for an operation with a key of its own, and for a received message, with the outcome that they
// had, for their windows less the jump at least, and lets them go in the end.
func TestJumpKeepsKeys(t *testing.T) {
	t.Parallel()
	const window = 4 * time.Hour
	jumps(t, activity.Config{DedupWindow: window, InKeep: 5 * time.Hour, KeepAge: time.Hour}, func(t *testing.T, s *skewed, by time.Duration, set func(time.Duration)) {
		keyed := func(r *storagepb.OutRecord) {
			r.Token, r.KeyKind = "key", storagepb.KeyKind_KEY_KIND_CALLER
		}
		rec, id := s.send(keyed)
		first := s.arrival("received", 0)
		_, in := s.receive(first)
		s.ack(id, ack.Fulfilled, 0, "")
		require.NoError(t, s.HandledOut(rec.GetSequence()))
		done := s.finish(in.GetSequence(), ack.Fulfilled, 0, "")
		for _, owed := range done.GetOwed() {
			require.NoError(t, s.OwedSentIn(in.GetSequence(), owed.GetMessageId()))
		}
		ended := s.truth
		set(by)
		seq := rec.GetSequence()
		for s.truth.Sub(ended) < 5*time.Hour-jump-10*time.Minute {
			if s.truth.Sub(ended) < window-jump {
				again, existed, err := s.RecordOut(s.ctx, s.draft(keyed))
				require.NoError(t, err)
				require.True(t, existed, "%v after the outcome", s.truth.Sub(ended))
				require.Equal(t, ack.Fulfilled, ack.Stage(again.GetOutcome().GetStage()))
			}
			repeated := s.arrival("received", 0)
			repeated.Envelope.MessageId, repeated.Envelope.SequenceNumber = first.Envelope.GetMessageId(), first.Envelope.GetSequenceNumber()
			v, _ := s.receive(repeated)
			require.Equal(t, activity.Repeated, v, "%v after the outcome", s.truth.Sub(ended))
			other, _ := s.send()
			require.Greater(t, other.GetSequence(), seq, "numbers only grow")
			seq = other.GetSequence()
			s.pass(10 * time.Minute)
		}
		set(-by)
		s.pass(5*time.Hour + 2*jump)
		_, existed, err := s.RecordOut(s.ctx, s.draft(keyed))
		require.NoError(t, err)
		require.False(t, existed, "forgotten in the end")
		v, _ := s.receive(s.arrival("received", 0))
		require.Equal(t, activity.New, v)
	})
}

// TestJumpMovesAttempts sets the time of the next attempt when the last one failed, on the clock as it is then, keeps the one
// outcome of an operation whatever the clock says, and never removes what is open.
func TestJumpMovesAttempts(t *testing.T) {
	t.Parallel()
	jumps(t, activity.Config{}, func(t *testing.T, s *skewed, by time.Duration, set func(time.Duration)) {
		rec, id := s.send(func(r *storagepb.OutRecord) { r.Deadline = nil })
		_, in := s.receive(s.arrival("open", 0))
		set(by)
		change := s.ack(id, ack.Failed, ack.InternalError, "")
		require.True(t, change.Retry)
		require.Equal(t, s.now.Add(time.Second), change.Record.GetNextAttemptAt().AsTime())
		set(-by)
		s.pass(100 * time.Hour)
		require.Len(t, s.OpenOut(), 1)
		require.Len(t, s.OpenIn(), 1)
		id = s.attempt(rec.GetSequence())
		set(by)
		require.True(t, s.ack(id, ack.Fulfilled, 0, "").Finished)
		set(-by)
		late := s.ack(id, ack.Failed, ack.InternalError, "late")
		require.True(t, late.Late)
		require.Equal(t, ack.Fulfilled, ack.Stage(s.outNow(rec.GetSequence()).GetOutcome().GetStage()))

		require.NoError(t, s.end(in.GetSequence(), ack.Fulfilled, nil))
		require.ErrorIs(t, s.end(in.GetSequence(), ack.Failed, nil), activity.ErrFinished)
	})
}

// TestJumpKeepsResults keeps a result that nobody has handled for a day, less the jump at most.
func TestJumpKeepsResults(t *testing.T) {
	t.Parallel()
	jumps(t, activity.Config{}, func(t *testing.T, s *skewed, by time.Duration, set func(time.Duration)) {
		rec, id := s.send()
		s.ack(id, ack.Rejected, ack.ValidationError, "no")
		set(by)
		s.pass(activity.DefaultKeepAge - jump - time.Minute)
		require.Equal(t, []uint64{rec.GetSequence()}, s.unhandled("a.S/M"))
		s.pass(2*jump + 2*time.Minute)
		require.Empty(t, s.unhandled("a.S/M"))
	})
}

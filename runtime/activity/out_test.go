package activity_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

func TestOneWayLife(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		d := g.draft()
		rec, existed, err := g.RecordOut(g.ctx, d)
		require.NoError(t, err)
		assert.False(t, existed)
		assert.EqualValues(t, 7, rec.GetPayloadBytes())
		assert.Equal(t, g.now, rec.GetCreatedAt().AsTime())
		require.Len(t, rec.GetAttempts(), 1)
		step()
		seq := rec.GetSequence()
		assert.Equal(t, seq, g.LowestOpenOut())

		g.now = g.now.Add(time.Second)
		accepted, err := g.AcceptedOut(seq, d.MessageID)
		require.NoError(t, err)
		assert.Equal(t, g.now, accepted.GetAttempts()[0].GetAcceptedAt().AsTime())
		assert.Nil(t, rec.GetAttempts()[0].GetAcceptedAt(), "records are snapshots")
		step()

		c := g.ack(d.MessageID, ack.Received, 0, "")
		assert.Equal(t, activity.OutChange{Record: c.Record}, c)
		step()
		assert.True(t, g.ack(d.MessageID, ack.Received, 0, "").Duplicate)
		g.now = g.now.Add(time.Second)
		c = g.ack(d.MessageID, ack.Read, 0, "")
		assert.Equal(t, g.now, c.Record.GetAttempts()[0].GetReadAt().AsTime())
		assert.True(t, g.ack(d.MessageID, ack.Received, 0, "").Duplicate, "stages move only forward")
		step()

		c = g.ack(d.MessageID, ack.Fulfilled, 0, "fine")
		assert.True(t, c.OutcomeSet)
		assert.True(t, c.Finished)
		o := c.Record.GetOutcome()
		assert.True(t, proto.Equal(&storagepb.Outcome{
			Stage: commonpb.AckStage_FULFILLED, Note: "fine", From: "peer", MessageId: d.MessageID, At: o.GetAt(),
		}, o))
		assert.Equal(t, g.now, o.GetAt().AsTime())
		step()
		assert.Empty(t, g.OpenOut())
		assert.Greater(t, g.LowestOpenOut(), seq)
		assert.True(t, g.ack(d.MessageID, ack.Fulfilled, 0, "").Duplicate)
		assert.True(t, g.ack(d.MessageID, ack.Fulfilled, ack.DuplicateDetected, "").Duplicate)
		assert.True(t, g.ack(d.MessageID, ack.Received, 0, "").Duplicate)
		_, err = g.AcceptedOut(seq, d.MessageID)
		require.ErrorIs(t, err, activity.ErrFinished)
		_, err = g.AttemptOut(g.ctx, seq, "m-new")
		require.ErrorIs(t, err, activity.ErrFinished)

		for _, find := range []func() (*storagepb.OutRecord, error){
			func() (*storagepb.OutRecord, error) { return g.Out(seq) },
			func() (*storagepb.OutRecord, error) { return g.OutByMessageID(d.MessageID) },
			func() (*storagepb.OutRecord, error) {
				recs, err := g.OutByToken(rec.GetToken())
				require.Len(t, recs, 1)
				return recs[0], err
			},
			func() (*storagepb.OutRecord, error) {
				recs, err := g.OutByCorrelation(rec.GetCorrelationId())
				require.Len(t, recs, 1)
				return recs[0], err
			},
		} {
			found, err := find()
			require.NoError(t, err)
			assert.True(t, proto.Equal(c.Record, found))
		}
		b, err := g.OutBody(seq)
		require.NoError(t, err)
		assert.Equal(t, "request", string(b.GetPayload()))
		_, err = g.OutReply(seq)
		require.ErrorIs(t, err, activity.ErrUnknown)

		assert.Equal(t, []uint64{seq}, g.unhandled("a.S/M"))
		assert.Empty(t, g.unhandled("a.S/Other"))
		step()
		require.NoError(t, g.HandledOut(seq))
		require.NoError(t, g.HandledOut(seq))
		step()
		assert.Empty(t, g.unhandled("a.S/M"))
		assert.True(t, g.outNow(seq).GetHandled())
	})
}

func TestUnknownOut(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{})
	_, err := g.AckOut(g.ctx, ack.Ack{ForMessageID: "x", Stage: ack.Received}, "p")
	require.ErrorIs(t, err, activity.ErrUnknown)
	_, err = g.AckOut(g.ctx, ack.Ack{ForMessageID: "x", Stage: 7}, "p")
	require.ErrorIs(t, err, &ack.Error{Code: ack.ValidationError})
	_, err = g.AttemptOut(g.ctx, 7, "m")
	require.ErrorIs(t, err, activity.ErrUnknown)
	_, err = g.AcceptedOut(7, "m")
	require.ErrorIs(t, err, activity.ErrUnknown)
	_, err = g.FinishOut(g.ctx, 7, outcome(ack.TimedOut, 0, ""))
	require.ErrorIs(t, err, activity.ErrUnknown)
	_, err = g.FinishOut(g.ctx, 7, outcome(ack.Read, 0, ""))
	require.ErrorIs(t, err, &ack.Error{Code: ack.ValidationError})
	_, err = g.FailAttemptOut(g.ctx, 7, "m", &ack.Error{Stage: ack.Failed})
	require.ErrorIs(t, err, activity.ErrUnknown)
	_, err = g.FailAttemptOut(g.ctx, 7, "m", nil)
	require.ErrorIs(t, err, &ack.Error{Code: ack.ValidationError})
	_, err = g.ReplyOut(g.ctx, activity.Reply{Token: "t", CorrelationID: "c", MessageID: "m"})
	require.ErrorIs(t, err, activity.ErrUnknown)
	require.ErrorIs(t, g.HandledOut(7), activity.ErrUnknown)
	_, err = g.Out(7)
	require.ErrorIs(t, err, activity.ErrUnknown)
	_, err = g.OutByMessageID("x")
	require.ErrorIs(t, err, activity.ErrUnknown)
	_, err = g.OutBody(7)
	require.ErrorIs(t, err, activity.ErrUnknown)

	rec, id := g.send()
	require.ErrorIs(t, g.HandledOut(rec.GetSequence()), activity.ErrOpen)
	_, err = g.AcceptedOut(rec.GetSequence(), "other")
	require.ErrorIs(t, err, activity.ErrUnknown)
	_, err = g.FailAttemptOut(g.ctx, rec.GetSequence(), "other", &ack.Error{Stage: ack.Failed})
	require.ErrorIs(t, err, activity.ErrUnknown)
	for name, d := range map[string]activity.Draft{
		"no record":  {MessageID: "m"},
		"no id":      {Record: &storagepb.OutRecord{Token: "t"}},
		"no token":   {Record: &storagepb.OutRecord{}, MessageID: "m"},
		"id in use":  {Record: &storagepb.OutRecord{Token: "t"}, MessageID: id},
		"not UTF-8":  {Record: &storagepb.OutRecord{Token: "t", Exchange: "\xff"}, MessageID: "m"},
		"not UTF-8 ": {Record: &storagepb.OutRecord{Token: "t"}, Body: &storagepb.Body{ContentType: "\xff"}, MessageID: "m"},
	} {
		_, _, err := g.RecordOut(g.ctx, d)
		require.Error(t, err, name)
		assert.Len(t, g.OpenOut(), 1, name)
	}
	_, err = g.AttemptOut(g.ctx, rec.GetSequence(), "")
	require.ErrorIs(t, err, &ack.Error{Code: ack.ValidationError})
	other, _ := g.send()
	_, err = g.AttemptOut(g.ctx, other.GetSequence(), id)
	require.ErrorIs(t, err, &ack.Error{Code: ack.ValidationError})
}

func TestRetry(t *testing.T) {
	t.Parallel()
	for name, jitter := range map[string]float64{"half": 0, "full": 1, "between": 0.5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wait := func(full time.Duration) time.Duration {
				return full/2 + time.Duration(float64(full/2)*jitter)
			}
			each(t, activity.Config{Jitter: func() float64 { return jitter }}, func(t *testing.T, g *ground, step func()) {
				rec, id := g.send(func(r *storagepb.OutRecord) { r.Retry.MaxAttempts = 6 })
				seq := rec.GetSequence()
				for n, full := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second} {
					c := g.ack(id, ack.Rejected, ack.BufferFull, "full")
					assert.True(t, c.Retry)
					assert.False(t, c.OutcomeSet)
					assert.False(t, c.Finished)
					assert.Equal(t, g.now.Add(wait(full)), c.Record.GetNextAttemptAt().AsTime(), "wait %d", n+1)
					at := c.Record.GetAttempts()[n]
					assert.Equal(t, commonpb.AckStage_REJECTED, at.GetStage())
					assert.Equal(t, commonpb.ErrorCode_BUFFER_FULL, at.GetCode())
					assert.Equal(t, "full", at.GetNote())
					step()
					again := g.ack(id, ack.Rejected, ack.BufferFull, "full")
					assert.True(t, again.Duplicate)
					id = g.attempt(seq)
					step()
					now := g.outNow(seq)
					assert.Nil(t, now.GetNextAttemptAt())
					assert.EqualValues(t, n+1, now.GetAttempts()[n+1].GetRetryCount())
					repeated, err := g.AttemptOut(g.ctx, seq, id)
					require.NoError(t, err)
					assert.Len(t, repeated.GetAttempts(), n+2)
				}
				c := g.ack(id, ack.Rejected, ack.BufferFull, "full")
				assert.True(t, c.Finished, "no attempt is left")
				assert.False(t, c.Retry)
				assert.Equal(t, commonpb.AckStage_REJECTED, c.Record.GetOutcome().GetStage())
				assert.Nil(t, c.Record.GetNextAttemptAt())
			})
		})
	}
}

func TestFailureDecisions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code  ack.Code
		note  string
		after time.Duration
		no    bool // no deadline
		retry bool
	}{
		"retryable":               {code: ack.InternalError, retry: true},
		"other code":              {code: ack.ValidationError},
		"poison":                  {code: ack.InternalError, note: "poison: five runs"},
		"deadline not yet":        {code: ack.InternalError, after: time.Hour - 1, retry: true},
		"deadline":                {code: ack.InternalError, after: time.Hour},
		"without deadline, later": {code: ack.InternalError, after: 100 * time.Hour, no: true, retry: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, local := range []bool{false, true} {
				g := memoryGround(t, activity.Config{})
				rec, id := g.send(func(r *storagepb.OutRecord) {
					if tc.no {
						r.Deadline = nil
					}
				})
				g.now = g.now.Add(tc.after)
				var c activity.OutChange
				if local {
					var err error
					c, err = g.FailAttemptOut(g.ctx, rec.GetSequence(), id, &ack.Error{Stage: ack.Failed, Code: tc.code, Note: tc.note})
					require.NoError(t, err)
				} else {
					c = g.ack(id, ack.Failed, tc.code, tc.note)
				}
				assert.Equal(t, tc.retry, c.Retry)
				assert.Equal(t, !tc.retry, c.Finished)
				assert.Equal(t, !tc.retry, c.OutcomeSet)
				g.reopen()
			}
		})
	}
}

func TestSeveralAttempts(t *testing.T) {
	t.Parallel()
	cfg := activity.Config{}
	t.Run("FULFILLED of an older one wins", func(t *testing.T) {
		t.Parallel()
		each(t, cfg, func(t *testing.T, g *ground, step func()) {
			rec, first := g.send()
			second := g.attempt(rec.GetSequence())
			step()
			c := g.ack(first, ack.Fulfilled, 0, "")
			assert.True(t, c.Finished)
			assert.Equal(t, first, c.Record.GetOutcome().GetMessageId())
			step()
			c = g.ack(second, ack.Fulfilled, ack.DuplicateDetected, "")
			assert.True(t, c.Duplicate)
			assert.Equal(t, commonpb.AckStage_FULFILLED, g.outNow(rec.GetSequence()).GetAttempts()[1].GetStage())
		})
	})
	t.Run("FULFILLED of a closed one wins", func(t *testing.T) {
		t.Parallel()
		each(t, cfg, func(t *testing.T, g *ground, step func()) {
			rec, first := g.send()
			require.True(t, g.ack(first, ack.Failed, ack.AgentUnavailable, "receiver_lost_state").Retry)
			step()
			c := g.ack(first, ack.Fulfilled, 0, "")
			assert.True(t, c.OutcomeSet)
			assert.True(t, c.Finished)
			assert.Nil(t, c.Record.GetNextAttemptAt())
			assert.Equal(t, commonpb.AckStage_FAILED, c.Record.GetAttempts()[0].GetStage(), "an attempt has one end")
			step()
			assert.Empty(t, g.OpenOut())
			assert.Equal(t, rec.GetSequence(), c.Record.GetSequence())
		})
	})
	t.Run("a failure of an older one waits for the newer", func(t *testing.T) {
		t.Parallel()
		each(t, cfg, func(t *testing.T, g *ground, step func()) {
			rec, first := g.send(func(r *storagepb.OutRecord) { r.Retry.MaxAttempts = 2 })
			second := g.attempt(rec.GetSequence())
			c := g.ack(first, ack.Failed, ack.InternalError, "")
			assert.Equal(t, activity.OutChange{Record: c.Record}, c)
			assert.Nil(t, c.Record.GetNextAttemptAt())
			step()
			c = g.ack(second, ack.Failed, ack.InternalError, "")
			assert.True(t, c.Finished)
		})
	})
	t.Run("the newest fails while an older is open", func(t *testing.T) {
		t.Parallel()
		each(t, cfg, func(t *testing.T, g *ground, step func()) {
			rec, first := g.send(func(r *storagepb.OutRecord) { r.Retry.MaxAttempts = 2 })
			second := g.attempt(rec.GetSequence())
			c := g.ack(second, ack.Failed, ack.InternalError, "")
			assert.Equal(t, activity.OutChange{Record: c.Record}, c, "no attempt is left, but one is open")
			step()
			assert.True(t, g.ack(first, ack.Failed, ack.InternalError, "").Finished)
		})
	})
	t.Run("a final failure of an older one ends it", func(t *testing.T) {
		t.Parallel()
		each(t, cfg, func(t *testing.T, g *ground, step func()) {
			rec, first := g.send()
			g.attempt(rec.GetSequence())
			assert.True(t, g.ack(first, ack.Rejected, ack.PermissionDenied, "").Finished)
		})
	})
	t.Run("a contradiction is kept beside", func(t *testing.T) {
		t.Parallel()
		each(t, cfg, func(t *testing.T, g *ground, step func()) {
			_, first := g.send()
			g.ack(first, ack.Failed, ack.InternalError, "")
			c := g.ack(first, ack.Rejected, ack.PermissionDenied, "no")
			assert.True(t, c.Late)
			assert.False(t, c.OutcomeSet)
			require.Len(t, c.Record.GetLate(), 1)
			step()
			assert.True(t, g.ack(first, ack.Rejected, ack.PermissionDenied, "no").Duplicate)
			assert.Len(t, g.OpenOut(), 1)
		})
	})
}

func TestOneOutcome(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		rec, id := g.send()
		c, err := g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.TimedOut, ack.AckTimeout, "outcome_unknown"))
		require.NoError(t, err)
		assert.True(t, c.OutcomeSet)
		assert.True(t, c.Finished)
		assert.Equal(t, commonpb.AckStage_TIMED_OUT, c.Record.GetAttempts()[0].GetStage())
		step()
		c, err = g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.TimedOut, ack.AckTimeout, ""))
		require.NoError(t, err)
		assert.True(t, c.Duplicate)
		late := g.ack(id, ack.Fulfilled, 0, "")
		assert.True(t, late.Late)
		assert.False(t, late.OutcomeSet)
		assert.Equal(t, commonpb.AckStage_TIMED_OUT, late.Record.GetOutcome().GetStage())
		require.Len(t, late.Record.GetLate(), 1)
		step()
		assert.True(t, g.ack(id, ack.Fulfilled, 0, "").Duplicate)
		c, err = g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.Failed, ack.InternalError, ""))
		require.NoError(t, err)
		assert.True(t, c.Late)
		assert.Equal(t, commonpb.AckStage_TIMED_OUT, c.Record.GetOutcome().GetStage())
		for n := range 20 {
			c = g.ack(id, ack.Failed, ack.Code(100+n), "")
			assert.True(t, c.Late)
		}
		assert.Len(t, c.Record.GetLate(), 16, "what is kept beside is bounded")
		step()
	})
}

func TestCapacityOut(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{MaxOut: 10}, func(t *testing.T, g *ground, step func()) {
		var ids []string
		for range 10 {
			_, id := g.send()
			ids = append(ids, id)
		}
		assert.True(t, g.Stats().Warning)
		step()
		_, _, err := g.RecordOut(g.ctx, g.draft())
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.BufferFull})
		assert.True(t, g.ack(ids[3], ack.Fulfilled, 0, "").Finished, "acknowledgements are never refused")
		_, _, err = g.RecordOut(g.ctx, g.draft())
		require.NoError(t, err)
		for _, id := range ids[:3] {
			g.ack(id, ack.Fulfilled, 0, "")
		}
		assert.False(t, g.Stats().Warning)
		assert.Equal(t, 7, g.Stats().OutActive)
		assert.Equal(t, 4, g.Stats().OutUnhandled)
	})
}

func TestSequencesNeverRepeat(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{KeepBodies: 1, KeepAge: time.Second, DedupWindow: time.Second, InKeep: time.Second}, func(t *testing.T, g *ground, step func()) {
		last := uint64(0)
		for range 30 {
			rec, id := g.send()
			require.Greater(t, rec.GetSequence(), last)
			last = rec.GetSequence()
			g.ack(id, ack.Fulfilled, 0, "")
			require.NoError(t, g.HandledOut(last))
			g.now = g.now.Add(time.Hour)
			_, err := g.Prune(g.ctx)
			require.NoError(t, err)
			step()
			assert.Greater(t, g.LowestOpenOut(), last)
		}
		assert.Zero(t, g.Stats().OutFinished)
	})
}

func TestOrderOfOpen(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		var want []uint64
		for n := range 9 {
			rec, id := g.send()
			if n%3 == 1 {
				g.ack(id, ack.Fulfilled, 0, "")
			} else {
				want = append(want, rec.GetSequence())
			}
		}
		step()
		assert.Equal(t, want, sequences(g.OpenOut()))
		assert.Equal(t, want[0], g.LowestOpenOut())
		_, err := g.FinishOut(g.ctx, want[0], outcome(ack.Rejected, ack.NoRoute, ""))
		require.NoError(t, err)
		assert.Equal(t, want[1], g.LowestOpenOut())
	})
}

func TestUnhandledOrderAndStop(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		var ids []string
		var seqs []uint64
		for range 150 { // more than a page
			rec, id := g.send()
			ids, seqs = append(ids, id), append(seqs, rec.GetSequence())
		}
		for n := range ids { // they end the other way round
			g.ack(ids[len(ids)-1-n], ack.Fulfilled, 0, "")
		}
		other, id := g.send(func(r *storagepb.OutRecord) { r.Exchange = "a.S/N" })
		g.ack(id, ack.Fulfilled, 0, "")
		step()
		got := g.unhandled("a.S/M")
		require.Len(t, got, 150)
		for n := range got {
			assert.Equal(t, seqs[len(seqs)-1-n], got[n])
		}
		assert.Equal(t, []uint64{other.GetSequence()}, g.unhandled("a.S/N"))
		n := 0
		require.NoError(t, g.UnhandledOut("a.S/M", func(r *storagepb.OutRecord) error {
			if n++; n == 100 {
				return store.ErrStop
			}
			return g.HandledOut(r.GetSequence())
		}))
		assert.Len(t, g.unhandled("a.S/M"), 51)
		require.ErrorIs(t, g.UnhandledOut("a.S/M", func(*storagepb.OutRecord) error { return assert.AnError }), assert.AnError)
	})
}

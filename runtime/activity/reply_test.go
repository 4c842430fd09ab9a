package activity_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

func (g *ground) reply(token, talk, id, text string) (activity.OutChange, error) {
	return g.ReplyOut(g.ctx, activity.Reply{Token: token, CorrelationID: talk, From: "peer", MessageID: id, Body: body(text)})
}

func TestReplyEnds(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"acknowledgement first": true, "reply first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
				rec, id := g.send(wantsReply)
				seq := rec.GetSequence()
				if first {
					c := g.ack(id, ack.Fulfilled, 0, "")
					assert.True(t, c.OutcomeSet)
					assert.False(t, c.Finished, "the reply is missing")
					step()
					assert.Equal(t, []uint64{seq}, sequences(g.OpenOut()))
					assert.True(t, g.ack(id, ack.Fulfilled, 0, "").Duplicate)
					_, err := g.AttemptOut(g.ctx, seq, "m-more")
					require.ErrorIs(t, err, activity.ErrFinished)
				}
				c, err := g.reply(rec.GetToken(), "other talk", "reply-1", "answer")
				require.NoError(t, err)
				assert.Equal(t, !first, c.OutcomeSet)
				assert.True(t, c.Finished)
				assert.True(t, c.Record.GetHasReply())
				assert.Equal(t, commonpb.AckStage_FULFILLED, c.Record.GetOutcome().GetStage())
				assert.Equal(t, "peer", c.Record.GetOutcome().GetFrom())
				assert.Equal(t, id, c.Record.GetOutcome().GetMessageId())
				step()
				got, err := g.OutReply(seq)
				require.NoError(t, err)
				assert.Equal(t, "answer", string(got.GetPayload()))
				assert.True(t, g.ack(id, ack.Fulfilled, 0, "").Duplicate)

				for _, again := range []struct{ token, talk, id, text string }{
					{rec.GetToken(), rec.GetCorrelationId(), "reply-1", "answer"},
					{rec.GetToken(), "", "reply-2", "answer"},
					{"", rec.GetCorrelationId(), "reply-1", "answer"},
				} {
					c, err := g.reply(again.token, again.talk, again.id, again.text)
					require.NoError(t, err)
					assert.True(t, c.Duplicate)
				}
				c, err = g.reply(rec.GetToken(), "", "reply-3", "another answer")
				require.NoError(t, err)
				assert.True(t, c.Late)
				require.Len(t, c.Record.GetLate(), 1)
				assert.Equal(t, "another answer", string(c.Record.GetLate()[0].GetReply().GetPayload()))
				step()
				got, err = g.OutReply(seq)
				require.NoError(t, err)
				assert.Equal(t, "answer", string(got.GetPayload()), "the first one stays")
			})
		})
	}
}

func TestReplyAfterClosedAttempt(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		rec, id := g.send(wantsReply)
		require.True(t, g.ack(id, ack.Failed, ack.InternalError, "").Retry)
		step()
		c, err := g.reply(rec.GetToken(), "", "reply", "answer")
		require.NoError(t, err)
		assert.True(t, c.Finished)
		assert.Equal(t, commonpb.AckStage_FAILED, c.Record.GetAttempts()[0].GetStage())
		assert.Nil(t, c.Record.GetNextAttemptAt())
	})
}

func TestReplyMissing(t *testing.T) {
	t.Parallel()
	for name, note := range map[string]string{"": "reply_missing", "fine": "fine; reply_missing"} {
		t.Run("note "+name, func(t *testing.T) {
			t.Parallel()
			each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
				rec, id := g.send(wantsReply)
				g.ack(id, ack.Fulfilled, 0, name)
				c, err := g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.Fulfilled, 0, ""))
				require.NoError(t, err)
				assert.True(t, c.Duplicate, "FULFILLED does not end a request")
				step()
				c, err = g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.TimedOut, ack.AckTimeout, ""))
				require.NoError(t, err)
				assert.True(t, c.Finished)
				assert.False(t, c.OutcomeSet)
				assert.Equal(t, commonpb.AckStage_FULFILLED, c.Record.GetOutcome().GetStage())
				assert.Equal(t, note, c.Record.GetOutcome().GetNote())
				step()
				require.NoError(t, g.HandledOut(rec.GetSequence()))
				assert.Empty(t, g.unhandled("a.S/M"))
				step()
				c, err = g.reply(rec.GetToken(), "", "reply", "answer")
				require.NoError(t, err)
				assert.True(t, c.Late)
				assert.Equal(t, "answer", string(c.Record.GetLate()[0].GetReply().GetPayload()))
				step()
				assert.Equal(t, []uint64{rec.GetSequence()}, g.unhandled("a.S/M"), "a late reply waits for being handled")
				c, err = g.reply(rec.GetToken(), "", "reply", "answer")
				require.NoError(t, err)
				assert.True(t, c.Duplicate)
				require.NoError(t, g.HandledOut(rec.GetSequence()))
				step()
				assert.Empty(t, g.unhandled("a.S/M"))
				assert.Zero(t, g.Stats().OutUnhandled)
			})
		})
	}
}

func TestLateReplyAfterTimeout(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		rec, _ := g.send(wantsReply)
		_, err := g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.TimedOut, ack.AckTimeout, ""))
		require.NoError(t, err)
		c, err := g.reply(rec.GetToken(), "", "reply-1", strings.Repeat("a", 5<<20))
		require.NoError(t, err)
		assert.True(t, c.Late)
		assert.Equal(t, commonpb.AckStage_TIMED_OUT, c.Record.GetOutcome().GetStage())
		step()
		c, err = g.reply(rec.GetToken(), "", "reply-2", strings.Repeat("b", 5<<20))
		require.NoError(t, err)
		assert.True(t, c.Late)
		assert.Len(t, c.Record.GetLate(), 1, "what is kept beside is bounded in bytes too")
	})
}

func TestReplyWithoutToken(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		talk := func(r *storagepb.OutRecord) { r.CorrelationId = "talk" }
		first, _ := g.send(wantsReply, talk)
		second, _ := g.send(wantsReply, talk)
		step()
		_, err := g.reply("", "talk", "reply-1", "answer")
		require.ErrorIs(t, err, activity.ErrUnknown, "two are open")
		_, err = g.reply("unknown", "", "reply-1", "answer")
		require.ErrorIs(t, err, activity.ErrUnknown)
		c, err := g.reply(second.GetToken(), "talk", "reply-2", "answer")
		require.NoError(t, err)
		assert.Equal(t, second.GetSequence(), c.Record.GetSequence())
		step()
		c, err = g.reply("unknown", "talk", "reply-1", "answer")
		require.NoError(t, err)
		assert.Equal(t, first.GetSequence(), c.Record.GetSequence())
		assert.True(t, c.Finished)
		step()
		_, err = g.reply("", "talk", "reply-9", "answer")
		require.ErrorIs(t, err, activity.ErrUnknown, "none is open")
		c, err = g.reply("", "talk", "reply-1", "answer")
		require.NoError(t, err)
		assert.True(t, c.Duplicate)

		g.send(talk)
		_, err = g.reply("", "talk", "reply-9", "answer")
		require.ErrorIs(t, err, activity.ErrUnknown, "the only open one wants no reply")
	})
}

func TestReplyToOneKeyAtSeveralAddresses(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		key := func(to, talk string) func(*storagepb.OutRecord) {
			return func(r *storagepb.OutRecord) {
				r.Token, r.KeyKind, r.WantsReply = "key", storagepb.KeyKind_KEY_KIND_CALLER, true
				r.To, r.CorrelationId = to, talk
			}
		}
		a, _ := g.send(key("agent:a", "talk-a"))
		b, _ := g.send(key("agent:b", "talk-b"))
		step()
		_, err := g.reply("key", "talk-c", "reply-c", "c")
		require.ErrorIs(t, err, activity.ErrUnknown)
		c, err := g.reply("key", "talk-b", "reply-b", "b")
		require.NoError(t, err)
		assert.Equal(t, b.GetSequence(), c.Record.GetSequence())
		step()
		recs, err := g.OutByToken("key")
		require.NoError(t, err)
		assert.Equal(t, []uint64{a.GetSequence(), b.GetSequence()}, sequences(recs))
		c, err = g.reply("key", "talk-a", "reply-a", "a")
		require.NoError(t, err)
		assert.Equal(t, a.GetSequence(), c.Record.GetSequence())
		c, err = g.reply("key", "talk-b", "reply-b", "b")
		require.NoError(t, err)
		assert.True(t, c.Duplicate)
		_, err = g.reply("key", "talk-c", "reply-c", "c")
		require.ErrorIs(t, err, activity.ErrUnknown)
	})
}

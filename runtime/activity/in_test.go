package activity_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

func TestReceivedLife(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		a := g.arrival("token", 0)
		a.AwaitsCustody = true
		v, rec := g.receive(a)
		seq := rec.GetSequence()
		assert.Equal(t, activity.New, v)
		assert.True(t, proto.Equal(&storagepb.InRecord{
			Sequence: seq, Token: "token", From: "producer", To: "agent:me", RouterStoreId: "router", RouterSeq: 3,
			Aliases: []*storagepb.Alias{{MessageId: a.Envelope.GetMessageId()}},
			Class:   transportpb.Class_CLASS_WORK, MessageType: commonpb.MessageType_DATA, CorrelationId: "talk", ProducerSequence: 9,
			Exchange: "a.S/M", Stage: commonpb.AckStage_RECEIVED, ReceivedAt: timestamppb.New(g.now), TtlMs: 500, PayloadBytes: 4,
			Traceparent: "tp", ParentCorrelationId: "parent", AwaitsCustody: true, RepoId: "repo", WorktreeId: "tree",
			ContentType: "application/protobuf",
		}, rec), rec)
		step()
		b, err := g.InBody(seq)
		require.NoError(t, err)
		assert.Equal(t, "work", string(b.GetPayload()))

		require.NoError(t, g.CustodyIn(seq))
		require.NoError(t, g.CustodyIn(seq))
		step()
		assert.False(t, g.inNow(seq).GetAwaitsCustody())
		require.ErrorIs(t, g.DropIn(g.ctx, seq), activity.ErrFinished, "it is ours now")
		require.NoError(t, g.ReadIn(seq))
		require.NoError(t, g.ReadIn(seq))
		step()
		assert.Equal(t, commonpb.AckStage_READ, g.inNow(seq).GetStage())
		run, err := g.StartIn(g.ctx, seq, false)
		require.NoError(t, err)
		assert.EqualValues(t, 1, run)
		step()
		next := g.now.Add(time.Minute)
		require.NoError(t, g.RetryIn(g.ctx, seq, next))
		step()
		assert.Equal(t, next, g.inNow(seq).GetNextRunAt().AsTime())
		run, err = g.StartIn(g.ctx, seq, true)
		require.NoError(t, err)
		assert.EqualValues(t, 2, run)
		now := g.inNow(seq)
		assert.Nil(t, now.GetNextRunAt())
		assert.EqualValues(t, 1, now.GetRuns()-now.GetForgivenRuns(), "a run that asked to run again does not count")
		require.NoError(t, g.DeferIn(g.ctx, seq, nil))
		require.NoError(t, g.DeferIn(g.ctx, seq, nil))
		step()
		assert.True(t, g.inNow(seq).GetDeferred())
		assert.Equal(t, []uint64{seq}, sequences(g.OpenIn()))

		done, err := g.FinishIn(g.ctx, seq, activity.Ending{Outcome: outcome(ack.Fulfilled, 0, "ok"), Reply: body("answer"), ReplyID: "reply-1", NewID: g.newID})
		require.NoError(t, err)
		assert.Equal(t, commonpb.AckStage_FULFILLED, done.GetStage())
		require.Len(t, done.GetOwed(), 2)
		assert.True(t, proto.Equal(&storagepb.Owed{MessageId: "reply-1"}, done.GetOwed()[0]))
		assert.True(t, proto.Equal(&storagepb.Owed{
			MessageId: done.GetOwed()[1].GetMessageId(), AckFor: a.Envelope.GetMessageId(), Stage: commonpb.AckStage_FULFILLED, Note: "ok",
		}, done.GetOwed()[1]))
		step()
		assert.Empty(t, g.OpenIn())
		assert.Equal(t, []uint64{seq}, sequences(g.OwingIn()))
		reply, err := g.InReply(seq)
		require.NoError(t, err)
		assert.Equal(t, "answer", string(reply.GetPayload()))
		_, err = g.FinishIn(g.ctx, seq, activity.Ending{Outcome: outcome(ack.Failed, 0, ""), NewID: g.newID})
		require.ErrorIs(t, err, activity.ErrFinished)

		require.NoError(t, g.OwedSentIn(seq, "reply-1"))
		require.NoError(t, g.OwedSentIn(seq, "reply-1"))
		step()
		require.Len(t, g.OwingIn(), 1)
		require.Len(t, g.OwingIn()[0].GetOwed(), 1)
		require.NoError(t, g.OwedSentIn(seq, done.GetOwed()[1].GetMessageId()))
		step()
		assert.Empty(t, g.OwingIn())
		for _, find := range []func() (*storagepb.InRecord, error){
			func() (*storagepb.InRecord, error) { return g.In(seq) },
			func() (*storagepb.InRecord, error) { return g.InByToken("producer", "agent:me", "token") },
			func() (*storagepb.InRecord, error) { return g.InByMessageID(a.Envelope.GetMessageId()) },
		} {
			found, err := find()
			require.NoError(t, err)
			assert.Equal(t, seq, found.GetSequence())
			assert.Empty(t, found.GetOwed())
		}
	})
}

func TestUnknownIn(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{})
	for name, err := range map[string]error{
		"custody": g.CustodyIn(7), "drop": g.DropIn(g.ctx, 7), "read": g.ReadIn(7), "retry": g.RetryIn(g.ctx, 7, g.now),
		"defer": g.DeferIn(g.ctx, 7, nil), "owed": g.OwedSentIn(7, "x"),
		"start": func() error { _, err := g.StartIn(g.ctx, 7, true); return err }(),
		"finish": func() error {
			_, err := g.FinishIn(g.ctx, 7, activity.Ending{Outcome: outcome(ack.Failed, 0, ""), NewID: g.newID})
			return err
		}(),
		"get":   func() error { _, err := g.In(7); return err }(),
		"body":  func() error { _, err := g.InBody(7); return err }(),
		"reply": func() error { _, err := g.InReply(7); return err }(),
		"token": func() error { _, err := g.InByToken("a", "b", "c"); return err }(),
		"empty": func() error { _, err := g.InByToken("a", "b", ""); return err }(),
		"id":    func() error { _, err := g.InByMessageID("x"); return err }(),
	} {
		require.ErrorIs(t, err, activity.ErrUnknown, name)
	}
	_, rec := g.receive(g.arrival("t", 0))
	for name, err := range map[string]error{
		"no envelope": func() error { _, _, err := g.RecordIn(g.ctx, activity.Arrival{}); return err }(),
		"stage": func() error {
			_, err := g.FinishIn(g.ctx, rec.GetSequence(), activity.Ending{Outcome: outcome(ack.Read, 0, ""), NewID: g.newID})
			return err
		}(),
		"no ids": func() error {
			_, err := g.FinishIn(g.ctx, rec.GetSequence(), activity.Ending{Outcome: outcome(ack.Failed, 0, "")})
			return err
		}(),
		"no reply id": func() error {
			_, err := g.FinishIn(g.ctx, rec.GetSequence(), activity.Ending{Outcome: outcome(ack.Failed, 0, ""), Reply: body("x"), ReplyID: "", NewID: g.newID})
			return err
		}(),
	} {
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError}, name)
	}
}

func TestDeduplication(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		first := g.arrival("token", 0)
		_, rec := g.receive(first)
		seq := rec.GetSequence()
		step()
		v, again := g.receive(first)
		assert.Equal(t, activity.Repeated, v)
		assert.Equal(t, seq, again.GetSequence())
		moved := first
		moved.RouterStoreID, moved.RouterSeq = "router-2", 8
		v, again = g.receive(moved)
		assert.Equal(t, activity.Repeated, v)
		assert.EqualValues(t, 8, again.GetRouterSeq())
		step()

		second := g.arrival("token", 1)
		v, again = g.receive(second)
		assert.Equal(t, activity.Running, v)
		assert.Equal(t, seq, again.GetSequence())
		require.Len(t, again.GetAliases(), 2)
		step()
		v, _ = g.receive(second)
		assert.Equal(t, activity.Repeated, v)

		for name, other := range map[string]func(*activity.Arrival){
			"producer": func(a *activity.Arrival) { a.Envelope.ProducerId = "producer-2" },
			"address":  func(a *activity.Arrival) { a.To = "capability:x" },
			"token":    func(a *activity.Arrival) { a.Envelope.IdempotencyToken = "token-2" },
		} {
			a := g.arrival("token", 0)
			other(&a)
			v, rec := g.receive(a)
			assert.Equal(t, activity.New, v, name)
			g.finish(rec.GetSequence(), ack.Fulfilled, 0, "")
		}
		step()

		done := g.finish(seq, ack.Fulfilled, 0, "")
		require.Len(t, done.GetOwed(), 2, "each message id gets its acknowledgement")
		assert.Equal(t, first.Envelope.GetMessageId(), done.GetOwed()[0].GetAckFor())
		assert.Equal(t, second.Envelope.GetMessageId(), done.GetOwed()[1].GetAckFor())
		step()
		v, _ = g.receive(second)
		assert.Equal(t, activity.Repeated, v)
		third := g.arrival("token", 5)
		v, again = g.receive(third)
		assert.Equal(t, activity.Finished, v)
		assert.Equal(t, commonpb.AckStage_FULFILLED, again.GetOutcome().GetStage())
		step()
		v, _ = g.receive(third)
		assert.Equal(t, activity.Repeated, v)
		found, err := g.InByMessageID(third.Envelope.GetMessageId())
		require.NoError(t, err)
		assert.Equal(t, seq, found.GetSequence())
		assert.Len(t, g.OwingIn()[len(g.OwingIn())-1].GetOwed(), 2, "the caller answers what comes later")
	})
}

func TestDeduplicationWithoutToken(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		a := g.arrival("", 0)
		v, rec := g.receive(a)
		assert.Equal(t, activity.New, v)
		step()
		v, _ = g.receive(a)
		assert.Equal(t, activity.Repeated, v)
		g.finish(rec.GetSequence(), ack.Failed, ack.InternalError, "")
		step()
		v, _ = g.receive(a)
		assert.Equal(t, activity.Repeated, v)
		v, _ = g.receive(g.arrival("", 1))
		assert.Equal(t, activity.New, v, "another id is another message")
		stranger := g.arrival("", 0)
		stranger.Envelope.MessageId, stranger.Envelope.ProducerId = a.Envelope.GetMessageId(), "stranger"
		v, _ = g.receive(stranger)
		assert.Equal(t, activity.New, v, "a producer cannot take another's id")
	})
}

func TestRerun(t *testing.T) {
	t.Parallel()
	no := func(ack.Code) bool { return false }
	for name, tc := range map[string]struct {
		stage     ack.Stage
		code      ack.Code
		note      string
		retry     uint32
		retryable func(ack.Code) bool
		want      activity.Verdict
	}{
		"retryable":          {ack.Failed, ack.InternalError, "", 1, nil, activity.Rerun},
		"refused, retryable": {ack.Rejected, ack.Overloaded, "", 1, nil, activity.Rerun},
		"same retry count":   {ack.Failed, ack.InternalError, "", 0, nil, activity.Finished},
		"final":              {ack.Failed, ack.ValidationError, "", 1, nil, activity.Finished},
		"poison":             {ack.Failed, ack.InternalError, "poison", 1, nil, activity.Finished},
		"exchange says no":   {ack.Failed, ack.InternalError, "", 1, no, activity.Finished},
		"fulfilled":          {ack.Fulfilled, ack.InternalError, "", 1, nil, activity.Finished},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
				first := g.arrival("token", 0)
				_, rec := g.receive(first)
				seq := rec.GetSequence()
				_, err := g.StartIn(g.ctx, seq, true)
				require.NoError(t, err)
				done, err := g.FinishIn(g.ctx, seq, activity.Ending{Outcome: outcome(tc.stage, tc.code, tc.note), Reply: body("old"), ReplyID: "reply-old", NewID: g.newID})
				require.NoError(t, err)
				others := 0
				if name == "retryable" { // let the low-water mark pass it
					others = 300
				}
				for range others {
					_, r := g.receive(g.arrival(g.id("other"), 0))
					g.finish(r.GetSequence(), ack.Fulfilled, 0, "")
				}
				step()
				again := g.arrival("token", tc.retry)
				again.Retryable = tc.retryable
				again.Envelope.Payload = []byte("new work")
				v, rec := g.receive(again)
				require.Equal(t, tc.want, v)
				assert.Equal(t, seq, rec.GetSequence())
				step()
				if v != activity.Rerun {
					assert.Empty(t, g.OpenIn())
					return
				}
				assert.Equal(t, []uint64{seq}, sequences(g.OpenIn()))
				assert.Nil(t, rec.GetOutcome())
				assert.Equal(t, commonpb.AckStage_RECEIVED, rec.GetStage())
				assert.EqualValues(t, 1, rec.GetRuns())
				assert.EqualValues(t, 1, rec.GetForgivenRuns())
				assert.Equal(t, seq, sequences(g.OwingIn())[0], "what was owed is still owed")
				b, err := g.InBody(seq)
				require.NoError(t, err)
				assert.Equal(t, "new work", string(b.GetPayload()))
				_, err = g.InReply(seq)
				require.ErrorIs(t, err, activity.ErrUnknown)
				v, _ = g.receive(first)
				assert.Equal(t, activity.Repeated, v)
				v, _ = g.receive(again)
				assert.Equal(t, activity.Repeated, v)
				for _, o := range done.GetOwed() {
					require.NoError(t, g.OwedSentIn(seq, o.GetMessageId()))
				}
				step()
				assert.NotContains(t, sequences(g.OwingIn()), seq)
				run, err := g.StartIn(g.ctx, seq, true)
				require.NoError(t, err)
				assert.EqualValues(t, 2, run, "run numbers do not repeat")
				done = g.finish(seq, ack.Fulfilled, 0, "")
				require.Len(t, done.GetOwed(), 1, "the first attempt has its end already")
				assert.Equal(t, again.Envelope.GetMessageId(), done.GetOwed()[0].GetAckFor())
				step()
				assert.Empty(t, g.OpenIn())
				assert.Equal(t, others+1, g.Stats().InFinished)
			})
		})
	}
}

func TestRerunStillOwing(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		_, rec := g.receive(g.arrival("token", 0))
		seq := rec.GetSequence()
		g.finish(seq, ack.Failed, ack.InternalError, "")
		v, _ := g.receive(g.arrival("token", 1))
		require.Equal(t, activity.Rerun, v)
		step()
		done := g.finish(seq, ack.Fulfilled, 0, "")
		require.Len(t, done.GetOwed(), 2)
		step()
		require.Len(t, g.OwingIn(), 1)
		for _, o := range done.GetOwed() {
			require.NoError(t, g.OwedSentIn(seq, o.GetMessageId()))
			step()
		}
		assert.Empty(t, g.OwingIn())
	})
}

func TestDrop(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{}, func(t *testing.T, g *ground, step func()) {
		a := g.arrival("token", 0)
		a.AwaitsCustody = true
		_, rec := g.receive(a)
		step()
		require.NoError(t, g.DropIn(g.ctx, rec.GetSequence()))
		step()
		assert.Empty(t, g.OpenIn())
		_, err := g.InBody(rec.GetSequence())
		require.ErrorIs(t, err, activity.ErrUnknown)
		v, rec := g.receive(a)
		assert.Equal(t, activity.New, v)

		require.NoError(t, g.CustodyIn(rec.GetSequence()))
		g.finish(rec.GetSequence(), ack.Failed, ack.InternalError, "")
		require.ErrorIs(t, g.DropIn(g.ctx, rec.GetSequence()), activity.ErrFinished)
		again := g.arrival("token", 1)
		again.AwaitsCustody = true
		v, rec = g.receive(again)
		require.Equal(t, activity.Rerun, v)
		step()
		require.NoError(t, g.DropIn(g.ctx, rec.GetSequence()))
		step()
		assert.Empty(t, g.OwingIn())
		assert.Zero(t, g.Stats().InFinished)
		v, _ = g.receive(a)
		assert.Equal(t, activity.New, v)
	})
}

func TestCapacityIn(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{MaxIn: 5}, func(t *testing.T, g *ground, step func()) {
		var first activity.Arrival
		var seqs []uint64
		for n := range 5 {
			a := g.arrival(g.id("token"), 0)
			if n == 0 {
				first = a
			}
			_, rec := g.receive(a)
			seqs = append(seqs, rec.GetSequence())
		}
		step()
		_, _, err := g.RecordIn(g.ctx, g.arrival("more", 0))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.BufferFull})
		v, _ := g.receive(first)
		assert.Equal(t, activity.Repeated, v)
		owed := map[uint64]string{}
		for _, seq := range seqs {
			owed[seq] = g.finish(seq, ack.Fulfilled, 0, "").GetOwed()[0].GetMessageId()
		}
		step()
		_, _, err = g.RecordIn(g.ctx, g.arrival("more", 0))
		require.ErrorIs(t, err, &ack.Error{Code: ack.BufferFull}, "answers that cannot be sent fill it too")
		require.NoError(t, g.OwedSentIn(seqs[0], owed[seqs[0]]))
		v, _ = g.receive(g.arrival("more", 0))
		assert.Equal(t, activity.New, v)
	})
}

func TestAliasesAreBounded(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{})
	_, rec := g.receive(g.arrival("token", 0))
	for n := range 100 {
		g.receive(g.arrival("token", uint32(n+1)))
	}
	assert.Len(t, g.inNow(rec.GetSequence()).GetAliases(), 64)
	assert.Len(t, g.finish(rec.GetSequence(), ack.Fulfilled, 0, "").GetOwed(), 64)
	for n := range 100 {
		g.receive(g.arrival("token", uint32(n+1)))
	}
	assert.Len(t, g.inNow(rec.GetSequence()).GetAliases(), 64)
	g.reopen()
}

package inventory

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
	"github.com/sw4rm/sw4rm-go/services/router"
)

const capability = "capability:c"

func envelope(id string) *commonpb.Envelope {
	return &commonpb.Envelope{MessageId: id, IdempotencyToken: "t-" + id, ProducerId: "sender", Payload: []byte("says " + id)}
}

// stored opens a store for fn and closes it again.
func stored(t *testing.T, dir string, fn func(ctx context.Context, s store.Store)) {
	t.Helper()
	db, err := pebble.Open(dir, options())
	require.NoError(t, err)
	fn(t.Context(), db)
	require.NoError(t, db.Close())
}

// buffered opens an agent's buffer for fn and closes it again.
func buffered(t *testing.T, dir string, fn func(ctx context.Context, b *activity.Buffer)) {
	t.Helper()
	stored(t, dir, func(ctx context.Context, s store.Store) {
		b, err := activity.Open(ctx, s, activity.Config{})
		require.NoError(t, err)
		fn(ctx, b)
		require.NoError(t, b.Settle(ctx))
	})
}

// receive stores a message at an agent.
func receive(t *testing.T, b *activity.Buffer, id string, awaits bool) *storagepb.InRecord {
	t.Helper()
	_, rec, err := b.RecordIn(t.Context(), activity.Arrival{
		Envelope: envelope(id), To: capability, Class: transportpb.Class_CLASS_WORK, AwaitsCustody: awaits,
	})
	require.NoError(t, err)
	return rec
}

// told makes items comparable.
func told(items []Item) []string {
	var all []string
	for _, i := range items {
		text := fmt.Sprintf("%s %s %s %s", i.Actor, i.Op, i.Place, i.Token)
		if i.Message != "" {
			text += " " + i.Message
		}
		if len(i.Payload) > 0 {
			text += fmt.Sprintf(" %q", i.Payload)
		}
		if i.Stage != "" {
			text += " " + i.Stage + " " + i.Code
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// TestTake finds messages wherever they may be.
func TestTake(t *testing.T) {
	root := t.TempDir()
	sender, services := filepath.Join(root, "sender"), filepath.Join(root, "router")
	one, other := filepath.Join(root, "one"), filepath.Join(root, "other")

	buffered(t, sender, func(ctx context.Context, b *activity.Buffer) {
		for _, id := range []string{"stored", "taken", "failed", "ended"} {
			rec, _, err := b.RecordOut(ctx, activity.Draft{MessageID: id, Record: &storagepb.OutRecord{
				Token: "t-" + id, To: capability, Retry: &storagepb.RetryPolicy{MaxAttempts: 2, Codes: []commonpb.ErrorCode{commonpb.ErrorCode(ack.Overloaded)}},
			}})
			require.NoError(t, err)
			seq := rec.GetSequence()
			switch id {
			case "taken":
				_, err = b.AcceptedOut(seq, id)
			case "failed": // and will be tried again
				if _, err = b.AcceptedOut(seq, id); err == nil {
					_, err = b.FailAttemptOut(ctx, seq, id, &ack.Error{Stage: ack.Failed, Code: ack.Overloaded})
				}
			case "ended":
				_, err = b.AckOut(ctx, ack.Ack{ForMessageID: id, Stage: ack.Fulfilled}, "one")
			}
			require.NoError(t, err)
		}
	})
	stored(t, services, func(ctx context.Context, s store.Store) {
		e, err := kv.Open(ctx, store.Sub(s, router.StorePrefix), kv.Options{})
		require.NoError(t, err)
		now := time.Now()
		accept := func(id string, class transportpb.Class) {
			r, err := e.Accept(ctx, queue.Message{
				Envelope: envelope(id), To: capability, Class: class, From: queue.Holder{Agent: "sender"}, At: now,
			})
			require.NoError(t, err)
			_, err = r.Answer(ctx)
			require.NoError(t, err)
		}
		accept("held", transportpb.Class_CLASS_WORK)
		accept("dead", transportpb.Class_CLASS_WORK)
		holder := queue.Holder{Agent: "one", Store: "s", Epoch: 1}
		_, err = e.Admit(ctx, holder, false)
		require.NoError(t, err)
		leased, err := e.Lease(ctx, queue.LeaseRequest{Holder: holder, Addresses: []string{capability}, Until: now.Add(time.Minute), Now: now, MaxMessages: 9, MaxBytes: 1 << 20, Class: transportpb.Class_CLASS_WORK})
		require.NoError(t, err)
		require.Len(t, leased, 2)
		ok, err := e.Custody(ctx, holder, leased[0].Seq, "held")
		require.NoError(t, err)
		require.True(t, ok)
		ok, err = e.Dead(ctx, holder, leased[1].Seq, "dead", "no use")
		require.NoError(t, err)
		require.True(t, ok)
		accept("queued", transportpb.Class_CLASS_WORK)
		accept("signal", transportpb.Class_CLASS_SIGNAL)
		accept("back", transportpb.Class_CLASS_WORK)
		state, err := e.Withdraw(ctx, queue.Withdrawal{From: queue.Holder{Agent: "sender"}, To: capability, Token: "t-back", MessageID: "back"})
		require.NoError(t, err)
		require.Equal(t, transportpb.WithdrawAnswer_STATE_WITHDRAWN, state)
	})
	buffered(t, one, func(ctx context.Context, b *activity.Buffer) {
		receive(t, b, "mine", false)
		receive(t, b, "held", true)
		rec := receive(t, b, "done", false)
		_, err := b.FinishIn(ctx, rec.GetSequence(), activity.Ending{
			Outcome: &storagepb.Outcome{Stage: commonpb.AckStage_FULFILLED}, NewID: func() string { return "ack" },
		})
		require.NoError(t, err)
	})
	buffered(t, other, func(_ context.Context, b *activity.Buffer) {
		receive(t, b, "held", true)   // of which the router says that the first has it
		receive(t, b, "queued", true) // which is the router's
	})

	items, err := Take(t.Context(), []string{sender, one, other}, services)
	require.NoError(t, err)
	require.Equal(t, []string{
		"one hold answered t-done done",
		"one hold custody t-held held",
		"one hold custody t-mine mine",
		"one record  t-done FULFILLED NO_ERROR",
		`router hold answered t-back back`,
		`router hold dead t-dead dead "says dead"`,
		`router hold queue t-queued queued "says queued"`,
		"sender hold answered t-ended ended",
		"sender hold outbox t-failed failed",
		"sender hold outbox t-stored stored",
		"sender hold taken t-taken taken",
	}, told(items))
	again, err := Take(t.Context(), []string{sender, one, other}, services)
	require.NoError(t, err)
	require.Equal(t, told(items), told(again), "looking changes nothing")

	items, err = Take(t.Context(), []string{other}, "")
	require.NoError(t, err)
	require.Equal(t, []string{"other hold custody t-held held", "other hold custody t-queued queued"}, told(items))

	_, err = Take(t.Context(), []string{filepath.Join(root, "nowhere")}, services)
	require.ErrorContains(t, err, "look into the agent's data in")
	_, err = Take(t.Context(), nil, filepath.Join(root, "nowhere"))
	require.ErrorContains(t, err, "look into the router's data in")
}

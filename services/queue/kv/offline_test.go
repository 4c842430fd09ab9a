package kv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
	"github.com/sw4rm/sw4rm-go/services/queue/queuetest"
)

func problems(t queuetest.TB, s store.Store) []string {
	t.Helper()
	var list []string
	_, err := kv.Check(context.Background(), s, func(d *store.DamagedError) { list = append(list, d.Err.Error()) })
	require.NoError(t, err)
	return list
}

// TestCheckAndRebuild runs the conformance suite with a rebuilding at each restart: what the engine writes never contradicts
// itself, and what is made anew serves as well.
func TestCheckAndRebuild(t *testing.T) { queuetest.Run(t, rebuilt) }

func rebuilt(t queuetest.TB) (queue.Engine, func() queue.Engine) {
	s := store.NewMemory()
	t.Cleanup(func() { require.Empty(t, problems(t, s.Reopen())) })
	return open(t, s), func() queue.Engine {
		s = s.Reopen()
		require.Empty(t, problems(t, s))
		require.NoError(t, kv.Rebuild(context.Background(), s, func(text string) { t.Error(text) }))
		require.Empty(t, problems(t, s))
		return open(t, s)
	}
}

func work(id, to string) queue.Message {
	return queue.Message{
		Envelope: &commonpb.Envelope{
			MessageId: id, ProducerId: "sender", CorrelationId: "talk", IdempotencyToken: "token-" + id, SequenceNumber: 1,
			MessageType: commonpb.MessageType_DATA, ContentType: "application/json", Payload: []byte("{}"), ContentLength: 2,
		},
		To: to, Class: transportpb.Class_CLASS_WORK, From: queue.Holder{Agent: "sender", Store: "s", Epoch: 1}, At: time.Unix(1000, 0),
	}
}

// filled is a store with messages that wait, one in custody and one dead letter.
func filled(t *testing.T) *store.Memory {
	t.Helper()
	s := store.NewMemory()
	e := open(t, s)
	ctx := t.Context()
	for _, h := range []queue.Holder{{Agent: "sender", Store: "s", Epoch: 1}, {Agent: "a", Store: "sa", Epoch: 1}} {
		_, err := e.Admit(ctx, h, false)
		require.NoError(t, err)
	}
	for i := range 4 {
		_, err := queue.Submit(ctx, e, work(fmt.Sprint("m", i), "agent:a"))
		require.NoError(t, err)
	}
	_, err := queue.Submit(ctx, e, work("away", "capability:c"))
	require.NoError(t, err)
	h := queue.Holder{Agent: "a", Store: "sa", Epoch: 1, Stream: 1}
	got, err := e.Lease(ctx, queue.LeaseRequest{
		Holder: h, Addresses: []string{"agent:a"}, Class: transportpb.Class_CLASS_WORK, MaxMessages: 2, MaxBytes: 1 << 20,
		Now: time.Unix(1001, 0), Until: time.Unix(1031, 0),
	})
	require.NoError(t, err)
	require.Len(t, got, 2)
	ok, err := e.Custody(ctx, h, got[0].Seq, "m0")
	require.NoError(t, err)
	require.True(t, ok)
	ok, err = e.Dead(ctx, h, got[1].Seq, "m1", "cannot be read")
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, problems(t, s))
	return s
}

func TestWalkOffline(t *testing.T) {
	s := filled(t)
	var waiting []string
	require.NoError(t, kv.WalkWaiting(t.Context(), s, func(w kv.Waiting) error {
		require.NotNil(t, w.Envelope)
		waiting = append(waiting, w.Class.String()+" "+w.Queue+" "+w.Envelope.GetProducerId())
		return nil
	}))
	require.Equal(t, []string{
		"CLASS_WORK agent:a sender", "CLASS_WORK agent:a sender", "CLASS_WORK capability:c sender", "CLASS_SIGNAL agent:sender sw4rm-router",
	}, waiting)
	dead := 0
	require.NoError(t, kv.WalkDead(t.Context(), s, func(d queue.DeadLetter) error {
		dead++
		require.Equal(t, "m1", d.Envelope.GetMessageId())
		require.Contains(t, d.Reason, "cannot be read")
		require.Equal(t, 1, d.Deliveries)
		return store.ErrStop
	}))
	require.Equal(t, 1, dead)
	sum, err := kv.Check(t.Context(), s, func(*store.DamagedError) {})
	require.NoError(t, err)
	require.Equal(t, kv.Summary{Waiting: 4, Dead: 1, Tokens: 5, Instances: 2}, sum)
	stop := errors.New("enough")
	require.ErrorIs(t, kv.WalkWaiting(t.Context(), s, func(kv.Waiting) error { return stop }), stop)
}

// TestRebuildQueueAfterLosses takes every entry away in turn, or makes it unreadable: what can be served of the rest is.
func TestRebuildQueueAfterLosses(t *testing.T) {
	all := map[string]string{}
	require.NoError(t, filled(t).Scan(nil, nil, func(key, value []byte) error {
		all[string(key)] = string(value)
		return nil
	}))
	seen := 0
	for key := range all {
		for _, value := range []string{"", "\xff"} {
			s := store.NewMemory()
			var b store.Batch
			for k, v := range all {
				switch {
				case k != key:
					b.Set([]byte(k), []byte(v))
				case value != "":
					b.Set([]byte(k), []byte(value))
				}
			}
			require.NoError(t, store.Write(t.Context(), s, &b))
			if len(problems(t, s)) > 0 {
				seen++
			}
			require.NoError(t, kv.Rebuild(t.Context(), s, func(string) {}))
			require.Empty(t, problems(t, s), "%q", key)
			e := open(t, s)
			// Whatever became of it, the same submission is answered, and a new one is taken.
			for _, id := range []string{"m2", "new"} {
				_, err := queue.Submit(t.Context(), e, work(id, "agent:a"))
				require.NoError(t, err, "%q", key)
			}
			n := 0
			require.NoError(t, e.Scan(t.Context(), func(d queue.Depth) error { n += d.Work; return nil }))
			require.GreaterOrEqual(t, n, 3, "%q", key)
		}
	}
	require.Greater(t, seen, len(all)/2)
}

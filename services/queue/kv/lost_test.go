package kv

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// TestManyLostCustodiesAreToldInSteps replaces a store with more in its custody than one call looks at, ends the process in
// the middle, and replaces another store while that is being told of. Every sender hears of each message once.
func TestManyLostCustodiesAreToldInSteps(t *testing.T) {
	ctx, now := t.Context(), time.Now()
	told := map[string]int{}
	newAck := func(of *commonpb.Envelope, stage ack.Stage, code ack.Code, _ string) *commonpb.Envelope {
		require.Equal(t, ack.Failed, stage)
		require.Equal(t, ack.AgentUnavailable, code)
		told[of.GetMessageId()]++
		return nil
	}
	s := store.NewMemory()
	open := func() *Engine {
		e, err := Open(ctx, s, Options{NewAck: newAck})
		require.NoError(t, err)
		return e
	}
	e := open()
	const n = lostStep + sweepStep + 1
	want := 0
	take := func(agent, id string) {
		h := queue.Holder{Agent: agent, Store: "first", Epoch: 1, Stream: 1}
		_, err := e.Accept(ctx, queue.Message{
			Envelope: &commonpb.Envelope{MessageId: id, IdempotencyToken: id, ProducerId: "sam"},
			To:       "agent:" + agent, Class: transportpb.Class_CLASS_WORK, From: queue.Holder{Agent: "sam"}, At: now,
		})
		require.NoError(t, err)
		ds, err := e.Lease(ctx, queue.LeaseRequest{
			Holder: h, Addresses: []string{"agent:" + agent}, Class: transportpb.Class_CLASS_WORK, MaxMessages: 1, MaxBytes: 1, Now: now, Until: now.Add(time.Hour),
		})
		require.NoError(t, err)
		require.Len(t, ds, 1)
		ok, err := e.Custody(ctx, h, ds[0].Seq, id)
		require.NoError(t, err)
		require.True(t, ok)
		want++
	}
	admit := func(agent, storeID string) {
		got, err := e.Admit(ctx, queue.Holder{Agent: agent, Store: storeID, Epoch: 1}, false)
		require.NoError(t, err)
		require.Equal(t, queue.Admitted, got)
	}
	expire := func() (more bool) {
		next, err := e.Expire(ctx, now)
		require.NoError(t, err)
		return next.Equal(now)
	}
	for _, agent := range []string{"alice", "bob"} {
		admit(agent, "first")
	}
	for expire() { // custody from before, of which there is none
	}
	for i := range n {
		take("alice", fmt.Sprint("a", i))
	}
	for i := range 10 {
		take("bob", fmt.Sprint("b", i))
	}
	admit("alice", "second")
	require.True(t, expire(), "one call is not enough")
	require.Less(t, len(told), n)
	admit("bob", "second")
	s = s.Reopen() // all that was applied is kept
	e = open()
	admit("alice", "third")
	calls := 1
	for expire() {
		calls++
	}
	require.LessOrEqual(t, calls, 6)
	require.Len(t, told, want)
	for id, times := range told {
		require.Equal(t, 1, times, id)
	}
	require.False(t, expire())
	e = open()
	require.Empty(t, e.lostCustody.next, "nothing is left to tell")
}

package kv_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/queuetest"
)

// TestAgentsOfEarlierVersionsAreForgottenToo opens a store in which an agent has no end of its time.
func TestAgentsOfEarlierVersionsAreForgottenToo(t *testing.T) {
	s := store.NewMemory()
	value, err := proto.Marshal(&storagepb.QueueInstance{Store: "s", Epoch: 5, Generation: 1})
	require.NoError(t, err)
	var b store.Batch
	b.Set([]byte("qiearly"), value)
	require.NoError(t, store.Write(t.Context(), s, &b))
	e := open(t, s)
	early := queue.Holder{Agent: "early", Store: "s", Epoch: 4}
	for _, step := range []struct {
		after time.Duration
		want  queue.Admission
	}{
		{queuetest.Limits().KeepAgents - time.Minute, queue.RefusedRolledBack},
		{queuetest.Limits().KeepAgents + time.Minute, queue.Admitted},
	} {
		require.NoError(t, e.Prune(t.Context(), time.Now().Add(step.after), nobody))
		got, err := e.Admit(t.Context(), early, false)
		require.NoError(t, err)
		require.Equal(t, step.want, got)
	}
}

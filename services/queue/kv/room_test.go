package kv_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

type fullDisk struct {
	store.Store
	full bool
}

func (d *fullDisk) Room() error {
	if d.full {
		return &store.RoomError{Dir: "data", Free: 1, Min: 2}
	}
	return nil
}

// TestFullDisk refuses new work on a disk that is nearly full, and takes the outcome of the work that is there.
func TestFullDisk(t *testing.T) {
	disk := &fullDisk{Store: store.NewMemory()}
	e := open(t, store.Sub(disk, "queue/"))
	ctx := t.Context()
	a := queue.Holder{Agent: "a", Store: "sa", Epoch: 1, Stream: 1}
	for _, h := range []queue.Holder{{Agent: "sender", Store: "s", Epoch: 1}, a} {
		_, err := e.Admit(ctx, h, false)
		require.NoError(t, err)
	}
	_, err := queue.Submit(ctx, e, work("m1", "agent:a"))
	require.NoError(t, err)
	disk.full = true
	answer, err := queue.Submit(ctx, e, work("m2", "agent:a"))
	require.NoError(t, err)
	require.Equal(t, queue.Answer{
		State: transportpb.Answer_STATE_REFUSED, Code: ack.BufferFull,
		Note: "min_free_disk: the disk of data has 1 bytes free, and new work needs 2. Fix: make room on it",
	}, answer)
	answer, err = queue.Submit(ctx, e, work("m1", "agent:a"))
	require.NoError(t, err)
	require.Equal(t, transportpb.Answer_STATE_QUEUED, answer.State, "it is known")

	got, err := e.Lease(ctx, queue.LeaseRequest{
		Holder: a, Addresses: []string{"agent:a"}, Class: transportpb.Class_CLASS_WORK, MaxMessages: 9, MaxBytes: 1 << 20,
		Now: time.Unix(1001, 0), Until: time.Unix(1031, 0),
	})
	require.NoError(t, err)
	require.Len(t, got, 1)
	ok, err := e.Custody(ctx, a, got[0].Seq, "m1")
	require.NoError(t, err)
	require.True(t, ok)
	answer, err = queue.Submit(ctx, e, queue.Message{
		Envelope: &commonpb.Envelope{MessageId: "ack", ProducerId: "a", CorrelationId: "talk", SequenceNumber: 1, MessageType: commonpb.MessageType_ACKNOWLEDGEMENT},
		To:       "agent:sender", Class: transportpb.Class_CLASS_SIGNAL, From: a, At: time.Unix(1002, 0),
		Ends: &queue.Outcome{MessageID: "m1", Stage: ack.Fulfilled},
	})
	require.NoError(t, err)
	require.Equal(t, transportpb.Answer_STATE_NEW, answer.State)
	answer, err = queue.Submit(ctx, e, work("m1", "agent:a"))
	require.NoError(t, err)
	require.Equal(t, transportpb.Answer_STATE_DONE, answer.State)
	disk.full = false
	answer, err = queue.Submit(ctx, e, work("m2", "agent:a"))
	require.NoError(t, err)
	require.Equal(t, transportpb.Answer_STATE_NEW, answer.State)
}

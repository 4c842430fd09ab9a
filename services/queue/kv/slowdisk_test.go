package kv

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// slowDisk is a store whose syncs take time on a clock.
type slowDisk struct {
	store.Store
	now   time.Time
	takes time.Duration
}

// Sync implements store.Store.
func (s *slowDisk) Sync(ctx context.Context, m store.Mark) error {
	s.now = s.now.Add(s.takes)
	return s.Store.Sync(ctx, m)
}

// TestTimeToLiveGoesOnWhileALeaseIsStored hands out a message over a disk that takes longer than usual.
func TestTimeToLiveGoesOnWhileALeaseIsStored(t *testing.T) {
	disk := &slowDisk{Store: store.NewMemory(), now: time.Unix(1_800_000_000, 0)}
	e, err := Open(t.Context(), disk, Options{Now: func() time.Time { return disk.now }})
	require.NoError(t, err)
	_, err = queue.Submit(t.Context(), e, queue.Message{
		Envelope: &commonpb.Envelope{MessageId: "m", ProducerId: "a", IdempotencyToken: "t", TtlMs: 10_000},
		To:       "agent:b", Class: transportpb.Class_CLASS_WORK, From: queue.Holder{Agent: "a"}, At: disk.now,
	})
	require.NoError(t, err)
	disk.now, disk.takes = disk.now.Add(2*time.Second), 3*time.Second
	ds, err := e.Lease(t.Context(), queue.LeaseRequest{
		Holder: queue.Holder{Agent: "b", Store: "s", Epoch: 1}, Addresses: []string{"agent:b"}, Class: transportpb.Class_CLASS_WORK,
		MaxMessages: 1, MaxBytes: 1 << 20, Now: disk.now, Until: disk.now.Add(time.Minute),
	})
	require.NoError(t, err)
	require.Len(t, ds, 1)
	require.EqualValues(t, 5_000, ds[0].Envelope.GetTtlMs())
}

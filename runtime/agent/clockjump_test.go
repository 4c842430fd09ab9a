package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
)

// TestTimeToLiveIsABudget hands on what is left of a time to live, and never more than there was: the clock may have been
// set back, or on.
func TestTimeToLiveIsABudget(t *testing.T) {
	created := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	rec := &storagepb.OutRecord{CreatedAt: timestamppb.New(created), TtlMs: 60_000}
	for after, want := range map[time.Duration]uint64{
		0: 60_000, time.Second: 59_000, time.Minute: 1, time.Hour: 1, -time.Second: 60_000, -time.Hour: 60_000,
	} {
		require.Equal(t, want, ttlLeft(rec, created.Add(after)), after)
	}
	require.Zero(t, ttlLeft(&storagepb.OutRecord{CreatedAt: timestamppb.New(created)}, created))
}

// TestSilenceNeedsNoWallClock measures how long the router has been silent from when the stream was opened, so that a wall
// clock that is set anew neither ends a stream nor keeps a dead one.
func TestSilenceNeedsNoWallClock(t *testing.T) {
	s := &stream{began: time.Now()}
	s.hear()
	heard := time.Duration(s.heard.Load())
	require.GreaterOrEqual(t, heard, time.Duration(0))
	require.LessOrEqual(t, heard, time.Since(s.began))
}

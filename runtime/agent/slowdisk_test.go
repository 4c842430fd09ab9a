package agent_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// slowDisk is a store whose syncs take as long as it says.
type slowDisk struct {
	store.Store
	takes atomic.Int64
}

// Sync implements store.Store.
func (s *slowDisk) Sync(ctx context.Context, m store.Mark) error {
	time.Sleep(time.Duration(s.takes.Load()))
	return s.Store.Sync(ctx, m)
}

// TestTimeToLiveCountsFromTheArrival lets the disk take longer than a message may live: it does not run, whether the time
// goes by while it is stored, or while one before it in its lane is.
func TestTimeToLiveCountsFromTheArrival(t *testing.T) {
	const ttl = time.Second
	tests := map[string]struct {
		deliveries []*transportpb.RouterFrame
		slow       time.Duration
		want       []string
	}{
		"in time":              {[]*transportpb.RouterFrame{deliver(1, "a", ttl)}, ttl / 4, []string{"a"}},
		"while it is stored":   {[]*transportpb.RouterFrame{deliver(1, "a", ttl)}, 2 * ttl, nil},
		"while another one is": {[]*transportpb.RouterFrame{deliver(1, "a", 0), deliver(2, "bb", ttl)}, ttl * 3 / 4, []string{"a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, p := newScripted(t)
				disk := &slowDisk{Store: store.NewMemory()}
				a := p.agentOn("server", disk)
				var ran []string
				tell.Handle(a, func(_ context.Context, m *text) error {
					ran = append(ran, m.GetValue())
					return nil
				})
				require.NoError(t, a.Start(t.Context()))
				say := <-r.sessions
				disk.takes.Store(int64(test.slow))
				for _, d := range test.deliveries {
					say <- d
				}
				for range test.deliveries {
					ack := <-r.acks
					say <- recorded(ack.GetSeq(), true)
				}
				time.Sleep(time.Minute)
				disk.takes.Store(0)
				synctest.Wait()
				assert.Equal(t, test.want, ran)
			})
		})
	}
}

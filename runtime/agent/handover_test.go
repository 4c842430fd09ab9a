package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// TestTheSessionEndsWhileAMessageIsStored delivers to an agent with a slow disk, and opens the next session before what came is
// stored. Only a session to the same router is told of it. Another router has other messages under the same numbers: what the
// former one has to vouch for is dropped here at once, and holds up nothing that comes behind it.
func TestTheSessionEndsWhileAMessageIsStored(t *testing.T) {
	const (
		ttl  = time.Hour
		slow = time.Second
	)
	tests := map[string]struct {
		first  []*transportpb.RouterFrame
		next   string // the store of the router of the next session
		second []*transportpb.RouterFrame
		acks   []int // the lengths of the texts whose deliveries are acknowledged in the second session
		say    []*transportpb.RouterFrame
		want   []string
	}{
		"the same router": {
			[]*transportpb.RouterFrame{deliver(1, "a", ttl)}, "router", nil,
			[]int{1}, []*transportpb.RouterFrame{recorded(1, true)}, []string{"a"},
		},
		"another router": {
			[]*transportpb.RouterFrame{deliver(1, "a", ttl)}, "another", nil, nil, nil, nil,
		},
		"another router with the same number": {
			[]*transportpb.RouterFrame{deliver(1, "a", ttl)}, "another", []*transportpb.RouterFrame{deliver(1, "ccc", ttl)},
			[]int{3}, []*transportpb.RouterFrame{recorded(1, true)}, []string{"ccc"},
		},
		"another router, before it is looked at": {
			[]*transportpb.RouterFrame{deliver(1, "a", 0), deliver(2, "bb", ttl)}, "another", []*transportpb.RouterFrame{deliver(2, "ccc", ttl)},
			[]int{3}, []*transportpb.RouterFrame{recorded(2, true)}, []string{"a", "ccc"},
		},
		"another router, and nobody has to vouch for it": {
			[]*transportpb.RouterFrame{deliver(1, "a", 0)}, "another", []*transportpb.RouterFrame{deliver(1, "ccc", 0)},
			[]int{3}, nil, []string{"a", "ccc"},
		},
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
				start(t, a)
				say := <-r.sessions
				disk.takes.Store(int64(slow))
				for _, f := range test.first {
					say <- f
				}
				synctest.Wait()
				require.Empty(t, r.acks, "nothing is stored yet")
				r.store = test.next
				close(say)
				say = <-r.sessions
				for _, f := range test.second {
					say <- f
				}
				time.Sleep(10 * slow)
				synctest.Wait()
				disk.takes.Store(0)
				var acks []int
				for len(r.acks) > 0 {
					id := (<-r.acks).GetMessageId()
					acks = append(acks, int(id[len(id)-1]-'0'))
				}
				assert.Equal(t, test.acks, acks)
				for _, f := range test.say {
					say <- f
				}
				time.Sleep(10 * slow)
				synctest.Wait()
				assert.Equal(t, test.want, ran)
				assert.Empty(t, a.Buffer().OpenIn())
			})
		})
	}
}

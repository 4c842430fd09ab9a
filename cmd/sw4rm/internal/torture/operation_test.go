package torture

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/catalog"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestPlanner draws operations that are the same from the same seed, and each its own.
func TestPlanner(t *testing.T) {
	known, err := catalog.Load(t.Context(), catalog.Source{Paths: []string{"../../../../golden/keys", "../../../../golden/exchanges"}})
	require.NoError(t, err)
	draw := func(samples catalog.Samples) []*operation {
		p := newPlanner(3, known, []string{"a", "b"})
		p.samples, p.ttl = samples, shortLife
		var all []*operation
		for range 400 {
			o, err := p.next(true)
			require.NoError(t, err)
			all = append(all, o)
		}
		return all
	}
	first, second := draw(nil), draw(nil)
	keys, lanes, limited := map[string]bool{}, map[string]int{}, 0
	for i, o := range first {
		require.Equal(t, o.exchange.Name(), second[i].exchange.Name())
		require.Equal(t, o.to, second[i].to)
		require.True(t, proto.Equal(o.message, second[i].message))
		require.False(t, keys[o.key], o.key)
		keys[o.key] = true
		if o.ttl > 0 {
			limited++
		}
		if o.exchange.Policy().Order == exchange.OrderNone {
			require.Empty(t, o.lane)
			continue
		}
		lanes[o.lane]++
		require.Equal(t, lanes[o.lane], o.n)
		require.LessOrEqual(t, o.n, laneLength)
	}
	require.NotZero(t, limited)
	require.Greater(t, len(lanes), 2)

	// Payloads of the user's own repeat, and are operations of their own still.
	samples := catalog.Samples{}
	for _, x := range known {
		samples[x.Name()] = []proto.Message{x.NewRequest()}
	}
	alone := 0
	for _, o := range draw(samples) {
		require.Zero(t, proto.Size(o.message))
		if o.alone {
			alone++
			require.Equal(t, exchange.EachCall, (&sender{}).outgoing(o).Policy.Idempotency)
		}
	}
	require.NotZero(t, alone)
}

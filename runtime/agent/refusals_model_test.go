package agent

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRefusalsKeepOrder plays an outbox, that takes the first operation that is ready and submits it a little later, and a
// router that accepts and refuses a conversation at random: it is accepted in order whatever comes between, everything has its
// turn, and nothing is kept of it in the end. Where operations run out meanwhile, only the latter is certain.
func TestRefusalsKeepOrder(t *testing.T) {
	const n = 8
	refused, ranOut, overtaken := 0, 0, 0
	for seed := range uint64(8000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		r := newRefusals()
		var (
			open, ready []*operation // by sequence number
			taken       *operation   // out of ready, and about to be submitted
			flight      []*operation // in the order of their submission
			knows       []bool       // of those, whether the router was told that its refusal is known
			turned      bool         // the router refuses what comes
			accepted    []uint64
		)
		makeReady := func(o *operation) {
			if o == nil || !slices.Contains(open, o) || slices.Contains(ready, o) || o == taken || slices.Contains(flight, o) {
				return
			}
			at, _ := slices.BinarySearchFunc(ready, o, func(a, b *operation) int { return int(a.seq) - int(b.seq) })
			ready = slices.Insert(ready, at, o)
		}
		end := func(o *operation) {
			open = slices.DeleteFunc(open, func(other *operation) bool { return other == o })
			ready = slices.DeleteFunc(ready, func(other *operation) bool { return other == o })
			makeReady(r.remove("k", o))
		}
		for seq := range uint64(n) {
			o := &operation{seq: seq}
			open = append(open, o)
			makeReady(o)
		}
		for step := 0; len(open) > 0; step++ {
			require.Less(t, step, 5000, "seed %d: it stands still with %d open", seed, len(open))
			switch rng.IntN(4) {
			case 0:
				if taken == nil && len(ready) > 0 {
					taken, ready = ready[0], ready[1:]
				}
			case 1:
				if taken == nil {
					continue
				}
				o := taken
				taken = nil
				if !slices.Contains(open, o) {
					continue
				}
				ok, after, next := r.pass("k", o)
				makeReady(next)
				if ok {
					flight, knows = append(flight, o), append(knows, after)
				}
			case 2:
				if len(flight) == 0 {
					continue
				}
				o, known := flight[0], knows[0]
				flight, knows = flight[1:], knows[1:]
				turned = turned && !known
				switch {
				case !slices.Contains(open, o):
				case turned || rng.IntN(3) == 0:
					turned = true
					refused++
					if r.add("k", o, nil) {
						makeReady(o) // when its time has come
					}
				default:
					accepted = append(accepted, o.seq)
					end(o)
				}
			default:
				if seed%2 == 0 && rng.IntN(30) == 0 {
					ranOut++
					end(open[rng.IntN(len(open))])
				}
			}
		}
		if seed%2 == 1 {
			require.True(t, slices.IsSorted(accepted), "seed %d: accepted in the order %v", seed, accepted)
		} else if !slices.IsSorted(accepted) {
			overtaken++
		}
		require.Empty(t, r.lanes, "seed %d", seed)
	}
	t.Logf("%d refusals, %d ran out, %d of the conversations in which one may were accepted in another order", refused, ranOut, overtaken)
	require.Greater(t, min(refused, ranOut), 2000, "the runs mean something")
}

package torture

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPace plays runs of an agent that has always ended whatever may begin: every fault comes, with operations of its own
// while there are enough, and all operations may begin in the end.
func TestPace(t *testing.T) {
	for _, operations := range []int{1, 2, 10, 40, 500} {
		for _, faults := range []int{0, 1, 2, 6, 39, 60} {
			for seed := range uint64(20) {
				p := newPace(operations, plan(seed, operations, faults))
				for n := 0; len(p.todo) > 0; n++ {
					next := p.todo[0]
					require.GreaterOrEqual(t, p.given, next.after, "%d operations, %d faults, seed %d", operations, faults, seed)
					require.LessOrEqual(t, p.given, next.after+2*ahead+n*fresh)
					p.todo = p.todo[1:]
					before := p.given
					met := p.meet(next)
					if faults <= operations {
						require.True(t, met)
						require.Greater(t, p.given, before, "%d operations, %d faults, seed %d", operations, faults, seed)
					}
					p.proceed()
				}
				require.Equal(t, operations, p.given)
				require.Len(t, p.permits, operations)
			}
		}
	}
}

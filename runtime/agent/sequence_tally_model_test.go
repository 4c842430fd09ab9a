package agent_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// tally says what the sequences were made of, so that one can see that they are worth something.
type tally struct {
	sequences, steps, operations, runs, disturbances int
	fulfilled, failed, expired, repeated             int
	longest, still                                   time.Duration
}

func (n *tally) add(s *swarm) {
	n.sequences++
	n.steps += s.steps
	n.disturbances += len(s.disturbed)
	n.longest, n.still = max(n.longest, s.rested), max(n.still, s.still)
	for _, o := range s.ops {
		n.operations++
		n.runs += len(o.runs)
		switch {
		case o.outcome.err == nil:
			n.fulfilled++
		case ack.CodeOf(o.outcome.err) == ack.TTLExpired:
			n.expired++
		default:
			n.failed++
		}
		if len(o.runs) > 1 {
			n.repeated++
		}
	}
}

func (n tally) plus(m tally) tally {
	return tally{
		n.sequences + m.sequences, n.steps + m.steps, n.operations + m.operations, n.runs + m.runs, n.disturbances + m.disturbances,
		n.fulfilled + m.fulfilled, n.failed + m.failed, n.expired + m.expired, n.repeated + m.repeated,
		max(n.longest, m.longest), max(n.still, m.still),
	}
}

// requireWorth fails when the sequences hold hardly anything. Many have about four times the floors; of few, only what is
// certain is asked for.
func (n tally) requireWorth(t *testing.T) {
	t.Helper()
	floor := func(each float64) int { return int(each * float64(n.sequences)) }
	switch {
	case n.sequences >= 100:
		require.GreaterOrEqual(t, n.disturbances, floor(1.5), "disturbances; %v", n)
		require.GreaterOrEqual(t, n.runs, floor(4), "runs; %v", n)
		require.GreaterOrEqual(t, n.fulfilled, floor(1.8), "fulfilled; %v", n)
		require.GreaterOrEqual(t, n.repeated, floor(0.8), "ran more than once; %v", n)
		require.GreaterOrEqual(t, n.expired, floor(0.25), "expired; %v", n)
	case n.sequences >= 10:
		require.Positive(t, min(n.disturbances, n.runs, n.fulfilled), "%v", n)
	}
}

func (n tally) String() string {
	return fmt.Sprintf("%d sequences of %d steps in all, %d of them disturbances: %d operations with %d runs; %d fulfilled, %d expired, %d ended otherwise, %d ran more than once; at rest after %v at most, nothing at work on an open one for %v at most",
		n.sequences, n.steps, n.disturbances, n.operations, n.runs, n.fulfilled, n.expired, n.failed, n.repeated, n.longest, n.still)
}

package rules

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

func TestAttemptsWithin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		attempts         int
		initial, largest time.Duration
		factor           float64
		deadline         time.Duration
		fit              int
		waited           time.Duration
	}{
		// Half of 1, 2, 4 and 8 seconds.
		{"defaults fit", 5, time.Second, 30 * time.Second, 2, 8 * time.Second, 5, 0},
		{"the last does not fit", 5, time.Second, 30 * time.Second, 2, 7500 * time.Millisecond, 4, 7500 * time.Millisecond},
		{"only the first fits", 5, time.Second, 30 * time.Second, 2, 500 * time.Millisecond, 1, 500 * time.Millisecond},
		{"single", 1, time.Second, 30 * time.Second, 2, time.Millisecond, 1, 0},
		{"equal waits", 4, time.Second, 30 * time.Second, 1, 1500 * time.Millisecond, 3, 1500 * time.Millisecond},
		{"equal waits fit", 4, time.Second, 30 * time.Second, 1, 1501 * time.Millisecond, 4, 0},
		{"largest from the start", 3, time.Minute, time.Minute, 2, time.Minute, 2, time.Minute},
		{"very many", math.MaxInt32, time.Millisecond, time.Millisecond, 2, 24 * time.Hour, 172_800_000, 24 * time.Hour},
		{"slow growth is not followed for ever", math.MaxInt32, time.Millisecond, time.Hour, 1.0000001, 24 * time.Hour, math.MaxInt32, 0},
		{"no overflow", 100, 87600 * time.Hour, 87600 * time.Hour, 1000, 87600 * time.Hour, 2, 87600 * time.Hour},
	} {
		e := &exchange{settings: schema.Settings{
			MaxAttempts: &c.attempts, InitialBackoff: &c.initial, MaxBackoff: &c.largest, Multiplier: &c.factor,
		}}
		fit, waited := e.attemptsWithin(c.deadline)
		require.Equal(t, c.fit, fit, c.name)
		require.Equal(t, c.waited, waited, c.name)
	}
}

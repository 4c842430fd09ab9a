package fullness_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/services/internal/fullness"
)

// TestOneLineForEachChange fills and empties bounds, and goes up and down around their marks.
func TestOneLineForEachChange(t *testing.T) {
	const (
		nearly = `level=WARN msg="a bound is nearly reached. Fix: raise it" bound=max_work`
		full   = `level=ERROR msg="a bound is reached, and what goes beyond it is refused. Fix: raise it" bound=max_work`
		room   = `level=INFO msg="there is room again" bound=max_work`
	)
	type step struct {
		used int
		says string
	}
	for most, steps := range map[int][]step{
		100: {
			{79, ""}, {80, nearly}, {79, ""}, {80, ""}, {70, ""}, {99, ""}, {100, full}, {120, ""}, {99, ""}, {100, ""}, {70, ""}, {100, ""},
			{69, room}, {79, ""}, {0, ""}, {100, full}, {0, room},
		},
		1:       {{0, ""}, {1, full}, {1, ""}, {0, room}},
		1 << 30: {{1 << 29, ""}, {1<<30 - 1, nearly}, {1 << 30, full}, {1 << 29, room}},
	} {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		of := fullness.Bound{Name: "max_work", Fix: "raise it"}
		var g fullness.Gauge
		roomy := true
		for i, s := range steps {
			log.Reset()
			g.Grew(logger, of, s.used, most, "address", "capability:x")
			if s.says == nearly || s.says == full {
				roomy = false
			}
			roomy = roomy || s.says == room
			require.Equal(t, roomy, g.Shrank(logger, of, s.used, most, "address", "capability:x"), "%d of %d, step %d", s.used, most, i)
			if s.says == "" {
				require.Empty(t, log.String(), "%d of %d, step %d", s.used, most, i)
				continue
			}
			require.Contains(t, log.String(), s.says, "%d of %d, step %d", s.used, most, i)
			require.Contains(t, log.String(), "address=capability:x")
			require.Equal(t, 1, strings.Count(log.String(), "\n"))
		}
	}
}

//go:build mutants

package mutants

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFit tells whether each bug can still be planted. It runs nothing.
func TestFit(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutants() {
		require.False(t, seen[m.name], "two mutants have the name %q", m.name)
		seen[m.name] = true
		for _, e := range m.edits {
			require.NotEqual(t, e.old, e.new, m.name)
			e.apply(t)
		}
	}
	require.GreaterOrEqual(t, len(seen), 14)
}

// TestCaught plants each bug and fails when its campaign passes. Each campaign has to pass without.
func TestCaught(t *testing.T) {
	sound := map[string]bool{}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			if !sound[m.by.name] {
				out, err := m.by.try(t.Context(), "")
				require.NoError(t, err, "%s fails without a planted bug:\n%s", m.by, out)
				require.NotContains(t, out, "no tests to run", "%s", m.by)
				sound[m.by.name] = true
			}
			began := time.Now()
			out, err := m.by.try(t.Context(), m.plant(t))
			switch {
			case err == nil:
				t.Errorf("SURVIVED %s: %s", m.by.name, m.by)
			case strings.Contains(out, "[build failed]") || !strings.Contains(out, "FAIL"):
				t.Errorf("it was not tried: %s\n%s", m.by, out)
			default:
				t.Logf("caught by %s after %v: %s", m.by.name, time.Since(began).Round(time.Second), symptom(out))
				t.Logf("repeat: %s", m.by)
			}
		})
	}
}

// try runs the campaign, with an overlay unless its path is empty.
func (c campaign) try(ctx context.Context, overlay string) (string, error) {
	args := []string{"test", "-count=1", "-timeout=5m", "-run", c.run}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", slices.Concat(args, []string{c.pkg}, c.flags)...)
	cmd.Dir = root
	if overlay != "" { // for programs that the campaign builds
		cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// telling are the lines of a failed test that say what was wrong, named those that say which it was.
var (
	named   = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	telling = regexp.MustCompile(`(?m)^\s*(?:Error:\s|Messages:\s|panic: |\S+_test\.go:\d+: +\S)[^\n]*(?:\n\s+(?:expected|actual) *:[^\n]*)*`)
)

// symptom is what the failed campaign said first.
func symptom(out string) string {
	const most = 200
	test := ""
	for _, m := range named.FindAllStringSubmatch(out, -1) {
		if len(m[1]) > len(test) {
			test = m[1]
		}
	}
	line := strings.Join(strings.Fields(telling.FindString(out)), " ")
	if len(line) > most {
		line = line[:most] + " …"
	}
	return test + ": " + line
}

// Package torture_test puts the example's agent to the test as its users would, with the real programs.
package torture_test

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// build builds a program of this module.
func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(pkg))
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/sw4rm/sw4rm-go/"+pkg).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// line finds the report's line about a promise.
func line(id, result string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^` + id + ` .* ` + result + ` `)
}

// TestTorture tortures the ledger that looks for tokens, and the one that does not.
func TestTorture(t *testing.T) {
	bin := t.TempDir()
	command, ledger := build(t, bin, "cmd/sw4rm"), build(t, bin, "examples/torture/ledger")
	schema, err := filepath.Abs("proto")
	require.NoError(t, err)
	torture := func(t *testing.T, flags, agent []string) (code int, report, log string) {
		t.Helper()
		book := filepath.Join(t.TempDir(), "book")
		args := append([]string{"torture", "--schema", schema, "--seed=3", "--ops=100", "--faults=6", "--data", filepath.Join(t.TempDir(), "data")}, flags...)
		if len(flags) == 0 {
			args = append(args, "--effects", book)
		}
		args = append(append(args, "--", ledger, "-book", book), agent...)
		cmd := exec.CommandContext(t.Context(), command, args...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, t.TempDir()
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), out.String(), errs.String()
	}

	t.Run("careful", func(t *testing.T) {
		t.Parallel()
		code, report, log := torture(t, nil, nil)
		require.Equal(t, 0, code, "%s%s", report, log)
		for _, id := range []string{"P2", "P3", "P4", "P7", "P8", "P11", "H1", "H2"} {
			require.Regexp(t, line(id, "held"), report)
		}
		for _, id := range []string{"P1", "P9", "P10", "P12", "P13"} {
			require.Regexp(t, line(id, "not exercised"), report)
		}
		require.NotContains(t, report, "BROKEN")
		require.Regexp(t, `(?m)^repeat with: sw4rm torture --seed=3 .* -- `+regexp.QuoteMeta(ledger), report)
		require.Regexp(t, `[1-9]\d* messages were handled, and the agent has lost the record of it`, log)
	})
	t.Run("careless", func(t *testing.T) {
		t.Parallel()
		code, report, log := torture(t, nil, []string{"-careless"})
		require.Equal(t, 7, code, "%s%s", report, log)
		require.Regexp(t, line("H1", "BROKEN"), report)
		require.Regexp(t, line("P3", "held"), report)
		require.Regexp(t, `H1 effects once is broken:\n  torture-\w+:acme\.ledger\.v1\.Ledger/\w+:\w+ \(op-\d+\) has had its effect [2-9] times\. Fix: `, report)
		require.Contains(t, log, "a promise was broken with seed 3. Fix: ")
	})
	// Without its effects seen, the ledger is found by what it answers the second time.
	t.Run("careless answers", func(t *testing.T) {
		t.Parallel()
		code, report, log := torture(t, []string{"--only=Deposit"}, []string{"-careless"})
		require.Equal(t, 7, code, "%s%s", report, log)
		require.Regexp(t, line("H1", "not exercised"), report)
		require.Regexp(t, line("H2", "BROKEN"), report)
		require.Regexp(t, `reply to torture-\w+:acme\.ledger\.v1\.Ledger/Deposit:\w+ is another one when the handler runs again`, report)
		code, report, log = torture(t, []string{"--only=Ledger/Deposit", "--any-reply"}, []string{"-careless"})
		require.Equal(t, 0, code, "%s%s", report, log)
		require.Regexp(t, line("H2", "not exercised"), report)
	})
}

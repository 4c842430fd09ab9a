package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/offline"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/up"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExitCodes(t *testing.T) {
	data := func(err error) error { return fmt.Errorf("wrapped: %w", &up.DataError{Dir: "d", Err: err}) }
	for _, test := range []struct {
		err  error
		code int
	}{
		{errors.New("anything"), ExitError},
		{usageError{errors.New("x")}, ExitUsage},
		{fmt.Errorf("router: %w", &server.AddressError{Addr: "a"}), ExitAddress},
		{data(errors.New("no space")), ExitData},
		{data(&store.InUseError{Dir: "d"}), ExitData},
		{data(&store.VersionError{Dir: "d"}), ExitData},
		{data(&store.DamagedError{File: "f", Err: errors.New("checksum")}), ExitDamaged},
		{fmt.Errorf("write: %w", store.ErrFailed), ExitFailed},
		{fmt.Errorf("%w: %w", store.ErrFailed, &store.DamagedError{File: "f", Err: errors.New("checksum")}), ExitDamaged},
		{&store.InUseError{Dir: "d"}, ExitData},
		{&store.VersionError{Dir: "d"}, ExitData},
		{fmt.Errorf("wrapped: %w", &store.PermissionError{Dir: "d"}), ExitData},
		{&offline.TargetError{Path: "d"}, ExitData},
		{&offline.WrongKindError{Dir: "d"}, ExitData},
		{&offline.DamageError{Dir: "d", Count: 1}, ExitDamaged},
		{&offline.BackupError{Backup: "b", Err: errors.New("checksum")}, ExitDamaged},
	} {
		require.Equal(t, test.code, exitCode(test.err), "%v", test.err)
	}
}

func TestHelpListsEveryExitCode(t *testing.T) {
	var stdout bytes.Buffer
	require.Equal(t, ExitOK, Run(t.Context(), []string{"--help"}, func(string) string { return "" }, &stdout, io.Discard))
	for code := range exits {
		require.Equal(t, 1, strings.Count(stdout.String(), fmt.Sprintf("\n  %d  ", code)), "exit code %d", code)
	}
	require.Equal(t, 7, ExitBroken, "scripts know the codes by number")
}

func TestErrorsAreOneLineWithARemedy(t *testing.T) {
	require.Equal(t, "a b. Fix: see sw4rm up --help, and what is printed above", line(errors.New("a\n  b."), "sw4rm up"))
	require.Equal(t, "a. Fix: b", line(errors.New("a. Fix: b"), "sw4rm up"))
}

func TestLease(t *testing.T) {
	for s, want := range map[string]time.Duration{"": 0, "30": 30 * time.Second, "0.5": 500 * time.Millisecond, "86400": 24 * time.Hour} {
		got, err := lease(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"0", "-1", "NaN", "Inf", "1e300", "86401", "30s", " "} {
		_, err := lease(s)
		require.ErrorContains(t, err, envLease, s)
	}
}

func TestLimitsOfUp(t *testing.T) {
	for _, name := range []string{"max-work", "max-waiting", "max-agents"} {
		for _, n := range []string{"0", "-1"} {
			cmd := newUp(func(string) string { return "" })
			cmd.SetArgs([]string{"--" + name + "=" + n, "--data=" + t.TempDir()})
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			err := cmd.ExecuteContext(t.Context())
			require.EqualError(t, err, "--"+name+" is "+n+". Fix: set it to 1 or more")
			require.Equal(t, ExitUsage, exitCode(err))
		}
	}
}

func TestDiskSize(t *testing.T) {
	for s, want := range map[string]int64{"0": -1, "0GiB": -1, "1": 1, "256MiB": 256 << 20, "2GiB": 2 << 30, "3KiB": 3 << 10} {
		got, err := diskSize(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "-1", "1MB", "9999999999GiB", "MiB", "1 MiB"} {
		_, err := diskSize(s)
		require.ErrorContains(t, err, "such as 256MiB", s)
	}
}

func TestFlagsOverrideTheEnvironment(t *testing.T) {
	env := map[string]string{envRouter: "192.0.2.1:1", envRegistry: "192.0.2.2:2", envData: t.TempDir() + "/data"}
	var stdout, stderr bytes.Buffer
	run := func(args ...string) int {
		stdout.Reset()
		stderr.Reset()
		return Run(t.Context(), args, func(k string) string { return env[k] }, &stdout, &stderr)
	}
	require.Equal(t, ExitAddress, run("up"))
	require.Contains(t, stderr.String(), "192.0.2.1:1")
	require.Equal(t, ExitAddress, run("up", "--router", "127.0.0.1:0"))
	require.Contains(t, stderr.String(), "192.0.2.2:2")
	require.Equal(t, ExitOK, run("--help"))
	require.Contains(t, stdout.String(), "Exit codes:")
}

package process

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAwait(t *testing.T) {
	var heard []string
	dir := t.TempDir()
	p, err := Start("p", dir, shell("echo one; echo at 5; echo trouble >&2; exit 3"), func(line string) { heard = append(heard, line) })
	require.NoError(t, err)
	rest, err := p.Await(soon(t), "at ")
	require.NoError(t, err)
	require.Equal(t, "5", rest)
	_, err = p.Await(soon(t), "never ")
	require.ErrorContains(t, err, "p ended (exit status 3)")
	require.ErrorContains(t, err, "trouble")
	require.Equal(t, 3, p.ExitCode())
	require.Error(t, p.Err())
	require.Equal(t, []string{"one", "at 5"}, heard)
	require.Equal(t, "trouble\n", p.Tail())
	require.Equal(t, "p", p.Name())
	p.Kill() // of one that has ended
}

func TestStop(t *testing.T) {
	p, err := Start("p", t.TempDir(), exec.Command("sleep", "60"), nil)
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.Await(ended, "ready")
	require.ErrorIs(t, err, context.Canceled)
	require.Error(t, p.Stop(soon(t)), "a signal has ended it")
	<-p.Done()
	stubborn, err := Start("stubborn", t.TempDir(), shell("trap '' TERM; echo ready; while :; do sleep 0.05; done"), nil)
	require.NoError(t, err)
	_, err = stubborn.Await(soon(t), "ready")
	require.NoError(t, err)
	require.ErrorContains(t, stubborn.Stop(ended), "stubborn does not stop")
	stubborn.Kill()
	require.Equal(t, -1, stubborn.ExitCode())
}

// TestForeign kills, freezes and thaws a program together with its child.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	beats := filepath.Join(dir, "beats")
	p, err := StartForeign("p", dir, shell(`(while :; do echo beat >>`+beats+`; sleep 0.01; done) & echo said; wait`))
	require.NoError(t, err)
	count := func() int {
		data, err := os.ReadFile(beats)
		if !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
		}
		return bytes.Count(data, []byte("beat"))
	}
	moves := func(from int) {
		require.Eventually(t, func() bool { return count() > from }, 30*time.Second, time.Millisecond)
	}
	stands := func() int {
		var n int
		require.Eventually(t, func() bool { was := n; n = count(); return was == n && n > 0 }, 30*time.Second, 200*time.Millisecond)
		return n
	}
	moves(0)
	p.Freeze()
	n := stands()
	p.Thaw()
	moves(n)
	p.Pause(time.Millisecond)
	moves(count())
	p.Kill()
	stands()
	require.Equal(t, "said", strings.TrimSpace(p.Tail()))
}

func TestWhatCannotStart(t *testing.T) {
	_, err := Start("p", t.TempDir(), exec.Command(filepath.Join(t.TempDir(), "nothing")), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = StartForeign("p", t.TempDir(), exec.Command(filepath.Join(t.TempDir(), "nothing")))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Start("p", filepath.Join(t.TempDir(), "nowhere"), exec.Command("true"), nil)
	require.ErrorContains(t, err, "log of p")
	_, err = StartForeign("p", filepath.Join(t.TempDir(), "nowhere"), exec.Command("true"))
	require.ErrorContains(t, err, "log of p")
}

func TestFreeAddr(t *testing.T) {
	addr, err := FreeAddr()
	require.NoError(t, err)
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

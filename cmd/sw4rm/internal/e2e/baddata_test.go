package e2e

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

// TestDirectoryInUse opens one data directory twice, in this process and in another.
func TestDirectoryInUse(t *testing.T) {
	s := newServices(t, t.TempDir(), time.Second)
	dir := workDir(t)
	require.NoError(t, os.Mkdir(historyDir(dir), 0o700))
	first := ours(t, s, agent.Config{ID: workers[0], DataDir: dataDir(dir, workers[0])})

	_, err := sw4rm.New(agent.Config{ID: workers[0], DataDir: dataDir(dir, workers[0]), Logger: quiet()})
	var inUse *store.InUseError
	require.ErrorAs(t, err, &inUse)
	require.ErrorContains(t, err, "Fix: stop that process, or use another directory")

	cmd, err := cast(roleWorker, workers[0], 1, dir, 0, s.router, s.registry)
	require.NoError(t, err)
	other := launch(t, "other", dir, cmd, nil)
	require.Error(t, other.Err())
	require.Contains(t, other.Tail(), inUse.Error())

	_, err = tell.Send(t.Context(), exchange.NewClient(first, address.Agent("absent")), wrapperspb.String("good"))
	require.NoError(t, err, "the first one works on")
}

// filled returns the data directory of a closed agent that has stored messages, in tables and in the log.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	for range 2 { // opening moves what the log holds into a table
		a, err := sw4rm.New(agent.Config{ID: "sender", DataDir: dir, Logger: quiet()})
		require.NoError(t, err)
		for n := range stored / 2 {
			_, err := tell.Send(t.Context(), exchange.NewClient(a, address.Agent("absent")), wrapperspb.String(fmt.Sprintf("message %d", n)))
			require.NoError(t, err)
		}
		require.NoError(t, a.Close())
	}
	return dir
}

// stored is how many messages filled stores.
const stored = 50

// TestDamagedDirectory changes one byte of each file that holds what an agent has stored.
func TestDamagedDirectory(t *testing.T) {
	dir := filled(t)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	tried := 0
	for _, entry := range entries {
		whole, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		require.NoError(t, err)
		if len(whole) == 0 || strings.HasPrefix(entry.Name(), "OPTIONS") || isOld(t, dir, entry.Name()) {
			continue // no stored message depends on it
		}
		for _, at := range []int{0, len(whole) / 2, len(whole) - 1} {
			tried++
			t.Run(fmt.Sprintf("%s at %d", entry.Name(), at), func(t *testing.T) {
				hurt := filepath.Join(t.TempDir(), "data")
				require.NoError(t, os.CopyFS(hurt, os.DirFS(dir)))
				require.NoError(t, os.Chmod(hurt, 0o700))
				broken := append([]byte(nil), whole...)
				broken[at] ^= 0x10
				require.NoError(t, os.WriteFile(filepath.Join(hurt, entry.Name()), broken, 0o600))

				err := readAll(t, hurt)
				if entry.Name() == "sw4rm.synced" {
					// It is what damage to others is found by; broken, it claims less, and nothing is missing.
					require.NoError(t, err)
					return
				}
				var damage *store.DamagedError
				require.ErrorAs(t, err, &damage)
				require.ErrorContains(t, err, "Fix: restore the directory from a backup")
				require.Contains(t, damage.File, hurt)
				after, err := os.ReadFile(filepath.Join(hurt, entry.Name()))
				require.NoError(t, err)
				require.Equal(t, broken, after, "the damaged file was left as it is")
			})
		}
	}
	require.GreaterOrEqual(t, tried, 15, "a table, a log, a manifest, the format and the note of what is synced")
	require.NoError(t, readAll(t, dir))
}

// isOld tells whether a file is a manifest that the current one has replaced.
func isOld(t *testing.T, dir, name string) bool {
	t.Helper()
	if !strings.HasPrefix(name, "MANIFEST-") {
		return false
	}
	markers, err := filepath.Glob(filepath.Join(dir, "marker.manifest.*."+name))
	require.NoError(t, err)
	return len(markers) == 0
}

// readAll opens the agent and reads everything that it has stored.
func readAll(t *testing.T, dir string) error {
	t.Helper()
	a, err := sw4rm.New(agent.Config{ID: "sender", DataDir: dir, Logger: quiet()})
	if err != nil {
		return err
	}
	defer func() { _ = a.Close() }() // what was damaged may fail once more
	for _, rec := range a.Buffer().OpenOut() {
		if _, err := a.Buffer().OutBody(rec.GetSequence()); err != nil {
			return err
		}
	}
	require.Len(t, a.Buffer().OpenOut(), stored)
	return nil
}

// newerFormat is what a version that writes another format leaves in sw4rm.format.
func newerFormat() string {
	text := "sw4rm format 2\nstate ready\nid x\n"
	return text + fmt.Sprintf("crc32c %08x\n", crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

// TestNewerDirectory opens a data directory of a format that this version does not know.
func TestNewerDirectory(t *testing.T) {
	dir := filled(t)
	path := filepath.Join(dir, "sw4rm.format")
	text := newerFormat()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))

	_, err := sw4rm.New(agent.Config{ID: "sender", DataDir: dir, Logger: quiet()})
	var version *store.VersionError
	require.ErrorAs(t, err, &version)
	require.Equal(t, 2, version.Found)
	require.ErrorContains(t, err, "Fix: use the version that wrote it, or a newer one")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, text, string(after))
}

func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	require.NoError(t, os.Chmod(dir, 0o700))
}

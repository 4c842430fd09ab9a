//go:build unix

package pebble_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	d := open(t, dir, quiet(nil).Tiny())
	_, err := appendUntil(t.Context(), d, 2, 0, 300)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	requireMode(t, dir, 0o700)
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			requireMode(t, path, 0o600)
		}
		return err
	}))
}

func requireMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode().Perm(), path)
}

func TestReadableDirectoryIsRestricted(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	open(t, dir, quiet(nil))
	requireMode(t, dir, 0o700)
}

func TestUnusableDirectories(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o770))
	_, err := pebble.Open(dir, quiet(nil))
	requirePermission(t, err)
	requireMode(t, dir, 0o770)

	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600))
	_, err = pebble.Open(dir, quiet(nil))
	requirePermission(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	for _, dir := range []string{"", filepath.Join(dir, "thesis.tex"), filepath.Join(dir, "thesis.tex", "below")} {
		_, err = pebble.Open(dir, quiet(nil))
		requirePermission(t, err)
	}
}

func requirePermission(t *testing.T, err error) {
	t.Helper()
	var refused *store.PermissionError
	require.ErrorAs(t, err, &refused)
	require.NotEmpty(t, refused.Fix)
}

func TestOneOpener(t *testing.T) {
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(real, link))
	d := open(t, link, quiet(nil))
	for _, dir := range []string{real, link, real + "/."} {
		_, err := pebble.Open(dir, quiet(nil))
		var used *store.InUseError
		require.ErrorAs(t, err, &used, dir)
	}
	require.NoError(t, d.Close())
	again := open(t, real, quiet(nil))
	require.Equal(t, d.Instance().ID, again.Instance().ID)
	require.Equal(t, d.Instance().Epoch+1, again.Instance().Epoch)
}

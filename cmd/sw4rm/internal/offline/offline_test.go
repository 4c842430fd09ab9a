package offline

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPrintable(t *testing.T) {
	require.Equal(t, "plain ü 漢", printable("plain ü 漢"))
	require.Equal(t, "\ufffd[31mred\ufffd\ufffd", printable("\x1b[31mred\n\u202e"))
}

func TestBuildIsAllOrNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "new")
	stop := errors.New("the disk is full")
	require.ErrorIs(t, build(dir, func(tmp string) error {
		require.NoError(t, os.WriteFile(filepath.Join(tmp, "part"), nil, 0o600))
		return stop
	}), stop)
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Empty(t, left)

	require.NoError(t, os.Mkdir(dir, 0o700), "an empty one may be there")
	require.NoError(t, build(dir, func(tmp string) error { return os.WriteFile(filepath.Join(tmp, "whole"), nil, 0o600) }))
	require.FileExists(t, filepath.Join(dir, "whole"))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	var refused *TargetError
	require.ErrorAs(t, build(dir, func(string) error { return nil }), &refused)
	require.ErrorAs(t, build(filepath.Join(dir, "whole"), func(string) error { return nil }), &refused)
	require.ErrorAs(t, build(filepath.Join(dir, "whole", "x"), func(string) error { return nil }), &refused)
}

// TestImportOfAnything gives the readers of text what they must refuse without harm.
func TestImportOfAnything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for _, text := range []string{"", "\x00", "{}", "null", `{"records":null,"order":null}`, `{"records":{"a":null},"order":["a"]}`, strings.Repeat("[", 1<<16)} {
		require.Error(t, Import(t.Context(), dir, strings.NewReader(text), &strings.Builder{}), text[:min(len(text), 20)])
		err := ImportSDK(t.Context(), dir, strings.NewReader(text), SDKImport{Agent: "me"}, &strings.Builder{})
		require.Error(t, err, text[:min(len(text), 20)])
		require.NoDirExists(t, dir)
	}
	require.NoError(t, ImportSDK(t.Context(), dir, strings.NewReader(`{"records":{},"order":[],"version":"1.0"}`), SDKImport{Agent: "me"}, &strings.Builder{}))
	require.DirExists(t, dir)
}

// TestSalvageWithoutAnything makes an empty directory of one in which nothing can be read any more.
func TestSalvageWithoutAnything(t *testing.T) {
	root := t.TempDir()
	src, dst := filepath.Join(root, "src"), filepath.Join(root, "dst")
	d, err := pebble.Open(src, options())
	require.NoError(t, err)
	var b store.Batch
	b.Set([]byte("mo"), []byte("12345678"))
	require.NoError(t, store.Write(t.Context(), d, &b))
	require.NoError(t, d.Close())
	files, err := filepath.Glob(filepath.Join(src, "*"))
	require.NoError(t, err)
	for _, f := range files {
		require.NoError(t, os.WriteFile(f, []byte("garbage"), 0o600))
	}
	var out strings.Builder
	require.NoError(t, Salvage(t.Context(), src, dst, &out))
	require.Contains(t, out.String(), "lost: "+filepath.Join(src, "sw4rm.format"))
	require.Contains(t, out.String(), "copied: 0 records")
	out.Reset()
	require.NoError(t, Verify(t.Context(), dst, &out))
	require.Contains(t, out.String(), "whole: ")
	require.ErrorContains(t, Verify(t.Context(), src, &out), "is damaged in 1 places")
}

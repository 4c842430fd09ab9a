package rules_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
)

// Buf itself runs the plugin and prints the findings in testdata/*/want-buf.txt, with the example's buf.yaml but for the
// rules of buf's own.
func TestBuf(t *testing.T) {
	t.Parallel()
	buf := build(t)
	all := cases()
	// Another plugin's extensions have our number. Only the plugin itself can decode such a request.
	all["foreign"] = schemas{now: "testdata/foreign"}
	for name, s := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := workspace(t, s.now)
			edit(t, filepath.Join(now, "buf.yaml"), "use: [STANDARD, ", "use: [")
			edit(t, filepath.Join(now, "buf.yaml"), "use: [WIRE, ", "use: [")
			var got string
			if s.before == "" {
				got = buf.run(t, now, "lint")
			} else {
				got = buf.run(t, now, "breaking", "--against", workspace(t, s.before))
			}
			want := filepath.Join("testdata", name, "want-buf.txt")
			if *update {
				require.NoError(t, os.WriteFile(want, []byte(got), 0o644))
			}
			b, err := os.ReadFile(want)
			require.NoError(t, err, "run go test ./internal/rules -update")
			require.Equal(t, string(b), got, "run go test ./internal/rules -update, and read the difference")
		})
	}
	t.Run("example", func(t *testing.T) {
		t.Parallel()
		dir := workspace(t, example)
		require.Empty(t, buf.run(t, dir, "lint"))
		require.Empty(t, buf.run(t, dir, "breaking", "--against", workspace(t, example)))
		broken := workspace(t, example)
		edit(t, filepath.Join(broken, "proto/acme/orders/v1/orders.proto"), `path: ["order_id"]`, `path: ["order_id", "parcel_id"]`)
		edit(t, filepath.Join(broken, "proto/acme/orders/v1/orders.proto"), "  double limit = 2;", "  double limit = 2;\n  string parcel_id = 3;")
		require.Equal(t, "proto/acme/orders/v1/orders.proto:29:11:acme.orders.v1.Fulfilment.Pack: the key was order_id (1, string) and is "+
			"order_id (1, string), parcel_id (3, string): what was done under the old key is done again, and other calls may get its outcome. "+
			"Fix: keep the key's fields with their numbers and types, or add an exchange with another name (buf-plugin-sw4rm)\n",
			buf.run(t, broken, "breaking", "--against", dir))
	})
	t.Run("no source info", func(t *testing.T) {
		t.Parallel()
		dir := workspace(t, "testdata/invalid")
		buf.run(t, dir, "build", "--exclude-source-info", "-o", "image.binpb")
		require.Contains(t, buf.run(t, dir, "lint", "image.binpb"),
			"acme.invalid.v1.Bad.Talk: acme.invalid.v1.Bad.Talk is a bidirectional stream")
	})
	t.Run("wrong option", func(t *testing.T) {
		t.Parallel()
		dir := workspace(t, example)
		edit(t, filepath.Join(dir, "buf.yaml"), "services: annotated", "services: some")
		require.Contains(t, buf.run(t, dir, "lint"), "option services is some. Fix: use annotated (the default), all")
	})
}

// programs are a folder with buf and the plugin.
type programs string

func build(t *testing.T) programs {
	t.Helper()
	dir := t.TempDir()
	goBuild(t, root, "-modfile=tools/go.mod", "-o", filepath.Join(dir, "buf"), "github.com/bufbuild/buf/cmd/buf")
	goBuild(t, "../..", "-o", filepath.Join(dir, "buf-plugin-sw4rm"), ".")
	return programs(dir)
}

func goBuild(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"build"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// run returns what buf prints.
func (p programs) run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(string(p), "buf"), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+string(p)+string(os.PathListSeparator)+os.Getenv("PATH"), "BUF_CACHE_DIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return string(out)
}

// workspace returns a folder with schemas, the example's buf.yaml and our options.
func workspace(t *testing.T, schemas string) string {
	t.Helper()
	dir := t.TempDir()
	config, err := os.ReadFile("../../example/buf.yaml")
	require.NoError(t, err)
	write(t, dir, "buf.yaml", string(config))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "proto"), os.DirFS(schemas)))
	write(t, dir, "third_party/sw4rm/options/v1/options.proto", optionspb.Source)
	return dir
}

// edit replaces the one place where a file says old.
func edit(t *testing.T, file, old, new string) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(b), old), old)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(b), old, new, 1)), 0o644))
}

package golden

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// compiled are schemas for compilers that know no editions.
var compiled = []string{"shapes/shapes.proto", "two_files/a.proto", "two_files/b.proto"}

// buildPlugin builds the plugin as its users run it.
func buildPlugin(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "protoc-gen-sw4rm")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../protoc-gen-sw4rm").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// requireCompiled compares what a compiler has written with the golden code.
func requireCompiled(t *testing.T, dir string) {
	t.Helper()
	for _, path := range compiled {
		name := strings.TrimSuffix(path, ".proto") + "_sw4rm.pb.go"
		want, err := os.ReadFile(name)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

// TestProtoc lets protoc run the plugin: its descriptors say other things of positions than buf's, and the code must not.
func TestProtoc(t *testing.T) {
	t.Parallel()
	protoc, err := exec.LookPath("protoc")
	if err != nil {
		t.Skip("protoc was not found; .ci/run installs it on Debian")
	}
	plugin, dir := buildPlugin(t), t.TempDir()
	run := func(paths ...string) (string, error) {
		args := []string{"-I", ".", "-I", "../proto", "--plugin", plugin, "--sw4rm_out", dir, "--sw4rm_opt", "paths=source_relative"}
		out, err := exec.CommandContext(t.Context(), protoc, append(args, paths...)...).CombinedOutput()
		return string(out), err
	}
	for _, path := range compiled { // two_files in two calls
		out, err := run(path)
		require.NoError(t, err, out)
	}
	requireCompiled(t, dir)

	want, err := os.ReadFile("errors_streams/want.txt")
	require.NoError(t, err)
	out, err := run("errors_streams/streams.proto")
	require.Error(t, err)
	require.Equal(t, "--sw4rm_out: "+string(want), out)
}

// TestBuf lets buf run the plugin, once a folder and once for all.
func TestBuf(t *testing.T) {
	t.Parallel()
	plugin := buildPlugin(t)
	modfile, err := filepath.Abs("../tools/go.mod")
	require.NoError(t, err)
	for _, strategy := range []string{"directory", "all"} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			template := fmt.Sprintf(`{"version": "v2", "plugins": [{"local": %q, "out": %q, "opt": "paths=source_relative", "strategy": %q}]}`,
				plugin, dir, strategy)
			workspace := `{"version": "v2", "modules": [{"path": "golden"}, {"path": "proto"}]}`
			args := []string{"tool", "-modfile=" + modfile, "buf", "generate", "--config", workspace, "--template", template}
			for _, path := range compiled {
				args = append(args, "--path", filepath.Join("golden", path))
			}
			cmd := exec.CommandContext(t.Context(), "go", args...)
			cmd.Dir = ".."
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			requireCompiled(t, dir)
		})
	}
}

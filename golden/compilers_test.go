package golden

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
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
		requireSame(t, dir, strings.TrimSuffix(path, ".proto")+"_sw4rm.pb.go")
	}
}

// requireSame compares a file in dir with the golden file of that name.
func requireSame(t *testing.T, dir, name string) {
	t.Helper()
	require.Equal(t, plugintest.ReadFile(t, name), plugintest.ReadFile(t, filepath.Join(dir, name)), name)
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
	for _, strategy := range []string{"directory", "all"} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			buf(t, fmt.Sprintf(`{"local": %q, "out": %q, "opt": "paths=source_relative", "strategy": %q}`, plugin, dir, strategy), compiled...)
			requireCompiled(t, dir)
		})
	}
	// Only buf compiles this edition; plugintest does not.
	t.Run(plugintest.BufOnly, func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		schema := plugintest.BufOnly + "/editions.proto"
		buf(t, fmt.Sprintf(`{"local": %q, "out": %q, "opt": "paths=source_relative"}, `+
			`{"local": ["go", "tool", "protoc-gen-go"], "out": %q, "opt": "paths=source_relative"}`, plugin, dir, dir), schema)
		for _, end := range []string{".pb.go", "_sw4rm.pb.go"} {
			name := strings.TrimSuffix(schema, ".proto") + end
			if *update {
				require.NoError(t, os.WriteFile(name, []byte(plugintest.ReadFile(t, filepath.Join(dir, name))), 0o644))
			}
			requireSame(t, dir, name)
		}
	})
}

// buf generates code for golden schemas with the given plugins of buf.gen.yaml.
func buf(t *testing.T, plugins string, schemas ...string) {
	t.Helper()
	modfile, err := filepath.Abs("../tools/go.mod")
	require.NoError(t, err)
	args := []string{
		"tool", "-modfile=" + modfile, "buf", "generate",
		"--config", `{"version": "v2", "modules": [{"path": "golden"}, {"path": "proto"}]}`,
		"--template", `{"version": "v2", "plugins": [` + plugins + `]}`,
	}
	for _, path := range schemas {
		args = append(args, "--path", filepath.Join("golden", path))
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

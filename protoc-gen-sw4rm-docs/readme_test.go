package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
)

// TestReadme does with buf what README.md says, and compares what comes of it with the golden documents.
func TestReadme(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds buf")
	}
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	dir := t.TempDir()
	build(t, filepath.Join(root, "tools"), filepath.Join(dir, "buf"), "github.com/bufbuild/buf/cmd/buf")
	build(t, ".", filepath.Join(dir, "protoc-gen-sw4rm-docs"), ".")

	work := filepath.Join(dir, "work")
	require.NoError(t, os.CopyFS(filepath.Join(work, "proto"), os.DirFS("testdata/proto")))
	options := filepath.Join(work, "proto", "sw4rm", "options", "v1", "options.proto")
	require.NoError(t, os.MkdirAll(filepath.Dir(options), 0o755))
	require.NoError(t, os.WriteFile(options, []byte(optionspb.Source), 0o600))
	// The tool that a user's module has is the program on the PATH here.
	const tool = "[go, tool, protoc-gen-sw4rm-docs]"
	template := block(t, "buf.gen.yaml")
	require.Contains(t, template, tool)
	template = strings.Replace(template, tool, "protoc-gen-sw4rm-docs", 1)
	require.NoError(t, os.WriteFile(filepath.Join(work, "buf.gen.yaml"), []byte(template), 0o600))
	buf := exec.CommandContext(t.Context(), filepath.Join(dir, "buf"), "generate")
	buf.Dir = work
	buf.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+dir)
	out, err := buf.CombinedOutput()
	require.NoError(t, err, string(out))

	got := read(t, filepath.Join(work, "docs"))
	for name, want := range read(t, "testdata/golden") {
		// The golden documents are without a version.
		require.Equal(t, strings.ReplaceAll(want, `"version": "0.0.0"`, `"version": "1.2.0"`), got[name], name)
	}
	require.Len(t, got, len(read(t, "testdata/golden")))
}

// build builds a program of the module in dir.
func build(t *testing.T, dir, program, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, pkg)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// block returns the code block of README.md that is the named file.
func block(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(b), "<!-- file: "+name+" -->\n```yaml\n")
	require.True(t, ok)
	text, _, ok := strings.Cut(rest, "```\n")
	require.True(t, ok)
	return text
}

func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	root := os.DirFS(dir)
	require.NoError(t, fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, name)
		files[name] = string(b)
		return err
	}))
	return files
}

package plugintest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/pluginpb"
)

// parameters returns those of golden folders, besides paths=source_relative.
func parameters() map[string]string {
	return map[string]string{
		"all":         "services=all",
		"suffix":      "package_suffix=sw4rm",
		"only_send":   "only=send",
		"only_handle": "only=handle",
	}
}

// Golden returns the request for the schemas in the folder name below root, which is that of the golden files.
func Golden(t testing.TB, root, name string) *pluginpb.CodeGeneratorRequest {
	t.Helper()
	parameter := strings.Trim("paths=source_relative,"+parameters()[name], ",")
	files := Find(t, root, name, func(p string) bool { return strings.HasSuffix(p, ".proto") })
	require.NotEmpty(t, files, name)
	return Request(t, []string{root, filepath.Join(root, "../proto")}, parameter, files...)
}

// BufOnly is the golden folder with an edition that nothing but buf compiles.
const BufOnly = "edition_2024"

// GoldenNames returns the golden folders below root that this package can compile.
func GoldenNames(t testing.TB, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "cases" && e.Name() != "testdata" && e.Name() != BufOnly {
			names = append(names, e.Name())
		}
	}
	return names
}

// Find returns the files in the folder name below root that match, with slashes, sorted, relative to root.
func Find(t testing.TB, root, name string, match func(file string) bool) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(filepath.Join(root, name), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && match(p) {
			rel, err := filepath.Rel(root, p)
			require.NoError(t, err)
			found = append(found, filepath.ToSlash(rel))
		}
		return err
	}))
	return found
}

// SameAsGolden holds resp to what is committed in the folder name below root.
func SameAsGolden(t testing.TB, root, name string, resp *pluginpb.CodeGeneratorResponse) {
	t.Helper()
	want := GoldenFiles(name, resp)
	for file, content := range want {
		got, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err, "run go test ./golden -update")
		require.Equal(t, content, string(got), file)
	}
	for _, file := range Find(t, root, name, func(p string) bool {
		return strings.HasSuffix(p, "_sw4rm.pb.go") || filepath.Base(p) == "want.txt"
	}) {
		require.Contains(t, want, file, "nothing writes this file any more; run go test ./golden -update")
	}
}

// GoldenFiles returns what is committed of resp: the files, or the error in want.txt.
func GoldenFiles(name string, resp *pluginpb.CodeGeneratorResponse) map[string]string {
	files := Contents(resp)
	if resp.Error != nil {
		files[name+"/want.txt"] = resp.GetError() + "\n"
	}
	return files
}

// Package golden holds the generator to its output: one folder a case, with the schemas and what comes of them. A case
// whose schemas are right has the generated code, compiled with the module; one whose schemas are wrong has the error in
// want.txt. Run go test ./golden -update to write what the generator says now.
package golden

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

var update = flag.Bool("update", false, "write the golden files")

// setup is what a case asks for besides its schemas.
type setup struct {
	parameter string
	// grpc writes the code of protoc-gen-go-grpc beside ours.
	grpc bool
}

func setups() map[string]setup {
	return map[string]setup{
		"beside_grpc": {grpc: true},
		"all":         {parameter: "services=all"},
		"suffix":      {parameter: "package_suffix=sw4rm"},
		"only_send":   {parameter: "only=send"},
		"only_handle": {parameter: "only=handle"},
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	cases := schemas(t)
	require.NotEmpty(t, cases)
	for name, files := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setups()[name]
			parameter := strings.Trim("paths=source_relative,"+s.parameter, ",")
			req := plugintest.Request(t, []string{".", "../proto"}, parameter, files...)
			resp := plugintest.Run(t, req)
			want := map[string]string{}
			if resp.Error != nil {
				want[name+"/want.txt"] = resp.GetError() + "\n"
			}
			for _, f := range resp.GetFile() {
				want[f.GetName()] = f.GetContent()
			}
			if *update {
				rewrite(t, name, s, req, resp, want)
			}
			for file, content := range want {
				got, err := os.ReadFile(file)
				require.NoError(t, err, "run go test ./golden -update")
				require.Equal(t, content, string(got), file)
			}
			for _, file := range written(t, name) {
				require.Contains(t, want, file, "nothing writes this file any more; run go test ./golden -update")
			}
		})
	}
}

// schemas returns the .proto files of each case.
func schemas(t *testing.T) map[string][]string {
	t.Helper()
	cases := map[string][]string{}
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".proto") {
			name, _, _ := strings.Cut(filepath.ToSlash(path), "/")
			cases[name] = append(cases[name], filepath.ToSlash(path))
		}
		return err
	}))
	return cases
}

// written returns the files of a case that this generator wrote, now or earlier.
func written(t *testing.T, name string) []string {
	t.Helper()
	return find(t, name, func(path string) bool {
		return strings.HasSuffix(path, "_sw4rm.pb.go") || filepath.Base(path) == "want.txt"
	})
}

func find(t *testing.T, dir string, match func(string) bool) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && match(path) {
			found = append(found, filepath.ToSlash(path))
		}
		return err
	}))
	return found
}

// rewrite removes what was written for a case and writes it again, with the code of the other generators.
func rewrite(t *testing.T, name string, s setup, req *pluginpb.CodeGeneratorRequest, resp *pluginpb.CodeGeneratorResponse, want map[string]string) {
	t.Helper()
	for _, file := range find(t, name, func(path string) bool {
		return strings.HasSuffix(path, ".pb.go") || filepath.Base(path) == "want.txt"
	}) {
		require.NoError(t, os.Remove(file))
	}
	all := []map[string]string{want}
	if resp.Error == nil {
		all = append(all, plugintest.Tool(t, req, "protoc-gen-go", "paths=source_relative"))
		if s.grpc {
			all = append(all, plugintest.Tool(t, req, "protoc-gen-go-grpc", "paths=source_relative"))
		}
	}
	for _, files := range all {
		for file, content := range files {
			require.True(t, filepath.IsLocal(file))
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, bytes.ReplaceAll([]byte(content), []byte("\r\n"), []byte("\n")), 0o644))
		}
	}
}

// Package golden holds the generator to its output: one folder a case, with the schemas and what comes of them. A case
// whose schemas are right has the generated code, compiled with the module; one whose schemas are wrong has the error in
// want.txt. Run go test ./golden -update to write what the generator says now.
//
// The folders in cases have schemas only: the tests of protoc-gen-sw4rm/plugin compile what comes of them.
package golden

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

var update = flag.Bool("update", false, "write the golden files")

// besideGRPC is the folder with the code of protoc-gen-go-grpc beside ours.
const besideGRPC = "beside_grpc"

func TestGolden(t *testing.T) {
	t.Parallel()
	names := plugintest.GoldenNames(t, ".")
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := plugintest.Golden(t, ".", name)
			resp := plugintest.Run(t, req)
			var beside map[string]string
			if resp.Error == nil {
				beside = others(t, name, req)
			}
			if *update {
				rewrite(t, name, plugintest.GoldenFiles(name, resp), beside)
			}
			plugintest.SameAsGolden(t, ".", name, resp)
			for file, want := range beside {
				require.Equal(t, want, plugintest.ReadFile(t, file), "%s: run go test ./golden -update", file)
			}
			for _, file := range plugintest.Find(t, ".", name, func(p string) bool {
				return strings.HasSuffix(p, ".pb.go") && !strings.HasSuffix(p, "_sw4rm.pb.go")
			}) {
				require.Contains(t, beside, file, "nothing writes this file any more; run go test ./golden -update")
			}
		})
	}
}

// others returns what the other generators write for a case.
func others(t *testing.T, name string, req *pluginpb.CodeGeneratorRequest) map[string]string {
	t.Helper()
	files := plugintest.Messages(t, req)
	if name == besideGRPC {
		maps.Copy(files, plugintest.Tool(t, req, "protoc-gen-go-grpc", "paths=source_relative"))
	}
	return files
}

// rewrite removes what was written for a case and writes it again, with the code of the other generators.
func rewrite(t *testing.T, name string, ours, others map[string]string) {
	t.Helper()
	for _, file := range plugintest.Find(t, ".", name, func(path string) bool {
		return strings.HasSuffix(path, ".pb.go") || filepath.Base(path) == "want.txt"
	}) {
		require.NoError(t, os.Remove(file))
	}
	for _, files := range []map[string]string{ours, others} {
		for file, content := range files {
			require.True(t, filepath.IsLocal(file))
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
		}
	}
}

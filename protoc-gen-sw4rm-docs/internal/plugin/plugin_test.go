package plugin_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/plugin"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

var update = flag.Bool("update", false, "write the golden documents")

const golden = "../../testdata/golden"

// request is a compiler's request for the example schemas.
func request(t testing.TB, parameter string) *pluginpb.CodeGeneratorRequest {
	t.Helper()
	return plugintest.Request(t, []string{"../../testdata/proto", "../../../proto"}, parameter,
		"acme/desk/v1/desk.proto", "acme/kinds/v1/kinds.proto")
}

func run(t testing.TB, req *pluginpb.CodeGeneratorRequest) *pluginpb.CodeGeneratorResponse {
	t.Helper()
	in, err := proto.Marshal(req)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, plugin.Run(bytes.NewReader(in), &out))
	resp := new(pluginpb.CodeGeneratorResponse)
	require.NoError(t, proto.Unmarshal(out.Bytes(), resp))
	return resp
}

// documents returns what comes of a request without mistakes.
func documents(t testing.TB, req *pluginpb.CodeGeneratorRequest) map[string]string {
	t.Helper()
	resp := run(t, req)
	require.Empty(t, resp.GetError())
	docs := make(map[string]string, len(resp.GetFile()))
	for _, f := range resp.GetFile() {
		require.NotContains(t, docs, f.GetName())
		docs[f.GetName()] = f.GetContent()
	}
	return docs
}

func TestGolden(t *testing.T) {
	t.Parallel()
	want := documents(t, request(t, ""))
	if *update {
		require.NoError(t, os.RemoveAll(golden))
		for name, content := range want {
			name = filepath.Join(golden, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
			require.NoError(t, os.WriteFile(name, []byte(content), 0o644))
		}
	}
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(golden, name))
		require.NoError(t, err, "run go test ./internal/plugin -update")
		require.Equal(t, string(got), content, "%s: run go test ./internal/plugin -update, and read the difference", name)
	}
	var files []string
	require.NoError(t, filepath.WalkDir(golden, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(golden, name)
			files = append(files, filepath.ToSlash(rel))
		}
		return err
	}))
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), files)
}

package plugin_test

import (
	"bytes"
	"go/format"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin"
)

// FuzzPlugin feeds the plugin with requests that are almost right. It must answer or fail, never panic, and what it
// writes must be Go, inside the output folder.
func FuzzPlugin(f *testing.F) {
	for _, name := range []string{"settings/", "keys/", "comments/", "opaque/"} {
		req := golden(f, "", name)
		for _, file := range req.ProtoFile {
			if file.GetName() != req.FileToGenerate[0] {
				file.SourceCodeInfo = nil
			}
		}
		b, err := proto.Marshal(req)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		var out, log bytes.Buffer
		if err := plugin.Run(bytes.NewReader(in), &out, &log); err != nil {
			require.Zero(t, out.Len())
			return
		}
		resp := new(pluginpb.CodeGeneratorResponse)
		require.NoError(t, proto.Unmarshal(out.Bytes(), resp))
		require.NotContains(t, resp.GetError(), "internal error")
		require.NotContains(t, resp.GetError(), "unparsable")
		for _, file := range resp.GetFile() {
			require.True(t, filepath.IsLocal(file.GetName()))
			if path.Ext(file.GetName()) == ".go" {
				_, err := format.Source([]byte(file.GetContent()))
				require.NoError(t, err)
			}
		}
	})
}

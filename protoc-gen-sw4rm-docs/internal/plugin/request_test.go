package plugin_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/plugin"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

func TestParameters(t *testing.T) {
	t.Parallel()
	for parameter, want := range map[string]string{
		"paths=source_relative": `unknown parameter "paths". Fix: use formats, services or version`,
		"formats=html":          `unknown format "html". Fix: use formats=markdown+jsonschema+asyncapi+mcp+a2a, or some of them`,
		"formats=":              `unknown format "". Fix: use formats=markdown+jsonschema+asyncapi+mcp+a2a, or some of them`,
		"formats=mcp+mcp":       `format mcp is there twice. Fix: leave one of them out`,
		"formats=mcp,a2a":       `unknown parameter "a2a". Fix: use formats, services or version`,
		"formats=mcp,formats=a": `parameter formats is there twice. Fix: leave one of them out`,
		"services=none":         `parameter services is "none". Fix: use services=annotated (the default) or services=all`,
		"version=":              `parameter version is "". Fix: write 1 to 128 printable characters, such as version=1.2.0`,
		"version=\x01":          `parameter version is "\x01". Fix: write 1 to 128 printable characters, such as version=1.2.0`,
	} {
		resp := run(t, request(t, parameter))
		require.Equal(t, want, resp.GetError())
		require.Empty(t, resp.GetFile())
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	all := documents(t, request(t, ""))
	for format, prefix := range map[string]string{
		"markdown": "agents.md", "jsonschema": "jsonschema/", "asyncapi": "asyncapi.json", "mcp": "mcp/", "a2a": "a2a/",
	} {
		want := maps.Clone(all)
		maps.DeleteFunc(want, func(name, _ string) bool { return !strings.HasPrefix(name, prefix) })
		require.NotEmpty(t, want)
		require.Equal(t, want, documents(t, request(t, "formats="+format)))
	}
	require.Contains(t, documents(t, request(t, "formats=mcp+a2a+markdown,services=all"))["agents.md"], "acme.desk.v1.Plain")
}

// TestOrderOfFiles passes the files in other orders and in parts, and without the one that nothing is asked of.
func TestOrderOfFiles(t *testing.T) {
	t.Parallel()
	want := documents(t, request(t, ""))
	r := rand.New(rand.NewPCG(5, 6))
	for range 10 {
		req := request(t, "")
		shuffle(r, req)
		require.Equal(t, want, documents(t, req))
	}
	req := request(t, "")
	req.FileToGenerate = req.FileToGenerate[:1]
	req.SourceFileDescriptors = req.SourceFileDescriptors[:1]
	require.Equal(t, want, documents(t, req), "what is only imported belongs to the payloads too")
}

// shuffle changes the order of files as far as each still comes after its imports.
func shuffle(r *rand.Rand, req *pluginpb.CodeGeneratorRequest) {
	r.Shuffle(len(req.FileToGenerate), func(i, j int) {
		req.FileToGenerate[i], req.FileToGenerate[j] = req.FileToGenerate[j], req.FileToGenerate[i]
	})
	r.Shuffle(len(req.SourceFileDescriptors), func(i, j int) {
		req.SourceFileDescriptors[i], req.SourceFileDescriptors[j] = req.SourceFileDescriptors[j], req.SourceFileDescriptors[i]
	})
	rest, done := slices.Clone(req.ProtoFile), map[string]bool{}
	req.ProtoFile = nil
	for len(rest) > 0 {
		i := r.IntN(len(rest))
		if slices.ContainsFunc(rest[i].GetDependency(), func(d string) bool { return !done[d] }) {
			continue
		}
		done[rest[i].GetName()] = true
		req.ProtoFile = append(req.ProtoFile, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
}

// header begins the schemas of the tests below.
const header = `syntax = "proto2";
package p;
import "google/protobuf/empty.proto";
import "sw4rm/options/v1/options.proto";
`

func TestFindings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 130)
	for name, c := range map[string]struct{ schema, parameter, want string }{
		"options": {
			schema: `service S {
  rpc M(A) returns (google.protobuf.Empty) { option (sw4rm.options.v1.exchange) = {ttl: {seconds: -1}}; }
}
message A {}`,
			want: "s.proto:6:84: ttl of p.S.M is negative (-1s). Fix: write at least {nanos: 1000000}, or 0 for no limit",
		},
		"case": {
			schema: `message WORD { option (sw4rm.options.v1.payload) = {}; }
message Word { option (sw4rm.options.v1.payload) = {}; }`,
			parameter: "formats=jsonschema",
			want: "s.proto:6:9: p.Word differs from p.WORD (at s.proto:5:9) in case only, so that the document of one would overwrite that of the other on " +
				"many systems. Fix: rename one of them",
		},
		"tool": {
			schema: "service S {\n  rpc " + long + "(A) returns (A) { option (sw4rm.options.v1.exchange) = {type: TOOL_CALL}; }\n}\nmessage A {}",
			want: "s.proto:6:7: the tool's name p.S." + long + " has 134 bytes, but at most 128 are allowed. Fix: shorten the package, the service or the RPC, " +
				"or leave mcp out of the parameter formats",
		},
		"file name": {
			schema: "message " + long + long[:113] + " { option (sw4rm.options.v1.payload) = {}; }",
			want: "s.proto:5:9: the document of p." + long + long[:113] + " would have a name of 257 bytes, but at most 255 fit. Fix: shorten the name or its " +
				"package, or choose other documents with the parameter formats",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := plugintest.RequestFor(t, "../../../proto", c.parameter, map[string]string{"s.proto": header + c.schema}, "s.proto")
			resp := run(t, req)
			require.Equal(t, c.want, resp.GetError())
			require.Empty(t, resp.GetFile())
		})
	}
}

// TestSameNameInJSON has a schema that compilers refuse, and older ones did not.
func TestSameNameInJSON(t *testing.T) {
	t.Parallel()
	req := plugintest.RequestFor(t, "../../../proto", "", map[string]string{"s.proto": header + `message A {
  option (sw4rm.options.v1.payload) = {};
  optional string a_b = 1;
  optional string other = 2;
}`}, "s.proto")
	file := req.ProtoFile[len(req.ProtoFile)-1]
	file.MessageType[0].Field[1].JsonName = proto.String("aB")
	require.Equal(t, `s.proto:8:19: fields a_b and other of p.A have the same name in JSON, "aB" (the first at s.proto:7:19). Fix: rename one of them, or `+
		`set its json_name`, run(t, req).GetError())
	req.Parameter = proto.String("formats=markdown+a2a")
	require.Empty(t, run(t, req).GetError())
}

// TestGoNames has messages that code for the service could not stand beside, which is nothing to documents.
func TestGoNames(t *testing.T) {
	t.Parallel()
	req := plugintest.RequestFor(t, "../../../proto", "", map[string]string{"s.proto": header + `service S {
  rpc M(SCaller) returns (HandleS) { option (sw4rm.options.v1.exchange) = {}; }
}
message SCaller {}
message HandleS {}`}, "s.proto")
	require.Len(t, documents(t, req), 5)
}

func TestNothingToTell(t *testing.T) {
	t.Parallel()
	req := plugintest.RequestFor(t, "../../../proto", "", map[string]string{"s.proto": "syntax = \"proto3\"; message A {}"}, "s.proto")
	docs := documents(t, req)
	require.Equal(t, []string{"agents.md", "asyncapi.json"}, slices.Sorted(maps.Keys(docs)))
	require.Contains(t, docs["agents.md"], "The schemas have no exchange between agents.")
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.ErrorContains(t, plugin.Run(strings.NewReader("garbage"), &out), "run this program through buf or protoc")
	require.Zero(t, out.Len())
}

// FuzzPlugin feeds the plugin with requests that are almost right. It must answer or fail, never panic, and what it writes
// must stay inside the output folder.
func FuzzPlugin(f *testing.F) {
	for _, parameter := range []string{"", "services=all,formats=asyncapi"} {
		b, err := proto.Marshal(request(f, parameter))
		require.NoError(f, err)
		f.Add(b)
	}
	for _, schema := range []string{
		"message A { option (sw4rm.options.v1.payload) = {}; optional A a = 1; oneof o { int64 b = 2; bool c = 3; } }",
		"service S { option (sw4rm.options.v1.agent) = {}; rpc M(A) returns (stream A); } message A { map<int32, A> m = 1; }",
	} {
		b, err := proto.Marshal(plugintest.RequestFor(f, "../../../proto", "", map[string]string{"s.proto": header + schema}, "s.proto"))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		if err := plugin.Run(bytes.NewReader(in), &out); err != nil {
			require.Zero(t, out.Len())
			return
		}
		resp := new(pluginpb.CodeGeneratorResponse)
		require.NoError(t, proto.Unmarshal(out.Bytes(), resp))
		require.NotContains(t, resp.GetError(), "internal error")
		require.NotContains(t, resp.GetError(), "report it")
		for _, file := range resp.GetFile() {
			require.Regexp(t, `^((jsonschema|mcp|a2a)/)?[A-Za-z0-9_.-]+\.(md|json)$`, file.GetName())
		}
	})
}

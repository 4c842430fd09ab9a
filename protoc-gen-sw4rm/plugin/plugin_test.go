package plugin_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

// header is the beginning of a schema of one file, up to its service.
const header = `syntax = "proto3";
package acme.v1;
import "google/protobuf/empty.proto";
import "sw4rm/options/v1/options.proto";
option go_package = "example.com/acme/v1;acmev1";
message Req { string id = 1; }
message Res {}
`

const service = `
// Acme works.
service Acme {
  option (sw4rm.options.v1.agent) = {capability: "acme"};
  rpc Ask(Req) returns (Res) { option (sw4rm.options.v1.exchange) = {ttl: {seconds: 1}}; }
}
`

func request(t testing.TB, parameter, schema string) *pluginpb.CodeGeneratorRequest {
	t.Helper()
	return plugintest.RequestFor(t, "../../proto", parameter, map[string]string{"acme.proto": schema}, "acme.proto")
}

// golden returns the request for all cases without errors, or for the one with the given prefix.
func golden(t testing.TB, parameter, prefix string) *pluginpb.CodeGeneratorRequest {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir("../../golden", func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel("../../golden", path)
		rel = filepath.ToSlash(rel)
		if err == nil && strings.HasSuffix(rel, ".proto") && strings.HasPrefix(rel, prefix) && !strings.HasPrefix(rel, "errors_") && !strings.HasPrefix(rel, "suffix/") && !strings.HasPrefix(rel, "cases/") && !strings.HasPrefix(rel, plugintest.BufOnly+"/") {
			files = append(files, rel)
		}
		return err
	}))
	require.NotEmpty(t, files)
	return plugintest.Request(t, []string{"../../golden", "../../proto"}, parameter, files...)
}

func outputIsTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	req := golden(t, "paths=source_relative,services=annotated", "")
	first := plugintest.Run(t, req)
	require.Empty(t, first.GetError())
	require.Greater(t, len(first.GetFile()), 15)
	require.True(t, proto.Equal(first, plugintest.Run(t, req)), "a second run differs")
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		shuffled := proto.Clone(req).(*pluginpb.CodeGeneratorRequest)
		random.Shuffle(len(shuffled.FileToGenerate), func(i, j int) {
			s := shuffled.FileToGenerate
			s[i], s[j] = s[j], s[i]
		})
		require.True(t, proto.Equal(first, plugintest.Run(t, shuffled)))
	}
	// One call for each folder gives what one call for all gives.
	for name, content := range plugintest.Contents(first) {
		dir := name[:strings.LastIndex(name, "/")+1]
		alone := proto.Clone(req).(*pluginpb.CodeGeneratorRequest)
		alone.FileToGenerate = slices.DeleteFunc(slices.Clone(req.FileToGenerate), func(f string) bool {
			return f[:strings.LastIndex(f, "/")+1] != dir
		})
		alone.SourceFileDescriptors = nil
		require.Equal(t, content, plugintest.Contents(plugintest.Run(t, alone))[name], name)
	}
}

func TestErrorsAreTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	roots := []string{"../../golden", "../../proto"}
	files := []string{"errors_names/a.proto", "errors_names/b.proto", "errors_keys/keys.proto"}
	want := plugintest.Run(t, plugintest.Request(t, roots, "", files...)).GetError()
	require.Contains(t, want, "errors_keys/keys.proto:26:13: ")
	slices.Reverse(files)
	require.Equal(t, want, plugintest.Run(t, plugintest.Request(t, roots, "", files...)).GetError())
}

func hostileComments(t *testing.T) {
	t.Parallel()
	req := request(t, "", header+service)
	text := "go:generate a\r\nline x:1\rgo:build ignore\u2028//go:linkname x y\n*/\x00\x1b\u202e\xff `\n+build linux\n nolint"
	for _, f := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
		for _, l := range f.GetSourceCodeInfo().GetLocation() {
			if f.GetName() == "acme.proto" {
				l.LeadingComments, l.TrailingComments, l.LeadingDetachedComments = proto.String(text), proto.String(text), []string{text}
			}
		}
	}
	resp := plugintest.Run(t, req)
	require.Empty(t, resp.GetError())
	got := resp.GetFile()[0].GetContent()
	require.Contains(t, got, "// 'go:generate' a\n// 'line' x:1\n// 'go:build' ignore\n// //go:linkname x y\n// */\\u0000\\u001b\\u202e\ufffd `\n// '+build' linux\n// 'nolint'\n")
}

func parameters(t *testing.T) {
	t.Parallel()
	schema := header + "service Plain { rpc Ask(Req) returns (Res); }"
	for parameter, want := range map[string]string{
		"services=all":                            "example.com/acme/v1/acme_sw4rm.pb.go",
		"services=all,module=example.com/acme":    "v1/acme_sw4rm.pb.go",
		"services=all,paths=source_relative":      "acme_sw4rm.pb.go",
		"services=all,Macme.proto=other.com/x;xx": "other.com/x/acme_sw4rm.pb.go",
		"services=annotated":                      "",
		"":                                        "",
	} {
		resp := plugintest.Run(t, request(t, parameter, schema))
		require.Empty(t, resp.GetError(), parameter)
		if want == "" {
			require.Empty(t, resp.GetFile(), parameter)
			continue
		}
		require.Len(t, resp.GetFile(), 1, parameter)
		require.Equal(t, want, resp.GetFile()[0].GetName())
	}
	for parameter, want := range map[string]string{
		"service=all":               `unknown parameter "service". Fix: use services, only, package_suffix, debug, paths, module, annotate_code, default_api_level, MFILE or apilevelMFILE`,
		"services":                  `parameter services is "". Fix: use services=annotated (the default) or services=all`,
		"services=some":             `parameter services is "some". Fix: use services=annotated (the default) or services=all`,
		"services=all,services=all": `parameter services is there twice. Fix: leave one of them out`,
		"only=both":                 `parameter only is "both". Fix: use only=send or only=handle`,
		"package_suffix":            `parameter package_suffix is "". Fix: use package_suffix=SUFFIX of a-z 0-9 _`,
		"package_suffix=-x":         `parameter package_suffix is "-x". Fix: use package_suffix=SUFFIX of a-z 0-9 _`,
		"simple,services=x,paths=import,paths=import": `unknown parameter "simple". Fix: use services, only, package_suffix, debug, paths, module, annotate_code, default_api_level, MFILE or apilevelMFILE
parameter services is "x". Fix: use services=annotated (the default) or services=all
parameter paths is there twice. Fix: leave one of them out`,
		"paths=absolute":                 `unknown path type "absolute": want "import" or "source_relative"`,
		"module=example.com/other":       `example.com/acme/v1/acme_sw4rm.pb.go: generated file does not match prefix "example.com/other"`,
		"module=a,paths=source_relative": `cannot use module= with paths=source_relative`,
	} {
		resp := plugintest.Run(t, request(t, parameter, header+service))
		require.Equal(t, want, resp.GetError(), parameter)
		require.Empty(t, resp.GetFile())
		require.NotZero(t, resp.GetSupportedFeatures(), "the features must be there with an error too")
	}
}

func withoutSourceInfo(t *testing.T) {
	t.Parallel()
	req := request(t, "", header+`service Acme {
		rpc Ask(Req) returns (stream Res) { option (sw4rm.options.v1.exchange) = {deadline: {}}; }
	}`)
	for _, f := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
		f.SourceCodeInfo = nil
	}
	require.Equal(t, `acme.proto: acme.v1.Acme.Ask: deadline of acme.v1.Acme.Ask is 0. Fix: write at least {nanos: 1000000}, or leave it out`, plugintest.Run(t, req).GetError())
}

// innermostLocations keeps of each option what some compilers record: the option, and its innermost fields.
func innermostLocations(t *testing.T) {
	t.Parallel()
	req := request(t, "", header+`service Acme {
  rpc Ask(Req) returns (Res) {
    option (sw4rm.options.v1.exchange) = {
      retry: {
        initial_backoff: {seconds: 2}
        max_backoff: {seconds: 1}
      }
      idempotency: {fields: {path: ["id", "di"]}}
    };
  }
}`)
	for _, f := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
		if f.GetName() != "acme.proto" {
			continue
		}
		all := slices.Clone(f.SourceCodeInfo.GetLocation())
		f.SourceCodeInfo.Location = slices.DeleteFunc(slices.Clone(all), func(l *descriptorpb.SourceCodeInfo_Location) bool {
			at := slices.Index(l.GetPath(), 8355)
			return at >= 0 && at < len(l.GetPath())-1 && slices.ContainsFunc(all, func(m *descriptorpb.SourceCodeInfo_Location) bool {
				return len(m.GetPath()) > len(l.GetPath()) && slices.Equal(m.GetPath()[:len(l.GetPath())], l.GetPath())
			})
		})
	}
	require.Equal(t, `acme.proto:13:23: initial_backoff 2s (at acme.proto:12:27) of acme.v1.Acme.Ask is longer than max_backoff 1s. Fix: set both, max_backoff to no less than initial_backoff
acme.proto:15:43: idempotency field "di" is not a field of acme.v1.Req, the request of acme.v1.Acme.Ask. Fix: did you mean "id"?`, plugintest.Run(t, req).GetError())
}

// outerLocations takes away the places that compilers record, from the innermost on: findings go to the option, to the RPC,
// and to the file.
func outerLocations(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]string{
		7: "acme.proto:9:70: ", // the value
		6: "acme.proto:9:32: ", // the option
		4: "acme.proto:9:3: ",  // the RPC
		2: "acme.proto: acme.v1.Acme.Ask: ",
	} {
		req := request(t, "", header+`service Acme {
  rpc Ask(Req) returns (Res) { option (sw4rm.options.v1.exchange) = {deadline: {}}; }
}`)
		for _, f := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
			if f.GetName() != "acme.proto" {
				continue
			}
			f.SourceCodeInfo.Location = slices.DeleteFunc(f.SourceCodeInfo.Location, func(l *descriptorpb.SourceCodeInfo_Location) bool {
				return len(l.GetPath()) > length
			})
		}
		require.Equal(t, want+"deadline of acme.v1.Acme.Ask is 0. Fix: write at least {nanos: 1000000}, or leave it out", plugintest.Run(t, req).GetError())
	}
}

// sourceRetention takes the options out of the descriptors that a compiler strips, but leaves them in the others.
func sourceRetention(t *testing.T) {
	t.Parallel()
	req := request(t, "", header+service)
	want := plugintest.Run(t, req)
	require.Contains(t, want.GetFile()[0].GetContent(), "exchange.TTL(time.Second)")
	for _, f := range req.ProtoFile {
		for _, s := range f.GetService() {
			s.Options = nil
			for _, m := range s.GetMethod() {
				m.Options = nil
			}
		}
	}
	require.True(t, proto.Equal(want, plugintest.Run(t, req)))
}

// exchangeOption returns a test that puts raw in the place of the exchange option of acme.v1.Acme.Ask.
func exchangeOption(raw []byte, want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		req := request(t, "", header+service)
		for _, f := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
			for _, s := range f.GetService() {
				o := &descriptorpb.MethodOptions{}
				o.ProtoReflect().SetUnknown(raw)
				s.Method[0].Options = o
			}
		}
		require.Equal(t, want, plugintest.Run(t, req).GetError())
	}
}

// encoded returns an exchange option with the given fields.
func encoded(fields ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, 8355, protowire.BytesType), bytes.Join(fields, nil))
}

func number(field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), v)
}

// vendoredOptions imports the options under another path.
func vendoredOptions(t *testing.T) {
	t.Parallel()
	source := plugintest.ReadFile(t, "../../proto/sw4rm/options/v1/options.proto")
	req := plugintest.RequestFor(t, "none", "", map[string]string{
		"acme.proto":           strings.Replace(header+service, "sw4rm/options/v1/options.proto", "vendored/sw4rm.proto", 1),
		"vendored/sw4rm.proto": source,
	}, "acme.proto")
	require.Equal(t, "acme.proto:4:1: the options come from vendored/sw4rm.proto, but are expected in sw4rm/options/v1/options.proto. "+
		"Fix: import sw4rm/options/v1/options.proto, below a folder that the compiler searches (protoc-gen-sw4rm proto DIR writes it)", plugintest.Run(t, req).GetError())
}

func TestOutputStaysInItsFolder(t *testing.T) {
	t.Parallel()
	for pkg, want := range map[string]string{
		"example.com/../../x;x":  `output file "../x/acme_sw4rm.pb.go" would not be inside the output folder`,
		"/etc/x;x":               `output file "/etc/x/acme_sw4rm.pb.go" would not be inside the output folder`,
		"example.com/a\\\\b;x":   `output file "example.com/a\\b/acme_sw4rm.pb.go" would not be inside the output folder`,
		"example.com/x;x y":      `acme.proto:5:1: Go package name "x y" of acme.proto is not an identifier. Fix: `,
		"example.com/x;func":     `acme.proto:5:1: Go package name "func" of acme.proto is not an identifier. Fix: `,
		"example.com/x;x\\n//go": `acme.proto:5:1: Go package name "x\n//go" of acme.proto is not an identifier. Fix: `,
	} {
		resp := plugintest.Run(t, request(t, "", strings.Replace(header+service, "example.com/acme/v1;acmev1", pkg, 1)))
		require.Contains(t, resp.GetError(), want)
		require.NotContains(t, resp.GetError(), "\n")
	}
	one := strings.NewReplacer("acme.v1", "one.v1", "acme/v1", "x").Replace(header + service)
	two := strings.NewReplacer("acme.v1", "two.v1", "acme/v1", "x", "Acme", "Other", "Req", "Req2", "Res", "Res2").Replace(header + service)
	twice := plugintest.RequestFor(t, "../../proto", "", map[string]string{"a/acme.proto": one, "b/acme.proto": two}, "a/acme.proto", "b/acme.proto")
	require.Equal(t, `output file "example.com/x/acme_sw4rm.pb.go" would be written twice. Fix: rename one of the schemas, or use paths=source_relative`, plugintest.Run(t, twice).GetError())
}

func garbage(t *testing.T) {
	t.Parallel()
	valid, err := proto.Marshal(request(t, "", header+service))
	require.NoError(t, err)
	for _, in := range [][]byte{[]byte("garbage"), {0xff}, valid[:len(valid)-1]} {
		var out, log bytes.Buffer
		require.Error(t, plugin.Run(bytes.NewReader(in), &out, &log, nil))
		require.Zero(t, out.Len(), "nothing may be written before the response is whole")
	}
	require.Empty(t, plugintest.Run(t, new(pluginpb.CodeGeneratorRequest)).GetFile())
}

// largeSchemas holds the work to grow with the schema, not faster: by what is allocated, which is the same on every
// machine. It is not parallel, since others would be counted with it.
func largeSchemas(t *testing.T) {
	allocs := func(services int) float64 {
		req := request(t, "", largeSchema(services))
		return testing.AllocsPerRun(1, func() {
			resp := plugintest.Run(t, req)
			require.Empty(t, resp.GetError())
		})
	}
	small, large := allocs(4), allocs(16)
	require.Less(t, large, 4.4*small)
}

// largeSchema has 100 RPCs and 250 messages a service.
func largeSchema(services int) string {
	var b strings.Builder
	b.WriteString(header)
	for s := range services {
		fmt.Fprintf(&b, "service S%d {\n  option (sw4rm.options.v1.agent) = {};\n", s)
		for m := range 100 {
			fmt.Fprintf(&b, "  // M%d asks.\n  rpc M%d(Req) returns (Res) { option (sw4rm.options.v1.exchange) = {ttl: {seconds: 1}}; }\n", m, m)
		}
		b.WriteString("}\n")
	}
	for m := range 250 * services {
		fmt.Fprintf(&b, "message X%d { Req req = 1; }\n", m)
	}
	return b.String()
}

// TestLinesOfAnRPC holds what is generated for an RPC with a comment of one line to 20 lines.
func TestLinesOfAnRPC(t *testing.T) {
	t.Parallel()
	lines := func(rpcs string) int {
		resp := plugintest.Run(t, request(t, "services=all", header+"service Acme {\n  // First asks.\n  rpc First(Req) returns (Res);\n"+rpcs+"}\n"))
		require.Empty(t, resp.GetError())
		return strings.Count(resp.GetFile()[0].GetContent(), "\n")
	}
	for _, rpc := range []string{
		"rpc Ask(Req) returns (Res);",
		"rpc Ask(Req) returns (Res) { option (sw4rm.options.v1.exchange) = {ttl: {seconds: 1}}; }",
		"rpc Ask(Req) returns (google.protobuf.Empty);",
	} {
		require.LessOrEqual(t, lines("  // Ask asks.\n  "+rpc)-lines(""), 20, rpc)
	}
	// The first stream imports iter.
	require.LessOrEqual(t, lines("  // Ask asks.\n  rpc Ask(Req) returns (stream Res);")-lines(""), 21)
}

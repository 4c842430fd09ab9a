package plugin_test

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// finding matches one line of a schema's findings.
var finding = regexp.MustCompile(`^\S.*: \S.*\. Fix: \S`)

// sound holds what comes of a request that may be anything: an answer, with code that any generated code must be like, or
// with an error.
func sound(t *testing.T, req *pluginpb.CodeGeneratorRequest) *pluginpb.CodeGeneratorResponse {
	t.Helper()
	in, err := proto.Marshal(req)
	require.NoError(t, err)
	return soundBytes(t, in)
}

// soundBytes is sound for a request that is not decoded. It returns nil when the plugin cannot do that either.
func soundBytes(t *testing.T, in []byte) *pluginpb.CodeGeneratorResponse {
	t.Helper()
	var out, log bytes.Buffer
	if err := plugin.Run(bytes.NewReader(in), &out, &log, nil); err != nil {
		require.Zero(t, out.Len())
		return nil
	}
	resp := new(pluginpb.CodeGeneratorResponse)
	require.NoError(t, proto.Unmarshal(out.Bytes(), resp))
	require.NotContains(t, resp.GetError(), "internal error")
	require.NotContains(t, resp.GetError(), "unparsable")
	require.True(t, utf8.ValidString(resp.GetError()))
	if resp.Error != nil {
		require.Empty(t, resp.GetFile())
		require.NotEmpty(t, resp.GetError())
		return resp
	}
	read, err := schema.ReadInput(in)
	require.NoError(t, err)
	packages := plugintest.Packages(t, read.Request)
	for _, f := range resp.GetFile() {
		if path.Ext(f.GetName()) == ".go" {
			plugintest.Clean(t, f.GetName(), f.GetContent(), packages)
		}
	}
	return resp
}

// small has what the fuzz tests change.
const small = header + `
// Acme works.
service Acme {
  option (sw4rm.options.v1.agent) = {capability: "acme"};
  // Ask asks.
  rpc Ask(Req) returns (Res) { option (sw4rm.options.v1.exchange) = {ttl: {seconds: 1}}; }
  // Watch watches.
  rpc Watch(Req) returns (stream Res);
  rpc Tell(Req) returns (google.protobuf.Empty);
}

// Beat is sent by itself.
message Beat { option (sw4rm.options.v1.payload) = {}; string id = 1; }
`

// FuzzPlugin feeds the plugin with requests that are almost right.
func FuzzPlugin(f *testing.F) {
	for _, name := range []string{"settings/", "keys/", "comments/", "opaque/", "exchanges/"} {
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
		soundBytes(t, in)
	})
}

// FuzzOptions puts any bytes where options are.
func FuzzOptions(f *testing.F) {
	base := request(f, "", small)
	capability := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "a\"\n")
	retry := protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), capability)
	f.Add([]byte{}, capability, retry, []byte{0x58, 2}, []byte{})
	f.Add(retry, []byte{}, capability, []byte{}, retry)
	f.Fuzz(func(t *testing.T, file, service, method, message, field []byte) {
		req := proto.Clone(base).(*pluginpb.CodeGeneratorRequest)
		for _, d := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
			if d.GetName() != "acme.proto" {
				continue
			}
			put(d.Options, file)
			put(d.Service[0].Options, service)
			for _, m := range d.Service[0].Method {
				if m.Options == nil {
					m.Options = &descriptorpb.MethodOptions{}
				}
				put(m.Options, method)
			}
			put(d.MessageType[2].Options, message)
			d.MessageType[2].Field[0].Options = &descriptorpb.FieldOptions{}
			put(d.MessageType[2].Field[0].Options, field)
		}
		resp := sound(t, req)
		for line := range strings.Lines(resp.GetError()) {
			require.Regexp(t, finding, line)
			require.False(t, strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }), "%q", line)
		}
		plugintest.MustCompile(t, req, resp)
	})
}

// put writes an option with our number.
func put(options proto.Message, payload []byte) {
	options.ProtoReflect().SetUnknown(protoreflect.RawFields(protowire.AppendBytes(protowire.AppendTag(nil, 8355, protowire.BytesType), payload)))
}

// FuzzParameters passes any parameters.
func FuzzParameters(f *testing.F) {
	base := request(f, "", small)
	for _, p := range plugin.Parameters() {
		f.Add(p.Name + "=" + p.Values)
	}
	f.Add("only=send,package_suffix=x,paths=source_relative,annotate_code,Macme.proto=a.b/c;d,module=")
	f.Add(",=,services=all,services,debug=,\x00=\xff")
	f.Fuzz(func(t *testing.T, parameter string) {
		if !utf8.ValidString(parameter) {
			return // a compiler could not send it
		}
		req := proto.Clone(base).(*pluginpb.CodeGeneratorRequest)
		req.Parameter = &parameter
		sound(t, req)
	})
}

// FuzzComments writes any text as the comment of everything. The code without its comments stays the same.
func FuzzComments(f *testing.F) {
	base := request(f, "", small)
	want := withoutComments(plugintest.Run(f, base).GetFile()[0].GetContent())
	f.Add("go:build ignore", "line x:1", "*/ `\x00\u202e")
	f.Add("\r\n+build linux\u2028\u0085nolint", "Deprecated: no\n\n\nmore", strings.Repeat("x", 10_000)+"\\\t%d")
	f.Fuzz(func(t *testing.T, leading, trailing, detached string) {
		if !utf8.ValidString(leading + trailing + detached) {
			return
		}
		req := proto.Clone(base).(*pluginpb.CodeGeneratorRequest)
		for _, d := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
			for _, l := range d.GetSourceCodeInfo().GetLocation() {
				l.LeadingComments, l.TrailingComments, l.LeadingDetachedComments = &leading, &trailing, []string{detached}
			}
		}
		resp := sound(t, req)
		require.Empty(t, resp.GetError())
		require.Equal(t, want, withoutComments(resp.GetFile()[0].GetContent()))
	})
}

// withoutComments returns the lines of code that are neither comments nor empty.
func withoutComments(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "//") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// FuzzNames gives everything that has a name another one.
func FuzzNames(f *testing.F) {
	base := request(f, "", small)
	f.Add("acme.v1", "Acme", "Ask", "Req", "id", "example.com/acme/v1;acmev1", "acme.proto")
	f.Add("acme.import", "func", "init", "AcmeCaller", "reset", "example.com/ctx;ctx", "job_arm.proto")
	f.Add("", "a_b", "_", "HandleAcme", "get_id", "context", "a/b c/d.v1.proto")
	f.Add("a.b", "Beat", "Watch", "BeatExchange", "string", "time;time", "../x.proto")
	f.Fuzz(func(t *testing.T, pkg, service, method, message, field, goPackage, file string) {
		if !utf8.ValidString(pkg + service + method + message + field + goPackage + file) {
			return
		}
		req := proto.Clone(base).(*pluginpb.CodeGeneratorRequest)
		req.FileToGenerate = []string{file}
		scope := "."
		if pkg != "" {
			scope += pkg + "."
		}
		for _, d := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
			if d.GetName() != "acme.proto" {
				continue
			}
			d.Name, d.Package = &file, &pkg
			d.Options.GoPackage = &goPackage
			d.Service[0].Name, d.Service[0].Method[0].Name = &service, &method
			d.MessageType[0].Name, d.MessageType[0].Field[0].Name = &message, &field
			for _, m := range d.Service[0].Method {
				m.InputType = proto.String(scope + message)
				if m.GetOutputType() == ".acme.v1.Res" {
					m.OutputType = proto.String(scope + "Res")
				}
			}
		}
		resp := sound(t, req)
		if resp.Error == nil {
			plugintest.MustCompile(t, req, resp)
		}
	})
}

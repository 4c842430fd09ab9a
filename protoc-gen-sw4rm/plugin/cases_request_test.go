package plugin_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

const (
	newer    = "use a newer protoc-gen-sw4rm, or "
	unlike   = "acme.proto:12:32: option 8355 of acme.v1.Acme.Ask cannot be read as sw4rm.options.v1.ExchangeOptions. Fix: import sw4rm/options/v1/options.proto as it is (protoc-gen-sw4rm proto DIR writes it), and give other extensions another number"
	anywhere = "acme.proto:12:32: "
)

// requestCases are the cases that need more than schemas.
func requestCases() []numbered {
	return []numbered{
		{[]int{16}, "paths", outputPaths},
		{[]int{17, 75}, "parameters", parameters},
		{[]int{18}, "without_go_package", withoutGoPackage},
		{[]int{20}, "relative_go_package", relativeGoPackage},
		{[]int{23}, "import_option", importOption},
		{[]int{24}, "two_plugins_in_one_run", twoPlugins},
		{[]int{31, 32}, "hostile_comments", hostileComments},
		{[]int{39}, "text_that_is_no_text", exchangeOption(encoded([]byte("\xff")), unlike)},
		{[]int{49}, "edition_2024", edition2024},
		{[]int{55}, "large_schemas", largeSchemas},
		{[]int{57}, "any_order", outputIsTheSameInAnyOrder},
		{[]int{59}, "pieces_of_options", exchangeOption(append(encoded(number(10, 1)), encoded(number(10, 0))...), "")},
		{[]int{60}, "unknown_field", exchangeOption(encoded(number(77, 1)), anywhere+"field 77 of sw4rm.options.v1.ExchangeOptions is unknown to this version of protoc-gen-sw4rm. Fix: "+newer+"an older sw4rm/options/v1/options.proto")},
		{[]int{61}, "options_under_another_path", vendoredOptions},
		{[]int{61}, "options_in_another_package", copiedOptions},
		{[]int{62}, "number_of_another_type", exchangeOption(number(8355, 1), unlike)},
		{[]int{66}, "enum_value_without_a_name", exchangeOption(encoded(number(1, 5)), anywhere+"type 5 has no name in this version of protoc-gen-sw4rm. Fix: "+newer+"one of CONTROL, DATA, NOTIFICATION, HITL_INVOCATION, WORKTREE_CONTROL, NEGOTIATION, TOOL_CALL")},
		{[]int{72}, "source_retention", sourceRetention},
		{[]int{73}, "without_source_info", withoutSourceInfo},
		{[]int{73}, "innermost_locations_only", innermostLocations},
		{[]int{73}, "outer_locations_only", outerLocations},
		{[]int{76, 84}, "command_line", commandLine},
		{[]int{77}, "garbage", garbage},
		{[]int{78}, "panics", panics},
		{[]int{79}, "annotate_code", annotateCode},
		{[]int{80}, "header", generatedHeader},
		{[]int{85}, "options_of_ones_own", ownOptions},
	}
}

func outputPaths(t *testing.T) {
	t.Parallel()
	deep := "a/b/c/d/e/f/g/h/i/j/deep.proto"
	schemas := map[string]string{
		"root.proto": strings.ReplaceAll(header+service, "acme/v1;acmev1", "root"),
		deep:         strings.NewReplacer("acme/v1;acmev1", "deep", "acme.v1", "deep.v1").Replace(header + service),
	}
	var first []string
	for parameter, want := range map[string][]string{
		"paths=source_relative":                  {"a/b/c/d/e/f/g/h/i/j/deep_sw4rm.pb.go", "root_sw4rm.pb.go"},
		"paths=import":                           {"example.com/deep/deep_sw4rm.pb.go", "example.com/root/root_sw4rm.pb.go"},
		"module=example.com":                     {"deep/deep_sw4rm.pb.go", "root/root_sw4rm.pb.go"},
		"package_suffix=x,module=example.com":    {"deep/deepx/deep_sw4rm.pb.go", "root/rootx/root_sw4rm.pb.go"},
		"package_suffix=x,paths=source_relative": {"a/b/c/d/e/f/g/h/i/j/deepx/deep_sw4rm.pb.go", "rootx/root_sw4rm.pb.go"},
	} {
		req := plugintest.RequestFor(t, "../../proto", parameter, schemas, deep, "root.proto")
		resp := plugintest.Run(t, req)
		require.Empty(t, resp.GetError())
		var names, contents []string
		for _, f := range resp.GetFile() {
			names, contents = append(names, f.GetName()), append(contents, f.GetContent())
		}
		require.Equal(t, want, names, parameter)
		if strings.HasPrefix(parameter, "package_suffix") {
			continue
		}
		if first == nil {
			first = contents
		}
		require.Equal(t, first, contents, "the code does not depend on where it is written")
	}
}

// withoutGoPackage gives what protogen says, and the code once buf's managed mode has written the package.
func withoutGoPackage(t *testing.T) {
	t.Parallel()
	schema := strings.Replace(header+service, "option go_package = \"example.com/acme/v1;acmev1\";\n", "", 1)
	resp := plugintest.Run(t, request(t, "", schema))
	require.Contains(t, resp.GetError(), `unable to determine Go import path for "acme.proto"`)
	require.Empty(t, resp.GetFile())

	want := plugintest.Run(t, request(t, "", header+service))
	managed := request(t, "", schema)
	for _, f := range slices.Concat(managed.ProtoFile, managed.SourceFileDescriptors) {
		if f.GetName() == "acme.proto" {
			f.Options = &descriptorpb.FileOptions{GoPackage: proto.String("example.com/acme/v1;acmev1")}
		}
	}
	require.True(t, proto.Equal(want, plugintest.Run(t, managed)))
}

func relativeGoPackage(t *testing.T) {
	t.Parallel()
	for pkg, want := range map[string]string{
		"foo":    `invalid Go import path "foo" for "acme.proto"`,
		"./;foo": "",
	} {
		resp := plugintest.Run(t, request(t, "", strings.Replace(header+service, "example.com/acme/v1;acmev1", pkg, 1)))
		require.True(t, strings.HasPrefix(resp.GetError(), want), resp.GetError())
		require.Equal(t, want == "", resp.Error == nil, resp.GetError())
	}
}

// asOptionImport turns the import of the options into one of edition 2024, which compilers leave out of the request.
func asOptionImport(req *pluginpb.CodeGeneratorRequest) {
	const options = "sw4rm/options/v1/options.proto"
	for _, f := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
		if f.GetName() != "acme.proto" {
			continue
		}
		f.Syntax, f.Edition = proto.String("editions"), descriptorpb.Edition_EDITION_2024.Enum()
		f.Dependency = slices.DeleteFunc(f.Dependency, func(d string) bool { return d == options })
		f.OptionDependency = []string{options}
	}
	req.ProtoFile = slices.DeleteFunc(req.ProtoFile, func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == options })
}

func importOption(t *testing.T) {
	t.Parallel()
	want := plugintest.Run(t, request(t, "", header+service))
	req := request(t, "", header+service)
	asOptionImport(req)
	require.True(t, proto.Equal(want, plugintest.Run(t, req)))

	wrong := request(t, "", header+strings.Replace(service, "acme\"}", "no name\"}", 1))
	asOptionImport(wrong)
	require.Contains(t, plugintest.Run(t, wrong).GetError(), `acme.proto:11:38: capability "no name"`)
}

// edition2024 has messages with the visibility of that edition, and one edition that is not known yet.
func edition2024(t *testing.T) {
	t.Parallel()
	want := plugintest.Run(t, request(t, "", header+service))
	req := request(t, "", header+service)
	asOptionImport(req)
	for _, f := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
		if f.GetName() == "acme.proto" {
			f.MessageType[0].Visibility = descriptorpb.SymbolVisibility_VISIBILITY_EXPORT.Enum()
			f.MessageType[1].Visibility = descriptorpb.SymbolVisibility_VISIBILITY_LOCAL.Enum()
		}
	}
	require.True(t, proto.Equal(want, plugintest.Run(t, req)))
	require.Equal(t, uint64(3), want.GetSupportedFeatures())
	require.Equal(t, int32(descriptorpb.Edition_EDITION_PROTO2), want.GetMinimumEdition())
	require.Equal(t, int32(descriptorpb.Edition_EDITION_2024), want.GetMaximumEdition())

	for _, f := range slices.Concat(req.ProtoFile, req.SourceFileDescriptors) {
		f.Edition = descriptorpb.Edition_EDITION_99999_TEST_ONLY.Enum()
	}
	require.NotEmpty(t, plugintest.Run(t, req).GetError())
}

// twoPlugins runs plugins with different parameters in turn and at once: none knows of another.
func twoPlugins(t *testing.T) {
	t.Parallel()
	schemas := header + service + "service Plain { rpc Ask(Req) returns (Res); }"
	parameters := []string{"", "services=all", "only=send", "package_suffix=x", ""}
	want := make([]*pluginpb.CodeGeneratorResponse, len(parameters))
	for i, p := range parameters {
		want[i] = plugintest.Run(t, request(t, p, schemas))
	}
	require.True(t, proto.Equal(want[0], want[4]))
	for i, p := range parameters {
		t.Run(p, func(t *testing.T) {
			t.Parallel()
			require.True(t, proto.Equal(want[i], plugintest.Run(t, request(t, p, schemas))))
		})
	}
}

// copiedOptions has extensions of another package with the number of ours.
func copiedOptions(t *testing.T) {
	t.Parallel()
	source := strings.Replace(optionspb.Source, "package sw4rm.options.v1;", "package copied.v1;", 1)
	req := plugintest.RequestFor(t, "none", "", map[string]string{
		"acme.proto":        strings.NewReplacer("sw4rm/options/v1/options.proto", "copied/v1/o.proto", "sw4rm.options", "copied").Replace(header + service),
		"copied/v1/o.proto": source,
	}, "acme.proto")
	require.Equal(t, `acme.proto:11:3: option 8355 of acme.v1.Acme is copied.v1.agent from copied/v1/o.proto, but the number belongs to (sw4rm.options.v1.agent). Fix: give copied.v1.agent another number, or import sw4rm/options/v1/options.proto instead (protoc-gen-sw4rm proto DIR writes it)
acme.proto:12:32: option 8355 of acme.v1.Acme.Ask is copied.v1.exchange from copied/v1/o.proto, but the number belongs to (sw4rm.options.v1.exchange). Fix: give copied.v1.exchange another number, or import sw4rm/options/v1/options.proto instead (protoc-gen-sw4rm proto DIR writes it)`,
		plugintest.Run(t, req).GetError())
}

// commandLine runs the program.
func commandLine(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "protoc-gen-sw4rm.exe")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "..").CombinedOutput()
	require.NoError(t, err, string(out))
	terminal, err := os.Open(os.DevNull) // a character device, as a terminal is
	require.NoError(t, err)
	t.Cleanup(func() { _ = terminal.Close() })
	for argument, want := range map[string]struct {
		status   int
		out, log string
	}{
		"--version": {0, "protoc-gen-sw4rm ", ""},
		"--help":    {0, "In a package with a component sw4rm, write options with a leading dot: option (.sw4rm.options.v1.agent).", ""},
		"--verbose": {2, "", `protoc-gen-sw4rm: unknown arguments ["--verbose"]. Fix: see protoc-gen-sw4rm --help`},
		"":          {2, "", "protoc-gen-sw4rm: there is no request on standard input: buf or protoc runs this program. Fix: see protoc-gen-sw4rm --help"},
	} {
		cmd := exec.CommandContext(t.Context(), program, strings.Fields(argument)...)
		var stdout, stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, &stdout, &stderr
		err := cmd.Run()
		require.Equal(t, want.status, cmd.ProcessState.ExitCode(), "%s: %v", argument, err)
		require.Contains(t, stdout.String(), want.out)
		require.Equal(t, want.log, strings.TrimSuffix(stderr.String(), "\n"))
	}

	// The program's name does not reach what it writes.
	in, err := proto.Marshal(request(t, "", header+service))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Stdin = bytes.NewReader(in)
	b, err := cmd.Output()
	require.NoError(t, err)
	resp := new(pluginpb.CodeGeneratorResponse)
	require.NoError(t, proto.Unmarshal(b, resp))
	require.True(t, proto.Equal(plugintest.Run(t, request(t, "", header+service)), resp))
}

func panics(t *testing.T) {
	t.Parallel()
	for parameter, stack := range map[string]bool{"": false, "debug=true": true} {
		in, err := proto.Marshal(request(t, parameter, header+service))
		require.NoError(t, err)
		var out, log bytes.Buffer
		require.NoError(t, plugin.RunWith(func(*schema.File) ([]byte, error) { panic("boom") }, bytes.NewReader(in), &out, &log))
		resp := new(pluginpb.CodeGeneratorResponse)
		require.NoError(t, proto.Unmarshal(out.Bytes(), resp))
		require.Equal(t, "protoc-gen-sw4rm: internal error in the code for acme.proto (acme.v1.Acme): boom. Fix: report it with the schema, and with what debug=true prints", resp.GetError())
		require.Empty(t, resp.GetFile())
		require.Equal(t, stack, strings.Contains(log.String(), "goroutine"), log.String())
	}
}

// annotateCode looks at what the .meta file says: each span of it is a name, and leads to what it was made of.
func annotateCode(t *testing.T) {
	t.Parallel()
	for _, parameter := range []string{"annotate_code=true", "annotate_code"} {
		resp := plugintest.Run(t, request(t, parameter, header+service+"message Beat { option (sw4rm.options.v1.payload) = {}; }"))
		require.Empty(t, resp.GetError())
		require.Len(t, resp.GetFile(), 2)
		code, meta := resp.GetFile()[0].GetContent(), resp.GetFile()[1]
		require.Equal(t, "example.com/acme/v1/acme_sw4rm.pb.go.meta", meta.GetName())
		info := new(descriptorpb.GeneratedCodeInfo)
		require.NoError(t, prototext.Unmarshal([]byte(meta.GetContent()), info))
		got := make(map[string][]int32)
		for _, a := range info.GetAnnotation() {
			require.Equal(t, "acme.proto", a.GetSourceFile())
			got[code[a.GetBegin():a.GetEnd()]] = a.GetPath()
		}
		require.Equal(t, map[string][]int32{
			"AcmeExchanges": {6, 0}, "AcmeCaller": {6, 0}, "NewAcmeCaller": {6, 0}, "AcmeSender": {6, 0}, "NewAcmeSender": {6, 0},
			"AcmeHandler": {6, 0}, "HandleAcme": {6, 0}, "UnimplementedAcmeHandler": {6, 0}, "Ask": {6, 0, 2, 0},
			"BeatExchange": {4, 2}, "SendBeat": {4, 2}, "HandleBeat": {4, 2},
		}, got)
	}
}

// generatedHeader holds the first lines to what linters, editors and Windows need of them.
func generatedHeader(t *testing.T) {
	t.Parallel()
	resp := plugintest.Run(t, request(t, "", strings.ReplaceAll(header+service, "\n", "\r\n")))
	require.Empty(t, resp.GetError())
	code := resp.GetFile()[0].GetContent()
	require.True(t, strings.HasPrefix(code, "// Code generated by protoc-gen-sw4rm. DO NOT EDIT.\n// Source: acme.proto\n\npackage acmev1\n"), code[:200])
	require.NotContains(t, code, "\r")
	file, err := parser.ParseFile(token.NewFileSet(), "a.go", code, parser.ParseComments)
	require.NoError(t, err)
	require.True(t, ast.IsGenerated(file))
	require.Nil(t, file.Doc, "what a schema says of its package is not what this file says")
}

// ownOptions generates for a workspace with a copy of the options of its own, whose Go package managed mode may change. The
// code is the same, and neither it nor the runtime links ours, so that the copy is alone in a program.
func ownOptions(t *testing.T) {
	t.Parallel()
	want := plugintest.Run(t, request(t, "", header+service))
	for _, pkg := range []string{"github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1;optionspb", "example.com/gen/sw4rm/options/v1;optionsv1"} {
		req := plugintest.RequestFor(t, "none", "", map[string]string{
			"acme.proto":                     header + service,
			"sw4rm/options/v1/options.proto": strings.Replace(optionspb.Source, "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1;optionspb", pkg, 1),
		}, "acme.proto")
		require.True(t, proto.Equal(want, plugintest.Run(t, req)))
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "../../runtime/sw4rm", "../../runtime/exchange").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "proto/sw4rm/options")
}

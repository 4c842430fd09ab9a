// Package plugintest compiles schemas in process and puts plugins to the test with them.
package plugintest

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/options"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/gofeaturespb"
	"google.golang.org/protobuf/types/pluginpb"
)

// Request compiles files, found below roots, into the request that a compiler would send for them.
func Request(t testing.TB, roots []string, parameter string, files ...string) *pluginpb.CodeGeneratorRequest {
	t.Helper()
	return compile(t, &protocompile.SourceResolver{ImportPaths: roots}, parameter, files...)
}

// RequestFor is Request for schemas by their path; those that they import may be below root.
func RequestFor(t testing.TB, root, parameter string, schemas map[string]string, files ...string) *pluginpb.CodeGeneratorRequest {
	t.Helper()
	return compile(t, protocompile.CompositeResolver{
		&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(schemas)},
		&protocompile.SourceResolver{ImportPaths: []string{root}},
	}, parameter, files...)
}

func compile(t testing.TB, resolver protocompile.Resolver, parameter string, files ...string) *pluginpb.CodeGeneratorRequest {
	t.Helper()
	features := protodesc.ToFileDescriptorProto(gofeaturespb.File_google_protobuf_go_features_proto)
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{
			resolver,
			protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
				if path == features.GetName() {
					return protocompile.SearchResult{Proto: features}, nil
				}
				return protocompile.SearchResult{}, notFound(path)
			}),
		}),
		SourceInfoMode: protocompile.SourceInfoStandard | protocompile.SourceInfoExtraOptionLocations,
	}
	compiled, err := compiler.Compile(t.Context(), files...)
	require.NoError(t, err)

	req := &pluginpb.CodeGeneratorRequest{FileToGenerate: files}
	if parameter != "" {
		req.Parameter = proto.String(parameter)
	}
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		full := protoutil.ProtoFromFileDescriptor(f)
		stripped, err := options.StripSourceRetentionOptionsFromFile(full)
		require.NoError(t, err)
		// A compiler strips options, but not where they were.
		stripped = proto.Clone(stripped).(*descriptorpb.FileDescriptorProto)
		stripped.SourceCodeInfo = full.GetSourceCodeInfo()
		req.ProtoFile = append(req.ProtoFile, stripped)
	}
	for _, f := range compiled {
		add(f)
		req.SourceFileDescriptors = append(req.SourceFileDescriptors, protoutil.ProtoFromFileDescriptor(f))
	}
	return req
}

type notFound string

func (e notFound) Error() string { return "no file " + string(e) }

// Run passes req through the plugin as bytes and returns its response.
func Run(t testing.TB, req *pluginpb.CodeGeneratorRequest) *pluginpb.CodeGeneratorResponse {
	t.Helper()
	resp, _ := RunLog(t, req)
	return resp
}

// Tool passes req to a plugin among the module's tools and returns the files it writes.
func Tool(t testing.TB, req *pluginpb.CodeGeneratorRequest, name, parameter string) map[string]string {
	t.Helper()
	req = proto.Clone(req).(*pluginpb.CodeGeneratorRequest)
	req.Parameter = proto.String(parameter)
	in, err := proto.Marshal(req)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "go", "tool", name)
	cmd.Stdin = bytes.NewReader(in)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	require.NoError(t, err, log.String())
	resp := new(pluginpb.CodeGeneratorResponse)
	require.NoError(t, proto.Unmarshal(out, resp))
	require.Empty(t, resp.GetError())
	return Contents(resp)
}

// ReadFile returns a file's text.
func ReadFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}

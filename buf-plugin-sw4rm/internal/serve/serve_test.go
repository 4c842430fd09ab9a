package serve_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	checkv1 "buf.build/gen/go/bufbuild/bufplugin/protocolbuffers/go/buf/plugin/check/v1"
	descriptorv1 "buf.build/gen/go/bufbuild/bufplugin/protocolbuffers/go/buf/plugin/descriptor/v1"
	pluginrpcv1 "buf.build/gen/go/pluginrpc/pluginrpc/protocolbuffers/go/pluginrpc/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"pluginrpc.com/pluginrpc"

	"github.com/sw4rm/sw4rm-go/buf-plugin-sw4rm/internal/serve"
)

// call serves one request and returns what the plugin answers.
func call(t testing.TB, stdin io.Reader, args ...string) (*pluginrpcv1.Response, error) {
	t.Helper()
	s, err := serve.New()
	require.NoError(t, err)
	var out bytes.Buffer
	err = s.Serve(context.Background(), pluginrpc.Env{Args: args, Stdin: stdin, Stdout: &out, Stderr: io.Discard})
	resp := new(pluginrpcv1.Response)
	require.NoError(t, proto.Unmarshal(out.Bytes(), resp))
	return resp, err
}

// checkRequest is a request about one file, whose service has an option with our number and any content.
func checkRequest(t testing.TB, option []byte) []byte {
	t.Helper()
	options := new(descriptorpb.ServiceOptions)
	options.ProtoReflect().SetUnknown(option)
	body := checkv1.CheckRequest_builder{FileDescriptors: []*descriptorv1.FileDescriptor{
		descriptorv1.FileDescriptor_builder{FileDescriptorProto: &descriptorpb.FileDescriptorProto{
			Name: proto.String("a.proto"), Syntax: proto.String("proto3"),
			Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("S"), Options: options}},
		}}.Build(),
	}}.Build()
	value, err := anypb.New(body)
	require.NoError(t, err)
	b, err := proto.Marshal(pluginrpcv1.Request_builder{Value: value}.Build())
	require.NoError(t, err)
	return b
}

func annotations(t testing.TB, resp *pluginrpcv1.Response) []string {
	t.Helper()
	require.Empty(t, resp.GetError().GetMessage())
	body := new(checkv1.CheckResponse)
	require.NoError(t, resp.GetValue().UnmarshalTo(body))
	var texts []string
	for _, a := range body.GetAnnotations() {
		texts = append(texts, a.GetRuleId()+" "+a.GetMessage())
	}
	return texts
}

func TestForeignOption(t *testing.T) {
	t.Parallel()
	number := protowire.Number(8355)
	for name, option := range map[string][]byte{
		"string": protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), "not a message"),
		"varint": protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), 7),
		"group":  protowire.AppendGroup(protowire.AppendTag(nil, number, protowire.StartGroupType), number, nil),
	} {
		resp, err := call(t, bytes.NewReader(checkRequest(t, option)), "check")
		require.NoError(t, err, name)
		found := annotations(t, resp)
		require.Len(t, found, 1, name)
		require.Contains(t, found[0], "SW4RM_SCHEMA_VALID S: option 8355 of S cannot be read as sw4rm.options.v1.AgentOptions. Fix: ", name)
	}
	resp, err := call(t, bytes.NewReader(checkRequest(t, protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), nil))), "check")
	require.NoError(t, err)
	require.Empty(t, annotations(t, resp), "our own option")
}

func TestOtherCalls(t *testing.T) {
	t.Parallel()
	resp, err := call(t, strings.NewReader(""), "list-rules")
	require.NoError(t, err)
	body := new(checkv1.ListRulesResponse)
	require.NoError(t, resp.GetValue().UnmarshalTo(body))
	require.NotEmpty(t, body.GetRules())

	resp, err = call(t, strings.NewReader("garbage"), "check")
	require.True(t, err != nil || resp.GetError().GetMessage() != "", "garbage is refused")
	resp, err = call(t, broken{}, "check")
	require.True(t, err != nil || resp.GetError().GetMessage() != "", "a broken pipe is reported")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken pipe") }

func FuzzServe(f *testing.F) {
	f.Add(checkRequest(f, []byte{0x9a, 0x8a, 0x04, 0x00}))
	f.Add([]byte("garbage"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = call(t, bytes.NewReader(b), "check")
	})
}

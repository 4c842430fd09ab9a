package rules_test

import (
	"fmt"
	"strings"
	"testing"

	descriptorv1 "buf.build/gen/go/bufbuild/bufplugin/protocolbuffers/go/buf/plugin/descriptor/v1"
	"buf.build/go/bufplugin/check"
	"buf.build/go/bufplugin/descriptor"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sw4rm/sw4rm-go/buf-plugin-sw4rm/internal/rules"
	"github.com/sw4rm/sw4rm-go/buf-plugin-sw4rm/internal/shelter"
)

// Without source information findings are at their file and name what they are about.
func TestWithoutSourceInfo(t *testing.T) {
	t.Parallel()
	for name, s := range cases() {
		kind := check.RuleTypeLint
		if s.before != "" {
			kind = check.RuleTypeBreaking
		}
		full := request(t, s, kind, nil)
		bare, err := check.NewRequest(without(t, full.FileDescriptors()),
			check.WithAgainstFileDescriptors(without(t, full.AgainstFileDescriptors())), check.WithRuleIDs(full.RuleIDs()...))
		require.NoError(t, err)
		got := checkAll(t, bare)
		require.Equal(t, violated(checkAll(t, full)), violated(got), name)
		for _, a := range got {
			if a.FileLocation() != nil {
				require.Empty(t, a.FileLocation().SourcePath())
			}
		}
	}
}

// violated returns the rules that found something. Without places findings join, so that their number says nothing.
func violated(annotations []check.Annotation) map[string]bool {
	rules := make(map[string]bool)
	for _, a := range annotations {
		rules[a.RuleID()] = true
	}
	return rules
}

func without(t testing.TB, files []descriptor.FileDescriptor) []descriptor.FileDescriptor {
	t.Helper()
	protos := make([]*descriptorv1.FileDescriptor, 0, len(files))
	for _, f := range files {
		p := f.ToProto()
		bare := proto.CloneOf(p.GetFileDescriptorProto())
		bare.SourceCodeInfo = nil
		p.SetFileDescriptorProto(bare)
		protos = append(protos, p)
	}
	out, err := descriptor.FileDescriptorsForProtoFileDescriptors(protos)
	require.NoError(t, err)
	return out
}

// A Go package that protogen refuses can still be mended by managed mode, so that it keeps no schema from being checked.
func TestGoPackages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, option := range []string{"", `option go_package = "name";`, `option go_package = "./x;y";`, `option go_package = "a.b/c;d-e";`} {
		write(t, dir, fmt.Sprintf("dir%d/f.proto", i), fmt.Sprintf(`syntax = "proto3";
package p%d;
import "sw4rm/options/v1/options.proto";
%s
service S {
  option (sw4rm.options.v1.agent) = {};
  rpc M(R) returns (R) {
    option (sw4rm.options.v1.exchange) = {ttl: {seconds: 1} reply_timeout: {seconds: 2}};
  }
}
message R {}
`, i, option))
	}
	got := found(t, checkAll(t, request(t, schemas{now: dir}, check.RuleTypeLint, nil)))
	require.Equal(t, 4, strings.Count(got, "SW4RM_TTL_REPLY_TIMEOUT"), got)
}

// Options that were sheltered on the way are judged as those that were not.
func TestSheltered(t *testing.T) {
	t.Parallel()
	req := request(t, schemas{now: "testdata/lint"}, check.RuleTypeLint, nil)
	var protos []*descriptorv1.FileDescriptor
	for _, f := range req.FileDescriptors() {
		b, err := proto.Marshal(f.ToProto())
		require.NoError(t, err)
		p := new(descriptorv1.FileDescriptor)
		require.NoError(t, shelter.Decode(b, p))
		protos = append(protos, p)
	}
	files, err := descriptor.FileDescriptorsForProtoFileDescriptors(protos)
	require.NoError(t, err)
	sheltered, err := check.NewRequest(files, check.WithRuleIDs(req.RuleIDs()...))
	require.NoError(t, err)
	require.Equal(t, found(t, checkAll(t, req)), found(t, checkAll(t, sheltered)))
}

// FuzzCheck compares hostile files with each other.
func FuzzCheck(f *testing.F) {
	const text = `syntax = "proto3";
package p;
import "sw4rm/options/v1/options.proto";
option (sw4rm.options.v1.file) = {defaults: {ttl: {seconds: 1}}};
service S {
  option (sw4rm.options.v1.agent) = {capability: "c" defaults: {reply_timeout: {seconds: 2}}};
  rpc Call(R) returns (R) {
    option (sw4rm.options.v1.exchange) = {retry: {max_attempts: 9 codes: ["OVERLOADED"]} order: AGENT %s};
  }
  rpc Stream(R) returns (stream R) { option (sw4rm.options.v1.exchange) = {resume: CONTINUE %s}; }
}
message R {
  option (sw4rm.options.v1.payload) = {exchange: {type: NOTIFICATION}};
  string id = 1;
  R inner = 2;
  map<string, float> values = 3;
}
`
	seed := func(idempotency string) []byte {
		dir := f.TempDir()
		write(f, dir, "p.proto", fmt.Sprintf(text, idempotency, idempotency))
		for _, d := range request(f, schemas{now: dir}, check.RuleTypeLint, nil).FileDescriptors() {
			if !d.IsImport() {
				p := proto.CloneOf(d.FileDescriptorProto())
				p.Dependency = nil // options need no import once they are encoded
				b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
				require.NoError(f, err)
				return b
			}
		}
		return nil
	}
	whole, fields := seed("idempotency: {whole_payload: true}"), seed(`idempotency: {fields: {path: ["id", "inner.id"]}}`)
	f.Add(whole, fields)
	f.Add(fields, whole)
	spec := rules.Spec()
	ids := make([]string, 0, len(spec.Rules))
	for _, r := range spec.Rules {
		ids = append(ids, r.ID)
	}
	client, err := check.NewClientForSpec(spec)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, now, before []byte) {
		req, err := check.NewRequest(hostile(now), check.WithAgainstFileDescriptors(hostile(before)), check.WithRuleIDs(ids...))
		if err != nil {
			return
		}
		resp, err := client.Check(t.Context(), req)
		if err != nil {
			require.NotContains(t, err.Error(), "internal error")
			return
		}
		for _, a := range resp.Annotations() {
			require.NotContains(t, a.Message(), "\n")
		}
	})
}

// hostile returns the file that b encodes, nil when it is none that buf would pass on.
func hostile(b []byte) []descriptor.FileDescriptor {
	p := new(descriptorpb.FileDescriptorProto)
	if shelter.Decode(b, p) != nil {
		return nil
	}
	files, err := descriptor.FileDescriptorsForProtoFileDescriptors([]*descriptorv1.FileDescriptor{
		descriptorv1.FileDescriptor_builder{FileDescriptorProto: p}.Build(),
	})
	if err != nil {
		return nil
	}
	return files
}

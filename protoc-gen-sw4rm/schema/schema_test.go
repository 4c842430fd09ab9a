package schema_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

func check(t *testing.T, opts schema.Options, files ...string) (*schema.Model, schema.Findings) {
	t.Helper()
	b, err := proto.Marshal(plugintest.Request(t, []string{"../../golden", "../../proto"}, "", files...))
	require.NoError(t, err)
	in, err := schema.ReadInput(b)
	require.NoError(t, err)
	gen, err := protogen.Options{}.New(in.Request)
	require.NoError(t, err)
	return schema.Check(in, gen, opts)
}

func TestModel(t *testing.T) {
	t.Parallel()
	model, findings := check(t, schema.Options{}, "defaults/defaults.proto", "shapes/shapes.proto")
	require.Empty(t, findings)
	require.Len(t, model.Files, 2)

	overrides := model.Files[0].Services[1]
	require.Equal(t, "golden.defaults.Overrides", overrides.Name)
	require.Equal(t, "overrides", overrides.Capability)
	require.Equal(t, "HandleOverrides", overrides.Go.Handle)
	require.Equal(t, schema.Position{File: "defaults/defaults.proto", Line: 37, Column: 9, Element: overrides.Name}, overrides.Position)

	s := overrides.Exchanges[1].Settings
	require.Equal(t, optionspb.ExchangeOptions_DATA, s.Type)
	require.Zero(t, *s.ReplyTimeout, "an explicit 0 is not the default of the file")
	require.Equal(t, 9*time.Second, *s.TTL)
	require.Equal(t, time.Second, *s.AckTimeout)
	require.Equal(t, []ack.Code{ack.BufferFull}, s.RetryOn)
	require.Empty(t, s.Keys)
	ttl, ok := s.Origin("ttl")
	require.True(t, ok)
	require.Equal(t, schema.Origin{
		Option:   "ttl",
		Position: schema.Position{File: "defaults/defaults.proto", Line: 62, Column: 7, Element: "golden.defaults.Overrides.Method"},
		Path:     protoreflect.SourcePath{6, 1, 2, 1, 4, 8355, 5},
	}, ttl)
	inherited, ok := s.Origin("ack_timeout")
	require.True(t, ok)
	require.Equal(t, "the default of the file", inherited.Default)
	_, ok = s.Origin("resume")
	require.False(t, ok)

	review := model.Files[1].Services[0].Exchanges[0]
	require.Equal(t, schema.Call, review.Kind)
	require.Nil(t, review.Settings.TTL)
	require.Len(t, review.Settings.Keys, 2)
	require.EqualValues(t, "path", review.Settings.Keys[0].Field().Desc.Name())
}

func TestFindings(t *testing.T) {
	t.Parallel()
	model, findings := check(t, schema.Options{AllServices: true}, "errors_streams/streams.proto", "shapes/shapes.proto")
	require.Nil(t, model)
	require.Equal(t, schema.Finding{
		Position: schema.Position{File: "errors_streams/streams.proto", Line: 13, Column: 14, Element: "golden.errors_streams.Streams.Upload"},
		Message:  "golden.errors_streams.Streams.Upload is a client stream, which is not an exchange between agents",
		Fix:      "take one request, set skip: true in its exchange option, or move it to another service",
	}, findings[0])
}

func TestPayloadsAndStreams(t *testing.T) {
	t.Parallel()
	for side, want := range map[schema.Side][]string{
		schema.Both:   {"HeartbeatExchange", "SendHeartbeat", "HandleHeartbeat"},
		schema.Send:   {"HeartbeatExchange", "SendHeartbeat"},
		schema.Handle: {"HeartbeatExchange", "HandleHeartbeat"},
	} {
		model, findings := check(t, schema.Options{Only: side, PackageSuffix: "x"}, "exchanges/exchanges.proto")
		require.Empty(t, findings)
		file := model.Files[0]
		require.Equal(t, schema.Package{
			Path:       "github.com/sw4rm/sw4rm-go/golden/exchanges/exchangesx",
			Name:       "exchangesx",
			FilePrefix: "github.com/sw4rm/sw4rm-go/golden/exchanges/exchangesx/exchanges",
		}, file.Package)
		require.Len(t, file.Payloads, 3, "one is skipped")
		require.Equal(t, want, file.Payloads[0].Go.All())
		require.Equal(t, "golden.exchanges.Heartbeat.Pulse", file.Payloads[1].Name)
		require.Equal(t, optionspb.ExchangeOptions_NOTIFICATION, file.Payloads[1].Settings.Type)
		require.True(t, file.Payloads[2].Deprecated)

		var kinds []schema.Kind
		for _, e := range file.Services[0].Exchanges[:4] {
			kinds = append(kinds, e.Kind)
		}
		require.Equal(t, []schema.Kind{schema.OneWay, schema.Call, schema.Stream, schema.Stream}, kinds)
		tools := file.Services[1].Exchanges
		require.Zero(t, tools[0].Settings.Resume, "a call has no frames, and only inherits the setting")
		_, ok := tools[0].Settings.Origin("resume")
		require.False(t, ok)
		require.Equal(t, optionspb.ExchangeOptions_RESTART, tools[1].Settings.Resume)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	b, err := proto.Marshal(plugintest.RequestFor(t, "../../proto", "", map[string]string{
		"job_linux_arm64.proto": "syntax = \"proto3\"; package p; import \"sw4rm/options/v1/options.proto\"; option go_package = \"example.com/p\"; message M { option (sw4rm.options.v1.payload) = {}; }",
	}, "job_linux_arm64.proto"))
	require.NoError(t, err)
	in, err := schema.ReadInput(b)
	require.NoError(t, err)
	gen, err := protogen.Options{}.New(in.Request)
	require.NoError(t, err)
	model, findings := schema.Check(in, gen, schema.Options{})
	require.Empty(t, findings)
	require.Equal(t, "job_linux_arm64.proto: example.com/p/job_linux_arm64.pb.go is compiled for linux and arm64 only, because of its name. Fix: rename the schema", model.Warnings.Error())
}

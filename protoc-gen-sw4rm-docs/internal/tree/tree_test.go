package tree_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

func TestWords(t *testing.T) {
	t.Parallel()
	for name, want := range map[protoreflect.Name]string{
		"Find": "Find", "FindBooks": "Find Books", "FindHTMLPages_v2": "Find HTML Pages v2", "find_it": "find it", "HTML": "HTML", "_x__Y": "x Y", "V1Beta": "V1 Beta",
	} {
		require.Equal(t, want, tree.Words(name))
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a b c\nd e\ufffd ä", tree.Clean("a\tb\u202ec\r\nd\x00e\xff\u00a0ä"))
}

// read returns the tree of one schema, which needs a go_package here.
func read(t *testing.T, text string) *tree.Tree {
	t.Helper()
	req := plugintest.RequestFor(t, "../../../proto", "Ms.proto=example.com/s", map[string]string{"s.proto": text}, "s.proto")
	b, err := proto.Marshal(req)
	require.NoError(t, err)
	in, err := schema.ReadInput(b)
	require.NoError(t, err)
	gen, err := protogen.Options{}.New(in.Request)
	require.NoError(t, err)
	model, findings := schema.Check(in, gen, schema.Options{})
	require.Empty(t, findings)
	return tree.Of(model, "1")
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	got := read(t, `syntax = "proto3";
package p;
import "sw4rm/options/v1/options.proto";
option (sw4rm.options.v1.file) = {defaults: {ttl: {seconds: 7} reply_timeout: {seconds: 5}}};
service S {
  option (sw4rm.options.v1.agent) = {defaults: {handler_timeout: {seconds: 60}}};
  rpc M(A) returns (stream A) {
    option (sw4rm.options.v1.exchange) = {ttl: {} idempotency: {whole_payload: true}};
  }
}
message A { option (sw4rm.options.v1.payload) = {exchange: {deadline: {seconds: 9000}}}; }
`)
	type row struct {
		option, value, origin string
		line                  int
	}
	rows := func(e *tree.Exchange) []row {
		var all []row
		for _, p := range e.Policies {
			all = append(all, row{p.Option, p.Value, p.Origin, p.Position.Line})
		}
		return all
	}
	const unset = "the runtime's default"
	retry := []row{
		{"retry.max_attempts", "5", unset, 0}, {"retry.initial_backoff", "1s", unset, 0}, {"retry.max_backoff", "30s", unset, 0}, {"retry.multiplier", "2", unset, 0},
		{"retry.codes", "BUFFER_FULL, AGENT_UNAVAILABLE, AGENT_SHUTDOWN, OVERLOADED, FORCED_PREEMPTION, INTERNAL_ERROR", unset, 0},
	}
	require.Equal(t, append(append([]row{
		{"type", "DATA", unset, 0}, {"ack_timeout", "10s", unset, 0}, {"reply_timeout", "5s", "the default of the file", 4}, {"deadline", "24h", unset, 0},
		{"ttl", "no limit", "the RPC", 8},
	}, retry...), []row{
		{"idempotency", "requests with the same payload are the same operation", "the RPC", 8}, {"order", "NONE", unset, 0},
		{"handler_timeout", "1m", "the default of p.S", 6}, {"resume", "RESTART", unset, 0}, {"content_type", "names exchange and message", unset, 0},
	}...), rows(got.Agents[0].Exchanges[0]))
	require.Equal(t, append(append([]row{
		{"type", "DATA", unset, 0}, {"ack_timeout", "10s", unset, 0}, {"deadline", "2h30m", "the message", 11}, {"ttl", "7s", "the default of the file", 4},
	}, retry...), []row{
		{"idempotency", "each request is its own operation", unset, 0}, {"order", "CORRELATION", unset, 0}, {"handler_timeout", "no limit", unset, 0},
		{"content_type", "names exchange and message", unset, 0},
	}...), rows(got.Standalone[0]))
	require.True(t, got.Agents[0].Exchanges[0].Idempotent)
	require.Equal(t, "capability:p.S", got.Agents[0].Address())
	require.Len(t, got.Payloads, 1)
}

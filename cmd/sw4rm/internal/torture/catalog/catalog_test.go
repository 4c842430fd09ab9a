package catalog

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/payload"
	"github.com/sw4rm/sw4rm-go/golden/exchanges"
	"github.com/sw4rm/sw4rm-go/golden/keys"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const golden = "../../../../../golden"

func load(t *testing.T, src Source) map[string]Exchange {
	t.Helper()
	all, err := Load(t.Context(), src)
	require.NoError(t, err)
	found := map[string]Exchange{}
	for _, x := range all {
		require.NoError(t, x.Validate())
		found[x.Name()] = x
	}
	require.Len(t, found, len(all))
	return found
}

// files writes schemas into a folder.
func files(t *testing.T, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

const greeter = `syntax = "proto3";
package acme.v1;
import "google/protobuf/empty.proto";
import "sw4rm/options/v1/options.proto";
import "acme/v1/name.proto";
service Greeter {
  option (sw4rm.options.v1.agent) = {capability: "greet"};
  rpc Greet(GreetRequest) returns (GreetReply) {
    option (sw4rm.options.v1.exchange) = {
      type: TOOL_CALL order: AGENT ttl: {seconds: 3} deadline: {seconds: 60} handler_timeout: {seconds: 4}
      ack_timeout: {seconds: 2} reply_timeout: {seconds: 5}
      retry: {max_attempts: 7 max_backoff: {seconds: 9} codes: ["OVERLOADED"]}
      idempotency: {fields: {path: ["name.first"]}}
    };
  }
  rpc Wave(GreetRequest) returns (google.protobuf.Empty);
  rpc Sing(GreetRequest) returns (stream GreetReply) {
    option (sw4rm.options.v1.exchange) = {resume: CONTINUE idempotency: {whole_payload: true}};
  }
  rpc Secret(GreetRequest) returns (GreetReply) {
    option (sw4rm.options.v1.exchange) = {skip: true};
  }
}
service Plain {
  rpc Do(GreetRequest) returns (GreetReply);
}
message GreetRequest { Name name = 1; }
message GreetReply { string text = 1; }
message Bell {
  option (sw4rm.options.v1.payload) = {exchange: {content_type: "application/json"}};
  int32 times = 1;
}
`

const name = `syntax = "proto3";
package acme.v1;
message Name { string first = 1; string last = 2; }
`

// TestSettings reads every kind of exchange and every option.
func TestSettings(t *testing.T) {
	dir := files(t, map[string]string{"acme/v1/greeter.proto": greeter, "acme/v1/name.proto": name})
	all := load(t, Source{Paths: []string{dir}})
	require.Len(t, all, 4)

	greet := all["acme.v1.Greeter/Greet"]
	require.Equal(t, exchange.KindCall, greet.Kind())
	require.Equal(t, "greet", greet.Capability)
	require.Equal(t, "acme.v1.Greeter", greet.Service())
	require.Equal(t, "call", greet.Shape())
	require.Equal(t, "acme.v1.GreetRequest", greet.RequestName())
	require.Equal(t, "acme.v1.GreetReply", greet.ReplyName())
	p := greet.Policy()
	require.Equal(t, exchange.ToolCall, p.MessageType)
	require.Equal(t, exchange.OrderAgent, p.Order)
	require.Equal(t, []time.Duration{3 * time.Second, time.Minute, 4 * time.Second, 2 * time.Second, 5 * time.Second},
		[]time.Duration{p.TTL, p.Deadline, p.HandlerTimeout, p.AckTimeout, p.ReplyTimeout})
	require.Equal(t, exchange.RetryPolicy{
		MaxAttempts: 7, InitialBackoff: exchange.DefaultInitialBackoff, MaxBackoff: 9 * time.Second, Multiplier: exchange.DefaultMultiplier,
		Codes: []ack.Code{ack.Overloaded},
	}, p.Retry)
	named := func(first, last string) []byte {
		m := greet.NewRequest().(*dynamicpb.Message)
		f := m.Descriptor().Fields().ByName("name")
		n := m.Mutable(f).Message()
		n.Set(n.Descriptor().Fields().ByName("first"), protoString(first))
		n.Set(n.Descriptor().Fields().ByName("last"), protoString(last))
		key, err := greet.ContentKey(m)
		require.NoError(t, err)
		return key
	}
	require.Equal(t, named("a", "b"), named("a", "c"))
	require.NotEqual(t, named("a", "b"), named("b", "b"))
	_, err := greet.ContentKey(greet.NewRequest())
	require.NoError(t, err, "a message that is not there has no fields")

	require.Equal(t, exchange.KindOneWay, all["acme.v1.Greeter/Wave"].Kind())
	require.Nil(t, all["acme.v1.Greeter/Wave"].NewReply())
	sing := all["acme.v1.Greeter/Sing"]
	require.Equal(t, "stream", sing.Shape())
	require.Equal(t, exchange.ContinueOnResume, sing.Policy().Resume)
	require.Equal(t, exchange.ByContent, sing.Policy().Idempotency)
	bell := all["acme.v1.Bell"]
	require.True(t, bell.Standalone())
	require.Empty(t, bell.Capability+bell.Service())
	require.Equal(t, "application/json", bell.Policy().ContentType)

	require.Contains(t, load(t, Source{Paths: []string{dir}, AllServices: true}), "acme.v1.Plain/Do")
	one := load(t, Source{Paths: []string{filepath.Join(dir, "acme/v1/greeter.proto")}, Imports: []string{dir}})
	require.Len(t, one, 4)
}

// TestGenerated compares with what the generator has written for the same schemas.
func TestGenerated(t *testing.T) {
	all := load(t, Source{Paths: []string{filepath.Join(golden, "exchanges"), filepath.Join(golden, "keys")}})
	w, k := exchanges.WorkerExchanges, keys.KeysExchanges
	for _, d := range []*exchange.Descriptor{
		w.Tell.Descriptor(), w.Ask.Descriptor(), w.Watch.Descriptor(), w.Follow.Descriptor(), w.Notify.Descriptor(), w.Stop.Descriptor(),
		w.Bind.Descriptor(), w.Approve.Descriptor(), w.Propose.Descriptor(), exchanges.ToolsExchanges.Scan.Descriptor(),
		exchanges.ForeignExchanges.Submit.Descriptor(), exchanges.ForeignExchanges.Note.Descriptor(),
		exchanges.HeartbeatExchange.Descriptor(), exchanges.Heartbeat_PulseExchange.Descriptor(), k.Each.Descriptor(), k.Nested.Descriptor(),
	} {
		x, ok := all[d.Name()]
		require.True(t, ok, d.Name())
		require.Equal(t, d.Kind(), x.Kind())
		require.Equal(t, d.Policy(), x.Policy())
		require.Equal(t, d.RequestName(), x.RequestName())
		require.Equal(t, d.ReplyName(), x.ReplyName())
	}
	for _, d := range []*exchange.Descriptor{k.Each.Descriptor(), k.Nested.Descriptor()} {
		x := all[d.Name()]
		for seed := range uint64(200) {
			m, err := payload.New(rand.New(rand.NewPCG(seed, 1)), x.NewRequest().ProtoReflect().Descriptor())
			require.NoError(t, err)
			b, err := proto.Marshal(m)
			require.NoError(t, err)
			typed := d.NewRequest()
			require.NoError(t, proto.Unmarshal(b, typed))
			want, err := d.ContentKey(typed)
			require.NoError(t, err)
			got, err := x.ContentKey(m)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
}

// TestDescriptorSet reads what a compiler has written, in any order.
func TestDescriptorSet(t *testing.T) {
	dir := files(t, map[string]string{"acme/v1/greeter.proto": greeter, "acme/v1/name.proto": name})
	compiled, err := Source{Paths: []string{dir}}.read(t.Context())
	require.NoError(t, err)
	set := &descriptorpb.FileDescriptorSet{}
	for i := range compiled.files {
		set.File = append(set.File, compiled.files[len(compiled.files)-1-i])
	}
	written := func(set *descriptorpb.FileDescriptorSet) string {
		b, err := proto.Marshal(set)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "schema.binpb")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		return path
	}
	require.Len(t, load(t, Source{Paths: []string{written(set)}}), 4)
	require.Len(t, load(t, Source{Paths: []string{written(set), dir}}), 4, "the same twice is no harm")

	set.File = set.File[:1]
	_, err = Load(t.Context(), Source{Paths: []string{written(set)}})
	require.ErrorContains(t, err, "is not complete")
	require.ErrorContains(t, err, "Fix: write it with buf build")
}

func TestBadSchemas(t *testing.T) {
	text := func(body string) string { return "syntax = \"proto3\";\npackage a;\n" + body }
	dir := func(body string) string { return files(t, map[string]string{"a.proto": text(body)}) }
	service := "service S { option (sw4rm.options.v1.agent) = {}; rpc M(Q) returns (Q) { option (sw4rm.options.v1.exchange) = {type: NOTIFICATION}; } } message Q {}"
	garbage := filepath.Join(files(t, map[string]string{"x.binpb": "\xff\xff"}), "x.binpb")
	empty := filepath.Join(files(t, map[string]string{"x.binpb": ""}), "x.binpb")
	for _, test := range []struct {
		name  string
		paths []string
		says  string
	}{
		{"none", nil, "is not given. Fix: name a folder"},
		{"nothing there", []string{"/nowhere/at/all"}, "/nowhere/at/all cannot be read"},
		{"a folder without schemas", []string{t.TempDir()}, "has no .proto file"},
		{"no set", []string{garbage}, garbage + " is no set of descriptors"},
		{"an empty set", []string{empty}, "it has no file"},
		{"a mistake", []string{dir("message {")}, "a.proto:3:"},
		{"an import that is not there", []string{dir(`import "b.proto";`)}, "--import"},
		{"no exchange", []string{dir("message M {}")}, "has no exchange between agents. Fix: "},
		{"options that contradict", []string{dir(`import "sw4rm/options/v1/options.proto";` + service)}, "NOTIFICATION"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(t.Context(), Source{Paths: test.paths})
			var wrong *Error
			require.ErrorAs(t, err, &wrong)
			require.ErrorContains(t, err, test.says)
			require.NotEmpty(t, wrong.Fix)
		})
	}
	_, err := Load(t.Context(), Source{Paths: []string{"/nowhere"}})
	require.True(t, errors.Is(err, fs.ErrNotExist))
}

func protoString(s string) protoreflect.Value { return protoreflect.ValueOfString(s) }

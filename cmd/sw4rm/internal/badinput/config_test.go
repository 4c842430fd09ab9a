package badinput

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/cli"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// badTargets are what no router's or registry's address may be.
var badTargets = []string{
	"localhost", "localhost:", ":::", "localhost:port", "localhost:-1", "localhost:65536", "https://localhost:1", "localhost:1:2",
}

func config(tb table) {
	wrong := func(name, says string, c agent.Config) {
		tb.row(name, func(t *testing.T) {
			t.Setenv("AGENT_ID", "")
			_, err := agent.NewMemory(c)
			require.ErrorContains(t, err, says)
			require.ErrorContains(t, err, "Fix: ")
		})
	}
	for _, bad := range badNames {
		says := "agent id"
		if bad.value == "" {
			says = "no id"
		}
		wrong("id, "+bad.name, says, agent.Config{ID: bad.value})
	}
	wrong("the router's id", "router's own", agent.Config{ID: "sw4rm-router"})
	for _, target := range badTargets {
		wrong("router "+target, "RouterAddr", agent.Config{ID: "a", RouterAddr: target})
		wrong("registry "+target, "RegistryAddr", agent.Config{ID: "a", RegistryAddr: target})
	}
	for field, c := range map[string]agent.Config{
		"MaxHandlers": {MaxHandlers: -1}, "MaxInbound": {MaxInbound: -1}, "MaxInboundBytes": {MaxInboundBytes: -1}, "MaxOut": {MaxOut: -1}, "MaxIn": {MaxIn: -1},
		"MaxDataBytes": {MaxDataBytes: -1}, "MinFreeDisk": {MinFreeDisk: -1}, "MaxEnvelopeBytes": {MaxEnvelopeBytes: -1},
		"DrainTimeout": {DrainTimeout: -time.Second}, "Heartbeat": {Heartbeat: -1},
		"MaxDedupBytes": {MaxDedupBytes: -1}, "DedupWindow": {DedupWindow: -1}, "InKeep": {InKeep: -1}, "KeepBodies": {KeepBodies: -1}, "KeepAge": {KeepAge: -1},
	} {
		c.ID = "a"
		wrong("a negative "+field, field, c)
	}
	wrong("a memory shorter than the window", "InKeep", agent.Config{ID: "a", InKeep: time.Minute})
}

func environment(tb table) {
	wrong := func(name, value, says string) {
		tb.row(fmt.Sprintf("%s=%.20s", name, value), func(t *testing.T) {
			t.Setenv("AGENT_ID", "a")
			t.Setenv(name, value)
			_, err := agent.NewMemory(agent.Config{})
			require.ErrorContains(t, err, says)
			require.ErrorContains(t, err, "Fix: ")
		})
	}
	for _, target := range badTargets {
		wrong("SW4RM_ROUTER_ADDR", target, "SW4RM_ROUTER_ADDR")
		wrong("SW4RM_REGISTRY_ADDR", target, "SW4RM_REGISTRY_ADDR")
	}
	for _, id := range []string{"a b", "a/b", "-a", "é", strings.Repeat("x", 129), "sw4rm-router"} {
		wrong("AGENT_ID", id, "id")
	}
}

// command wants a command to end with this code, and with one line that has a remedy.
func command(tb table, name string, code int, env map[string]string, args ...string) {
	tb.row(name, func(t *testing.T) {
		var out, log bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		got := cli.Run(ctx, args, func(key string) string { return env[key] }, &out, &log)
		require.Equal(t, code, got, "%s", log.String())
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		require.Contains(t, lines[len(lines)-1], "sw4rm: ")
		require.Contains(t, lines[len(lines)-1], "Fix: ")
	})
}

func commandLine(tb table) {
	root := tb.TempDir()
	data := func() string { return filepath.Join(root, "data") }
	for name, args := range map[string][]string{
		"an unknown command": {"down"}, "an unknown flag": {"--nope"}, "up with an argument": {"up", "now"}, "up with an unknown flag": {"up", "--nope"},
		"a flag without a value": {"up", "--data"}, "version with an argument": {"version", "1"}, "buffer with an unknown command": {"buffer", "shred"},
		"ls without a directory": {"buffer", "ls"}, "ls of two": {"buffer", "ls", "a", "b"}, "verify without a directory": {"buffer", "verify"},
		"salvage of one": {"buffer", "salvage", "a"}, "export without a directory": {"buffer", "export"}, "import of one": {"buffer", "import", "a"},
		"backup of one": {"buffer", "backup", "a"}, "restore of one": {"buffer", "restore", "a"}, "upgrade without a directory": {"buffer", "upgrade"},
		"an unknown format":          {"buffer", "import", "--format=xml", "a", "b"},
		"an address without a kind":  {"buffer", "import", "--format=sdk-json", "--to=x", "a", "b"},
		"an address for the wrong":   {"buffer", "import", "--to=agent:x", "a", "b"},
		"torture without a command":  {"torture"},
		"torture with a bad seed":    {"torture", "--seed=x", "--", "true"},
		"ls with a flag of another":  {"buffer", "ls", "--to=agent:x", "a"},
		"up with a flag of a buffer": {"up", "--failed"},
	} {
		command(tb, name, cli.ExitUsage, nil, args...)
	}
	for _, size := range []string{"", "x", "-1", "1.5", "1TB", "KiB", "99999999999GiB", "1 MiB"} {
		command(tb, "--min-free-disk="+size, cli.ExitUsage, nil, "up", "--min-free-disk="+size, "--data="+data())
		if size != "" {
			command(tb, "SW4RM_UP_MIN_FREE_DISK="+size, cli.ExitUsage, map[string]string{"SW4RM_UP_MIN_FREE_DISK": size}, "up", "--data="+data())
		}
	}
	for _, lease := range []string{"0", "-1", "NaN", "Inf", "1e300", "86401", "30s", " "} {
		command(tb, "SW4RM_DELIVERY_LEASE_SECONDS="+lease, cli.ExitUsage, map[string]string{"SW4RM_DELIVERY_LEASE_SECONDS": lease}, "up", "--data="+data())
	}
	for _, level := range []string{"loud", "1", "INFO!", " "} {
		command(tb, "SW4RM_LOG_LEVEL="+level, cli.ExitUsage, map[string]string{"SW4RM_LOG_LEVEL": level}, "up", "--data="+data())
	}
	for _, addr := range []string{"localhost", "localhost:port", "localhost:65536", "localhost:-1", "0.0.0.0:0", "nowhere.invalid:1", "192.0.2.1:1", ":0"} {
		command(tb, "--router="+addr, cli.ExitAddress, nil, "up", "--router="+addr, "--registry=localhost:0", "--data="+data())
		command(tb, "SW4RM_REGISTRY_ADDR="+addr, cli.ExitAddress, map[string]string{"SW4RM_REGISTRY_ADDR": addr}, "up", "--router=localhost:0", "--data="+data())
	}
	file := filepath.Join(root, "file")
	require.NoError(tb, os.WriteFile(file, []byte("mine"), 0o600))
	for _, use := range []string{"ls", "verify", "export", "upgrade"} {
		command(tb, use+" of a file", cli.ExitData, nil, "buffer", use, file)
		command(tb, use+" of what is not there", cli.ExitData, nil, "buffer", use, filepath.Join(root, "absent"))
	}
	command(tb, "up on a file", cli.ExitData, nil, "up", "--router=localhost:0", "--registry=localhost:0", "--data="+file)
	tb.row("the file stays", func(t *testing.T) {
		is, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "mine", string(is))
	})
}

func importFiles(tb table) {
	root := tb.TempDir()
	n := 0
	imports := func(name string, code int, text string, flags ...string) {
		n++
		dir, file := filepath.Join(root, fmt.Sprint("dir", n)), filepath.Join(root, fmt.Sprint("file", n))
		require.NoError(tb, os.WriteFile(file, []byte(text), 0o600))
		command(tb, name, code, nil, append(append([]string{"buffer", "import"}, flags...), dir, file)...)
		_, err := os.Stat(dir)
		require.ErrorIs(tb, err, fs.ErrNotExist, "%s: nothing is left of it", name)
	}
	head := `{"head":{"version":1}}` + "\n"
	for name, text := range map[string]string{
		"nothing": "", "an empty line": "\n", "no JSON": "x\n", "an empty object": "{}\n", "a list": "[]\n", "a number": "1\n", "half a line": `{"head":`,
		"an unknown field": `{"nope":1}` + "\n", "a newer version": `{"head":{"version":99}}` + "\n", "a version of text": `{"head":{"version":"1"}}` + "\n",
		"a head and no end": head, "a head and nonsense": head + "x\n", "two heads": head + head, "a record that does not decode": head + `{"out":{"record":"!"}}` + "\n",
		"an empty record": head + `{"out":{}}` + "\n", "an end that does not count": head + `{"end":{"out":5}}` + "\n",
		"a million brackets": strings.Repeat("[", 1_000_000), "bytes": "\x00\xff\xfe\x80",
	} {
		imports("jsonl: "+name, cli.ExitError, text)
	}
	record := func(fields string) string { return `{"version":1,"order":["m"],"records":{"m":{` + fields + `}}}` }
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "x", "a list": "[]", "half of it": `{"records":{`, "a record without a message": record(`"direction":"out"`),
		"another message": record(`"message_id":"x","direction":"out"`), "no direction": record(`"message_id":"m"`), "a direction that is none": record(`"message_id":"m","direction":"up"`),
		"stage 7": record(`"message_id":"m","direction":"out","ack_stage":7`), "an unknown stage": record(`"message_id":"m","direction":"out","ack_stage":"DONE"`),
		"an unknown code":                   record(`"message_id":"m","direction":"out","error_code":"NOPE"`),
		"a message type that is none":       record(`"message_id":"m","direction":"out","envelope":{"message_type":"NOPE"}`),
		"a payload of large bytes":          record(`"message_id":"m","direction":"out","envelope":{"payload":[300]}`),
		"a record that is not in the order": `{"version":1,"order":[],"records":{"m":{"message_id":"m"}}}`,
	} {
		imports("sdk-json: "+name, cli.ExitData, text, "--format=sdk-json", "--agent=me")
	}
}

func addresses(tb table) {
	for _, kind := range []string{"agent", "capability"} {
		for _, bad := range badNames {
			tb.row(kind+": "+bad.name, func(t *testing.T) {
				_, err := address.Parse(kind + ":" + bad.value)
				var typed *address.Error
				require.ErrorAs(t, err, &typed)
				require.NotEmpty(t, typed.Fix)
			})
		}
	}
	for _, s := range []string{"", ":", "a", "agent", "Agent:a", " agent:a", "agents:a", "topic:a", "agent/a", "agent;a"} {
		tb.row(fmt.Sprintf("%q", s), func(t *testing.T) {
			_, err := address.Parse(s)
			var typed *address.Error
			require.ErrorAs(t, err, &typed)
		})
	}
}

type text = wrapperspb.StringValue

// registration registers what may not be registered: Start says so, and nothing panics.
func registration(tb table) {
	const name = "test.v1.Echo/Say"
	policy := func(says string, opts ...exchange.Option) {
		tb.row(says, func(t *testing.T) {
			a := agenttest.New(t).Agent("a")
			exchange.NewCall[text, text](name, opts...).Handle(a, func(_ context.Context, m *text) (*text, error) { return m, nil })
			require.ErrorContains(t, a.Start(t.Context()), name)
		})
	}
	policy("a negative ACK timeout", exchange.AckTimeout(-1))
	policy("a negative reply timeout", exchange.ReplyTimeout(-1))
	policy("a negative deadline", exchange.Deadline(-1))
	policy("a negative TTL", exchange.TTL(-1))
	policy("a negative handler timeout", exchange.HandlerTimeout(-1))
	policy("no attempt", exchange.MaxAttempts(0))
	policy("attempts below none", exchange.MaxAttempts(-5))
	policy("a backoff that shrinks", exchange.Backoff(time.Second, time.Minute, 0.5))
	policy("a backoff by nothing", exchange.Backoff(time.Second, time.Minute, 0))
	policy("a negative backoff", exchange.Backoff(-time.Second, time.Minute, 2))
	policy("an unknown order", exchange.Order(77))
	policy("an unknown format", exchange.Format(77))
	policy("an unknown resume", exchange.Resume(77))
	policy("an unknown idempotency", exchange.Idempotency(77))
	policy("an unknown type", exchange.MessageType(77))
	policy("a content type that is none", exchange.ContentType("json"))
	policy("a content type with a line break", exchange.ContentType("application/json\n"))
	policy("a content type with an escape", exchange.ContentType(unreadable))
	for _, bad := range []string{"Say", "/Say", "test.v1.Echo/", "a b/Say", "a/b/c", "", "é/Say", strings.Repeat("x", 300) + "/Say"} {
		tb.row(fmt.Sprintf("an exchange named %.20q", bad), func(t *testing.T) {
			a := agenttest.New(t).Agent("a")
			exchange.NewCall[text, text](bad).Handle(a, func(_ context.Context, m *text) (*text, error) { return m, nil })
			require.Error(t, a.Start(t.Context()))
		})
	}
	for _, bad := range badNames[1:] {
		tb.row("a capability with "+bad.name, func(t *testing.T) {
			a := agenttest.New(t).Agent("a")
			a.Service(exchange.Service{Name: "test.v1.Echo", Capability: bad.value})
			require.ErrorContains(t, a.Start(t.Context()), "capability")
		})
	}
	tb.row("a nil handler", func(t *testing.T) {
		a := agenttest.New(t).Agent("a")
		exchange.NewCall[text, text](name).Handle(a, nil)
		require.ErrorContains(t, a.Start(t.Context()), "nil")
	})
	tb.row("an exchange twice", func(t *testing.T) {
		a := agenttest.New(t).Agent("a")
		for range 2 {
			exchange.NewOneWay[text](name).Handle(a, func(context.Context, *text) error { return nil })
		}
		require.ErrorContains(t, a.Start(t.Context()), name)
	})
	tb.row("a nil service", func(t *testing.T) {
		a := agenttest.New(t).Agent("a")
		require.False(t, exchange.Register(a, exchange.Service{Name: "test.v1.Echo"}, nil))
		require.ErrorContains(t, a.Start(t.Context()), "test.v1.Echo")
	})
}

// unreadable is a content type that MIME allows and no agent can read.
const unreadable = `application/json; v="a\"b"`

// sends has an agent send what may not be sent: a typed error, and nothing is stored.
func sends(tb table) {
	a := agenttest.New(tb.T).Agent("a")
	say := exchange.NewCall[text, text]("test.v1.Echo/Say")
	require.NoError(tb, a.Start(tb.Context()))
	there := address.Agent("there")
	wrong := func(name string, code ack.Code, to address.Address, m *text, opts ...exchange.SendOption) {
		tb.row(name, func(t *testing.T) {
			_, err := say.Send(t.Context(), exchange.NewClient(a, to), m, opts...)
			var refused *ack.Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, ack.Rejected, refused.Stage)
			require.Equal(t, code, refused.Code, "%v", err)
			require.NotEmpty(t, refused.Note)
		})
	}
	word := wrapperspb.String("x")
	for _, bad := range badNames {
		wrong("to an agent: "+bad.name, ack.ValidationError, address.Agent(bad.value), word)
		wrong("to a capability: "+bad.name, ack.ValidationError, address.Capability(bad.value), word)
		if bad.value != "" {
			wrong("in a conversation: "+bad.name, ack.ValidationError, there, word, exchange.WithCorrelation(bad.value))
		}
	}
	wrong("to nobody", ack.ValidationError, address.Address{}, word)
	wrong("nil", ack.ValidationError, there, nil)
	wrong("too large", ack.OversizePayload, there, wrapperspb.String(strings.Repeat("x", envelope.DefaultMaxBytes)))
	wrong("what is not UTF-8", ack.ValidationError, there, wrapperspb.String("\xff"))
	wrong("a key that is too long", ack.ValidationError, there, word, exchange.WithKey(strings.Repeat("k", 2000)))
	for name, opt := range map[string]exchange.SendOption{
		"no attempt": exchange.MaxAttempts(0), "a negative TTL": exchange.TTL(-1), "a negative deadline": exchange.Deadline(-1), "an unknown order": exchange.Order(9),
		"an unknown type": exchange.MessageType(9999), "an unknown format": exchange.Format(9), "a shrinking backoff": exchange.Backoff(1, 1, 0.1),
	} {
		wrong(name, ack.ValidationError, there, word, opt)
	}
	tb.row("a descriptor that nobody handles, with a content type that nobody can read", func(t *testing.T) {
		_, err := exchange.NewOneWay[text]("test.v1.Echo/Tell", exchange.ContentType(unreadable)).Send(t.Context(), exchange.NewClient(a, there), word)
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
		require.ErrorContains(t, err, "Fix: ")
	})
	tb.row("nothing is stored", func(t *testing.T) {
		s := a.Buffer().Stats()
		require.Zero(t, s.OutActive+s.OutFinished)
	})
}

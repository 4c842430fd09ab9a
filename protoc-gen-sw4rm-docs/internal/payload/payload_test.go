package payload_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/payload"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

const edition = `edition = "2023";
package ed.v1;
import "google/protobuf/wrappers.proto";
enum Open { OPEN_UNSPECIFIED = 0; OPEN_A = 1; OPEN_B = -5; }
enum Closed { option features.enum_type = CLOSED; CLOSED_A = 3; }
message Editions {
  string explicit = 1;
  string implicit = 2 [features.field_presence = IMPLICIT];
  string needed = 3 [features.field_presence = LEGACY_REQUIRED];
  Open open = 4;
  Closed closed = 5;
  Editions delimited = 6 [features.message_encoding = DELIMITED];
  map<string, Open> opens = 7;
  repeated Closed closeds = 8;
  google.protobuf.UInt32Value wrapped = 9;
  oneof pick { int32 a = 10; Open b = 11; Editions c = 12; }
}
message Empty {}
`

// descriptors compiles the example schemas and those of this test.
func descriptors(t testing.TB) map[string]protoreflect.MessageDescriptor {
	t.Helper()
	req := plugintest.Request(t, []string{"../../testdata/proto", "../../../proto"}, "", "acme/desk/v1/desk.proto")
	more := plugintest.RequestFor(t, "../../../proto", "", map[string]string{"ed.proto": edition}, "ed.proto")
	set := new(descriptorpb.FileDescriptorSet)
	seen := make(map[string]bool)
	for _, f := range append(req.GetProtoFile(), more.GetProtoFile()...) {
		if !seen[f.GetName()] {
			seen[f.GetName()] = true
			set.File = append(set.File, f)
		}
	}
	files, err := protodesc.NewFiles(set)
	require.NoError(t, err)
	found := make(map[string]protoreflect.MessageDescriptor)
	for _, name := range []string{
		"ed.v1.Editions", "ed.v1.Empty", "acme.desk.v1.FindRequest", "acme.desk.v1.FindResponse", "acme.desk.v1.Book",
		"acme.kinds.v1.Everything", "google.protobuf.Any", "google.protobuf.Timestamp", "google.protobuf.Duration",
		"google.protobuf.FieldMask", "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue",
		"google.protobuf.Int64Value", "google.protobuf.BytesValue",
	} {
		d, err := files.FindDescriptorByName(protoreflect.FullName(name))
		require.NoError(t, err)
		found[name] = d.(protoreflect.MessageDescriptor)
	}
	return found
}

// validator passes a schema through its JSON, and returns what validates JSON by it.
func validator(t testing.TB, s *jsonschema.Schema) func(instance []byte) error {
	t.Helper()
	b, err := json.Marshal(s)
	require.NoError(t, err)
	read := new(jsonschema.Schema)
	require.NoError(t, json.Unmarshal(b, read))
	resolved, err := read.Resolve(nil)
	require.NoError(t, err)
	return func(instance []byte) error {
		var v any
		if err := json.Unmarshal(instance, &v); err != nil {
			return err
		}
		return resolved.Validate(v)
	}
}

// dialects are the ways in which the schema of one message is written.
func dialects(t testing.TB, m protoreflect.MessageDescriptor) map[string]func([]byte) error {
	t.Helper()
	upper := func(s string) string { return strings.ToUpper(s) }
	components := payload.Components("#/definitions/", upper, []protoreflect.MessageDescriptor{m})
	return map[string]func([]byte) error{
		"2020-12": validator(t, payload.Document(m)),
		"draft 7": validator(t, &jsonschema.Schema{
			Schema: "http://json-schema.org/draft-07/schema#", Definitions: components, AllOf: []*jsonschema.Schema{{Ref: "#/definitions/" + string(m.FullName())}},
		}),
	}
}

func TestWhatTheMappingWritesIsValid(t *testing.T) {
	t.Parallel()
	for name, d := range descriptors(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			valid := dialects(t, d)
			g := maker{t: t, r: rand.New(rand.NewPCG(1, 2))}
			for range 300 {
				m := g.message(d, 3).Interface()
				for _, o := range []protojson.MarshalOptions{{}, {EmitDefaultValues: true}} {
					b, err := o.Marshal(m)
					require.NoError(t, err)
					for dialect, validate := range valid {
						require.NoError(t, validate(b), "%s of %s", dialect, b)
					}
				}
			}
		})
	}
}

// TestWhatIsValidCanBeParsed changes one value at a time in what the mapping writes. Whatever the schema still accepts, a
// parser of the mapping must accept too.
func TestWhatIsValidCanBeParsed(t *testing.T) {
	t.Parallel()
	for name, d := range descriptors(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			valid := dialects(t, d)
			g := maker{t: t, r: rand.New(rand.NewPCG(3, 4)), noAny: true}
			refused := 0
			for range 500 {
				b, err := protojson.Marshal(g.message(d, 2).Interface())
				require.NoError(t, err)
				var v any
				require.NoError(t, json.Unmarshal(b, &v))
				changed, err := json.Marshal(change(g.r, v))
				require.NoError(t, err)
				problem := valid["2020-12"](changed)
				require.Equal(t, problem == nil, valid["draft 7"](changed) == nil, "the dialects differ on %s", changed)
				if problem != nil {
					refused++
					continue
				}
				require.NoError(t, protojson.Unmarshal(changed, dynamicpb.NewMessage(d)), "%s is valid", changed)
			}
			if name != "google.protobuf.Value" {
				require.Positive(t, refused)
			}
		})
	}
}

// change replaces one value somewhere inside v, or adds a property.
func change(r *rand.Rand, v any) any {
	wrong := []any{true, 1.5, -3.0, 1e20, "x", "", "=", "-0", []any{}, map[string]any{}, map[string]any{"x": 1.0}, []any{[]any{}}}
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		if len(keys) == 0 || r.IntN(8) == 0 {
			v[pick(r, "x", "unknown", "")] = pick(r, wrong...)
			return v
		}
		if r.IntN(20) == 0 {
			return pick(r, wrong...)
		}
		k := keys[r.IntN(len(keys))]
		v[k] = change(r, v[k])
		return v
	case []any:
		if len(v) == 0 || r.IntN(4) == 0 {
			return pick(r, wrong...)
		}
		i := r.IntN(len(v))
		v[i] = change(r, v[i])
		return v
	default:
		return pick(r, wrong...)
	}
}

func TestWrongInstances(t *testing.T) {
	t.Parallel()
	all := descriptors(t)
	for _, c := range []struct{ message, wrong, right string }{
		{"acme.kinds.v1.Everything", `{}`, `{"needed": ""}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "anInt64": 1}`, `{"needed": "", "anInt64": "-9223372036854775808"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "anInt64": "1.5"}`, `{"needed": "", "anInt64": "0"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "aUint64": "-1"}`, `{"needed": "", "aUint64": "18446744073709551615"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "anInt32": 2147483648}`, `{"needed": "", "anInt32": 2147483647}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "anInt32": "1"}`, `{"needed": "", "anInt32": 1}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "aFixed32": -1}`, `{"needed": "", "aFixed32": 4294967295}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "aDouble": "infinity"}`, `{"needed": "", "aDouble": "-Infinity"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "someBytes": "a"}`, `{"needed": "", "someBytes": "YQ=="}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "some_bytes": "YQ=="}`, `{"needed": "", "@re|named\"` + "`" + `": "x"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "mood": 1}`, `{"needed": "", "mood": "MOOD_GOOD"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "again": {}}`, `{"needed": "", "again": {"needed": "", "others": [{"needed": ""}]}}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "numbers": [1]}`, `{"needed": "", "numbers": ["1"]}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "byInt32": {"x": ""}}`, `{"needed": "", "byInt32": {"-1": ""}}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "byBool": {"1": "MOOD_BAD"}}`, `{"needed": "", "byBool": {"true": "MOOD_BAD"}}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "text": "", "nothing": null}`, `{"needed": "", "nothing": null, "yes": true}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "yes": true, "no": true}`, `{"needed": "", "anyValue": null, "no": true}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "something": {"a": 1}}`, `{"needed": "", "something": {"@type": "t/x", "a": 1}}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "howLong": "1"}`, `{"needed": "", "howLong": "-1.5s"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "mask": "a,"}`, `{"needed": "", "mask": "a.b,cD"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "object": []}`, `{"needed": "", "object": {"a": [null]}}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "list": {}}`, `{"needed": "", "list": [1, {}]}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "when": "2026-02-30"}`, `{"needed": "", "when": "2026-02-28T23:59:59.5Z"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "int64Value": {"value": "1"}}`, `{"needed": "", "int64Value": "1"}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "inner": {"Word": ""}}`, `{"needed": "", "inner": {"word": ""}}`},
		{"acme.kinds.v1.Everything", `{"needed": "", "extension": 1}`, `{"needed": "", "[acme.kinds.v1.extension]": 1}`},
		{"ed.v1.Editions", `{"explicit": "x"}`, `{"needed": "x"}`},
		{"ed.v1.Editions", `{"needed": "", "open": "OPEN_C"}`, `{"needed": "", "open": "OPEN_B"}`},
		{"ed.v1.Editions", `{"needed": "", "open": 1.5}`, `{"needed": "", "open": 77}`},
		{"ed.v1.Editions", `{"needed": "", "closed": 3}`, `{"needed": "", "closed": "CLOSED_A"}`},
		{"ed.v1.Editions", `{"needed": "", "a": 1, "c": {"needed": ""}}`, `{"needed": "", "a": 1}`},
		{"acme.desk.v1.FindRequest", `{"shelf": "1", "branchName": "x"}`, `{"branchName": "x", "limit": 0}`},
		{"acme.desk.v1.FindRequest", `{"extra": 1}`, `{}`},
		{"ed.v1.Empty", `{"a": 1}`, `{}`},
	} {
		for dialect, validate := range dialects(t, all[c.message]) {
			require.Error(t, validate([]byte(c.wrong)), "%s: %s", dialect, c.wrong)
			require.NoError(t, validate([]byte(c.right)), "%s: %s", dialect, c.right)
		}
	}
}

func TestObject(t *testing.T) {
	t.Parallel()
	all := descriptors(t)
	for _, c := range []struct {
		schema       *jsonschema.Schema
		wrong, right string
	}{
		{payload.Object(all["acme.desk.v1.FindRequest"], true), `{"feeling": 7}`, `{"feeling": "FEELING_CURIOUS"}`},
		{payload.Object(all["acme.desk.v1.FindResponse"], false), `{"advised": "7"}`, `{"advised": 7, "books": [{"sequels": [{}]}]}`},
		{payload.Object(all["google.protobuf.Timestamp"], true), `{}`, `{"value": "2026-01-02T03:04:05Z"}`},
		{payload.Object(all["google.protobuf.Value"], true), `{"other": 1}`, `{"value": null}`},
		{payload.Object(all["google.protobuf.Struct"], true), `[]`, `{"a": 1}`},
		{payload.Frames(all["acme.desk.v1.Book"]), `{"frames": [1]}`, `{"frames": [{"isbn": "x"}, {}]}`},
		{payload.Frames(all["google.protobuf.Duration"]), `{}`, `{"frames": ["1s"]}`},
	} {
		require.Equal(t, "object", c.schema.Type)
		validate := validator(t, c.schema)
		require.Error(t, validate([]byte(c.wrong)), c.wrong)
		require.NoError(t, validate([]byte(c.right)), c.right)
	}
}

// TestLongChains keeps messages that refer to each other one after the other from using up the stack, and oneofs with many
// fields from growing with their square.
func TestLongChains(t *testing.T) {
	t.Parallel()
	const n = 2000
	var b strings.Builder
	b.WriteString(`syntax = "proto3"; package long; message Choice { oneof of {`)
	for i := range n {
		fmt.Fprintf(&b, "int32 f%d = %d;", i, i+1)
	}
	b.WriteString("} }\n")
	for i := range n {
		fmt.Fprintf(&b, "message M%d { M%d next = 1; }\n", i, i+1)
	}
	fmt.Fprintf(&b, "message M%d { Choice last = 1; }\n", n)
	req := plugintest.RequestFor(t, "../../../proto", "", map[string]string{"long.proto": b.String()}, "long.proto")
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: req.GetProtoFile()})
	require.NoError(t, err)
	d, err := files.FindDescriptorByName("long.M0")
	require.NoError(t, err)
	s := payload.Document(d.(protoreflect.MessageDescriptor))
	require.Len(t, s.Defs, n+2)
	text, err := json.Marshal(s)
	require.NoError(t, err)
	require.Less(t, len(text), 1<<20)
}

package plugin_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

// asyncAPI is the part of an AsyncAPI 3.0 document that the test looks at.
type asyncAPI struct {
	AsyncAPI string
	Info     struct{ Title, Version string }
	Channels map[string]struct {
		Address    *string
		Parameters map[string]any
		Messages   map[string]ref
	}
	Operations map[string]struct {
		Action   string
		Channel  ref
		Messages []ref
		Reply    *struct {
			Address  struct{ Location string }
			Channel  ref
			Messages []ref
		}
	}
	Components struct {
		Messages map[string]struct {
			Name, ContentType string
			Headers           struct {
				Properties map[string]struct{ Enum []string }
			}
			Payload ref
		}
	}
}

type ref struct {
	Ref string `json:"$ref"`
}

func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	text := documents(t, request(t, "formats=asyncapi,version=1.2.3"))["asyncapi.json"]
	var doc asyncAPI
	require.NoError(t, json.Unmarshal([]byte(text), &doc))
	require.Equal(t, "3.0.0", doc.AsyncAPI)
	require.Equal(t, "1.2.3", doc.Info.Version)

	var whole any
	require.NoError(t, json.Unmarshal([]byte(text), &whole))
	refs := 0
	eachRef(whole, func(r string) {
		refs++
		assert.NotNil(t, at(whole, r), r)
	})
	require.Greater(t, refs, 100)

	addresses := make(map[string]string)
	for name, c := range doc.Channels {
		if c.Address != nil {
			addresses[name] = *c.Address
			_, err := address.Parse(strings.ReplaceAll(*c.Address, "{id}", "a"))
			require.NoError(t, err)
		}
		for key, m := range c.Messages {
			require.Equal(t, "#/components/messages/"+key, m.Ref)
		}
	}
	require.Equal(t, map[string]string{
		"acme.desk.v1.Desk": "capability:library.desk", "acme.desk.v1.Gate": "capability:acme.desk.v1.Gate", "one-agent": "agent:{id}",
	}, addresses)
	require.Contains(t, doc.Channels["one-agent"].Parameters, "id")
	require.Contains(t, doc.Channels, "back-to-sender")

	require.Len(t, doc.Operations, 2*8)
	for name, o := range doc.Operations {
		require.True(t, strings.HasSuffix(name, "."+o.Action), name)
		require.Contains(t, []string{"send", "receive"}, o.Action)
		require.NotEmpty(t, o.Messages)
		// What an operation takes must be among what its channel has.
		for _, m := range o.Messages {
			require.True(t, strings.HasPrefix(m.Ref, o.Channel.Ref+"/messages/"), m.Ref)
		}
		if o.Reply != nil {
			require.Equal(t, "$message.header#/producer_id", o.Reply.Address.Location)
			require.Equal(t, "#/channels/back-to-sender", o.Reply.Channel.Ref, "with an address at run time, the channel must have none")
			for _, m := range o.Reply.Messages {
				require.True(t, strings.HasPrefix(m.Ref, o.Reply.Channel.Ref+"/messages/"), m.Ref)
			}
		}
	}
	require.NotNil(t, doc.Operations["acme.desk.v1.Desk.FollowLoans.receive"].Reply)
	require.Nil(t, doc.Operations["acme.desk.v1.Desk.Close.send"].Reply)
	require.Equal(t, "#/channels/one-agent", doc.Operations["acme.desk.v1.BookArrived.send"].Channel.Ref)

	for key, want := range map[string]envelope.ContentType{
		"acme.desk.v1.Desk.Find.request":           {Media: "application/protobuf", Message: "acme.desk.v1.FindRequest", Method: "acme.desk.v1.Desk/Find"},
		"acme.desk.v1.Desk.Find.reply.json":        {Media: "application/json", Message: "acme.desk.v1.FindResponse", Method: "acme.desk.v1.Desk/Find", Kind: "reply"},
		"acme.desk.v1.Desk.Watch.frame":            {Media: "application/protobuf", Message: "google.protobuf.Timestamp", Method: "acme.desk.v1.Desk/Watch", Kind: "frame"},
		"acme.desk.v1.BookArrived.request":         {Media: "application/protobuf", Message: "acme.desk.v1.BookArrived"},
		"acme.desk.v1.Desk.Order.request":          {Media: "application/vnd.acme.order+json", Extra: []envelope.Param{{Name: "v", Value: "1"}}},
		"acme.desk.v1.Desk.Order.reply":            {Media: "application/json"},
		"acme.desk.v1.Gate.Open.reply":             {Media: "application/protobuf", Message: "google.protobuf.Timestamp", Method: "acme.desk.v1.Gate/Open", Kind: "reply"},
		"acme.desk.v1.Desk.FollowLoans.frame.json": {Media: "application/json", Message: "acme.desk.v1.Loan", Method: "acme.desk.v1.Desk/FollowLoans", Kind: "frame"},
		"acme.desk.v1.Desk.FollowLoans.request":    {Media: "application/protobuf", Message: "acme.desk.v1.FollowLoansRequest", Method: "acme.desk.v1.Desk/FollowLoans"},
		"acme.desk.v1.Desk.Find.error":             {Media: "application/protobuf", Message: "sw4rm.tool.ToolError", Method: "acme.desk.v1.Desk/Find", Kind: "reply"},
		"acme.desk.v1.Desk.Close.request.json":     {Media: "application/json", Message: "acme.desk.v1.CloseRequest", Method: "acme.desk.v1.Desk/Close"},
		"acme.desk.v1.Desk.Lend.reply":             {Media: "application/protobuf", Message: "acme.desk.v1.Loan", Method: "acme.desk.v1.Desk/Lend", Kind: "reply"},
	} {
		got, err := envelope.ParseContentType(doc.Components.Messages[key].ContentType)
		require.NoError(t, err)
		require.Equal(t, want, got, key)
	}
	messages := doc.Components.Messages
	require.NotContains(t, messages, "acme.desk.v1.Desk.Order.request.json", "a content type that is asked for is the only one")
	for key, messageType := range map[string]string{
		"Find.request": "TOOL_CALL", "Find.reply": "TOOL_RESULT", "Find.error": "TOOL_ERROR", "FollowLoans.frame.json": "TOOL_RESULT",
		"FollowLoans.error.json": "TOOL_ERROR", "Lend.request": "HITL_INVOCATION", "Lend.reply": "DATA", "Close.request": "CONTROL",
	} {
		require.Equal(t, []string{messageType}, messages["acme.desk.v1.Desk."+key].Headers.Properties["message_type"].Enum, key)
	}
	require.NotContains(t, messages, "acme.desk.v1.Desk.Lend.error")
	require.Equal(t, "#/components/schemas/acme.desk.v1.Loan", messages["acme.desk.v1.Desk.Lend.reply"].Payload.Ref)
	require.NotContains(t, text, "<script>", "descriptions are Markdown")
	require.NotContains(t, text, `\u003cscript`, "descriptions are Markdown")
}

// TestOfficialAsyncAPISchema validates against the specification's own schema, where ASYNCAPI_SCHEMA names the file
// (schemas/3.0.0.json of the npm package @asyncapi/specs).
func TestOfficialAsyncAPISchema(t *testing.T) {
	t.Parallel()
	name := os.Getenv("ASYNCAPI_SCHEMA")
	if name == "" {
		t.Skip("ASYNCAPI_SCHEMA is not set")
	}
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	// The library knows draft 7 by its identifier with the empty fragment only.
	b = bytes.ReplaceAll(b, []byte(`"$schema": "http://json-schema.org/draft-07/schema"`), []byte(`"$schema": "http://json-schema.org/draft-07/schema#"`))
	official := new(jsonschema.Schema)
	require.NoError(t, json.Unmarshal(b, official))
	resolved, err := official.Resolve(nil)
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, json.Unmarshal([]byte(documents(t, request(t, "formats=asyncapi,services=all"))["asyncapi.json"]), &doc))
	require.NoError(t, resolved.Validate(doc))
	doc["operations"].(map[string]any)["wrong"] = map[string]any{"action": "handle"}
	require.Error(t, resolved.Validate(doc))
}

// eachRef calls f with each reference inside v.
func eachRef(v any, f func(string)) {
	switch v := v.(type) {
	case map[string]any:
		if r, ok := v["$ref"].(string); ok {
			f(r)
		}
		for _, inner := range v {
			eachRef(inner, f)
		}
	case []any:
		for _, inner := range v {
			eachRef(inner, f)
		}
	}
}

// at returns what a reference inside doc leads to, nil for nothing.
func at(doc any, pointer string) any {
	steps, ok := strings.CutPrefix(pointer, "#/")
	if !ok {
		return nil
	}
	for step := range strings.SplitSeq(steps, "/") {
		m, _ := doc.(map[string]any)
		doc = m[step]
	}
	return doc
}

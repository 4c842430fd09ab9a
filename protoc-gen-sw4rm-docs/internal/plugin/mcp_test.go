package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
)

// strict decodes JSON into v and refuses fields that v does not have.
func strict(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(v))
}

// served puts the tools of a document on a server of the official SDK, which validates what goes in and out, and returns a
// client's session. Each tool answers with what answers has for it.
func served(t *testing.T, text string, answers map[string]string) *mcp.ClientSession {
	t.Helper()
	var doc struct{ Tools []*mcp.Tool }
	strict(t, text, &doc)
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	for _, tool := range doc.Tools {
		mcp.AddTool(server, tool, func(_ context.Context, _ *mcp.CallToolRequest, in map[string]any) (*mcp.CallToolResult, any, error) {
			return nil, json.RawMessage(answers[tool.Name]), nil
		})
	}
	there, here := mcp.NewInMemoryTransports()
	serving, err := server.Connect(t.Context(), there, nil)
	require.NoError(t, err)
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), here, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, session.Close())
		require.NoError(t, serving.Wait())
	})
	return session
}

func TestToolsWithTheOfficialSDK(t *testing.T) {
	t.Parallel()
	docs := documents(t, request(t, "formats=mcp"))
	require.Len(t, docs, 2)
	session := served(t, docs["mcp/acme.desk.v1.Desk.tools.json"], map[string]string{
		"acme.desk.v1.Desk.Find":        `{"books": [{"isbn": "1", "translations": {"de": {}}}], "advised": 12}`,
		"acme.desk.v1.Desk.FollowLoans": `{"frames": [{"reader": "me"}, {"due": "2026-01-02T03:04:05Z"}]}`,
	})
	list, err := session.ListTools(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, list.Tools, 2)
	find, follow := list.Tools[0], list.Tools[1]
	require.Equal(t, "acme.desk.v1.Desk.Find", find.Name)
	require.Equal(t, "Find", find.Title)
	require.Equal(t, "Find looks for books by their text.", find.Description)
	require.Equal(t, &mcp.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true}, find.Annotations)
	require.Equal(t, mcp.Meta{"sw4rm/address": "capability:library.desk", "sw4rm/exchange": "acme.desk.v1.Desk/Find"}, find.Meta)
	require.Equal(t, "Follow Loans", follow.Title)
	require.Equal(t, &mcp.ToolAnnotations{}, follow.Annotations)

	call := func(name, arguments string) *mcp.CallToolResult {
		res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: json.RawMessage(arguments)})
		require.NoError(t, err)
		return res
	}
	res := call(find.Name, `{"text": "whale", "limit": 3, "branchName": "Mitte", "feeling": "FEELING_CURIOUS"}`)
	require.False(t, res.IsError, "%v", res.Content)
	require.Equal(t, "1", res.StructuredContent.(map[string]any)["books"].([]any)[0].(map[string]any)["isbn"])
	require.True(t, call(find.Name, `{"limit": "3"}`).IsError)
	require.True(t, call(find.Name, `{"feeling": 1}`).IsError)
	require.True(t, call(find.Name, `{"shelf": "1", "branchName": "Mitte"}`).IsError)
	res = call(follow.Name, `{"since": "2026-01-02T03:04:05Z"}`)
	require.False(t, res.IsError, "%v", res.Content)
	require.Len(t, res.StructuredContent.(map[string]any)["frames"], 2)

	gate := served(t, docs["mcp/acme.desk.v1.Gate.tools.json"], map[string]string{"acme.desk.v1.Gate.Open": `{"value": "2026-01-02T03:04:05Z"}`})
	res, err = gate.CallTool(t.Context(), &mcp.CallToolParams{Name: "acme.desk.v1.Gate.Open", Arguments: json.RawMessage(`{"value": "2026-01-02T03:04:05Z"}`)})
	require.NoError(t, err)
	require.False(t, res.IsError, "%v", res.Content)
}

// Package tools writes the exchanges that call tools as tool descriptors of the Model Context Protocol.
package tools

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/payload"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// maxName is the longest name of a tool (Model Context Protocol 2025-11-25, server/tools).
const maxName = 128

// Keys of a descriptor's _meta, by which a bridge finds the exchange.
const (
	MetaExchange = "sw4rm/exchange"
	MetaAddress  = "sw4rm/address"
)

// Of returns the descriptors of the agent's tools.
func Of(a *tree.Agent) []*mcp.Tool {
	var tools []*mcp.Tool
	for _, e := range a.Exchanges {
		if e.Tool() {
			tools = append(tools, tool(a, e))
		}
	}
	return tools
}

// Document returns the agent's tools as the result of tools/list, false when it has none.
func Document(a *tree.Agent) ([]byte, bool, error) {
	tools := Of(a)
	if len(tools) == 0 {
		return nil, false, nil
	}
	b, err := json.MarshalIndent(struct {
		Tools []*mcp.Tool `json:"tools"`
	}{tools}, "", "  ")
	return b, true, err
}

// Check reports tools whose names are too long.
func Check(t *tree.Tree) schema.Findings {
	var findings schema.Findings
	for _, a := range t.Agents {
		for _, e := range a.Exchanges {
			if e.Tool() && len(e.Full()) > maxName {
				findings = append(findings, schema.Finding{
					Position: e.Position,
					Message:  fmt.Sprintf("the tool's name %s has %d bytes, but at most %d are allowed", e.Full(), len(e.Full()), maxName),
					Fix:      "shorten the package, the service or the RPC, or leave mcp out of the parameter formats",
				})
			}
		}
	}
	return findings
}

func tool(a *tree.Agent, e *tree.Exchange) *mcp.Tool {
	t := &mcp.Tool{
		Name:        e.Full(),
		Title:       tree.Words(e.Desc.Name()),
		Description: tree.Note(cmp.Or(e.Comment, a.Comment), e.Deprecated), // what a model chooses tools by
		InputSchema: payload.Object(e.Request, true),
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: e.ReadOnly, IdempotentHint: e.Idempotent || e.ReadOnly},
		Meta:        mcp.Meta{MetaExchange: e.Name, MetaAddress: a.Address()},
	}
	switch e.Kind {
	case schema.Call:
		t.OutputSchema = payload.Object(e.Reply, false)
	case schema.Stream:
		t.OutputSchema = payload.Frames(e.Reply)
	}
	return t
}

// Package markdown writes a tree of schemas as one document for people. Whatever a schema contains is shown as text: no
// markup of a comment reaches the document, but for lists and code between backquotes.
package markdown

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// Document returns the document, in GitHub's dialect of Markdown.
func Document(t *tree.Tree) string {
	w := &writer{types: t.Types(), linked: make(map[protoreflect.FullName]bool)}
	for _, m := range w.types.Messages {
		w.linked[m.FullName()] = true
	}
	for _, e := range w.types.Enums {
		w.linked[e.FullName()] = true
	}
	w.line("# Agents and their messages")
	w.line("")
	w.line("Written by protoc-gen-sw4rm-docs. Do not edit.")
	w.contents(t)
	for _, a := range t.Agents {
		w.agent(a)
	}
	if len(t.Standalone) > 0 {
		w.line("")
		w.line("## Messages without a service")
		for _, e := range t.Standalone {
			w.exchange(e)
		}
	}
	if len(w.types.Messages) > 0 {
		w.line("")
		w.line("## Messages")
		for _, m := range w.types.Messages {
			w.message(m)
		}
	}
	if len(w.types.Enums) > 0 {
		w.line("")
		w.line("## Enumerations")
		for _, e := range w.types.Enums {
			w.enum(e)
		}
	}
	return w.out.String()
}

// writer writes the document line by line.
type writer struct {
	out    strings.Builder
	types  tree.Types
	linked map[protoreflect.FullName]bool
}

func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(&w.out, format, args...)
	w.out.WriteByte('\n')
}

// heading starts a section that links can lead to.
func (w *writer) heading(level int, d protoreflect.Descriptor, text string, deprecated bool) {
	w.line("")
	w.line("<a id=%q></a>", anchor(d))
	w.line("")
	w.line("%s %s", strings.Repeat("#", level), code(text))
	if deprecated {
		w.line("")
		w.line("**Deprecated.**")
	}
	if c := tree.Comment(d); c != "" {
		w.line("")
		w.out.WriteString(prose(c))
	}
	w.line("")
}

// anchor names the section of a declaration.
func anchor(d protoreflect.Descriptor) string { return string(d.FullName()) }

// exchangeAnchor names the section of an exchange. A message that is sent by itself has another section for its fields.
func exchangeAnchor(e *tree.Exchange) string {
	if e.Standalone() {
		return "exchange-" + anchor(e.Desc)
	}
	return anchor(e.Desc)
}

func (w *writer) contents(t *tree.Tree) {
	if len(t.Agents)+len(t.Standalone) == 0 {
		w.line("")
		w.line("The schemas have no exchange between agents.")
		return
	}
	w.line("")
	w.line("| service or message | reached at | exchanges |")
	w.line("| --- | --- | --- |")
	for _, a := range t.Agents {
		names := make([]string, len(a.Exchanges))
		for i, e := range a.Exchanges {
			names[i] = link(string(e.Desc.Name()), exchangeAnchor(e))
		}
		w.line("| %s | %s | %s |", link(a.Name, anchor(a.Desc)), code(a.Address()), strings.Join(names, ", "))
	}
	for _, e := range t.Standalone {
		w.line("| %s | an agent or capability of the sender's choice | %s |", link(e.Name, exchangeAnchor(e)), shape(e.Kind))
	}
}

func link(text, anchor string) string { return "[" + code(text) + "](#" + anchor + ")" }

// shape names an exchange's kind for people.
func shape(k schema.Kind) string {
	switch k {
	case schema.Call:
		return "request and reply"
	case schema.Stream:
		return "request and a stream of replies"
	default:
		return "one way"
	}
}

func (w *writer) agent(a *tree.Agent) {
	w.heading(2, a.Desc, a.Name, a.Deprecated)
	w.line("- Reached at %s, or at %s", code(a.Address()), code("agent:ID"))
	w.line("- Schema %s", code(a.Desc.ParentFile().Path()))
	if len(a.Exchanges) == 0 {
		return
	}
	w.line("")
	w.line("| exchange | shape | message type | request | reply |")
	w.line("| --- | --- | --- | --- | --- |")
	for _, e := range a.Exchanges {
		w.line("| %s | %s | %s | %s | %s |", link(string(e.Desc.Name()), exchangeAnchor(e)), shape(e.Kind), code(e.Type.String()),
			w.named(e.Request), w.reply(e))
	}
	for _, e := range a.Exchanges {
		w.exchange(e)
	}
}

func (w *writer) reply(e *tree.Exchange) string {
	if e.Reply == nil {
		return "none"
	}
	return w.named(e.Reply)
}

func (w *writer) exchange(e *tree.Exchange) {
	if e.Standalone() {
		// The comment stands with the message's fields.
		w.line("")
		w.line("<a id=%q></a>", exchangeAnchor(e))
		w.line("")
		w.line("### %s", code(e.Name))
		w.line("")
	} else {
		w.heading(3, e.Desc, string(e.Desc.Name()), e.Deprecated)
	}
	w.line("- Shape: %s", shape(e.Kind))
	w.line("- Name on the wire: %s", code(e.Name))
	w.line("- Request: %s, as %s", w.named(e.Request), codes(e.ContentTypes(tree.Request)))
	if part, ok := e.Answer(); ok {
		w.line("- %s: %s of message type %s, as %s", answers(e.Kind), w.named(e.Reply), code(e.ReplyType().String()), codes(e.ContentTypes(part)))
	}
	if e.Tool() {
		w.line("- Failure: %s of message type %s, as %s, beside the acknowledgement", code(tree.ToolError), code("TOOL_ERROR"), codes(e.FailureTypes()))
	}
	if e.ReadOnly {
		w.line("- Handling a request changes nothing")
	}
	if e.Idempotent {
		w.line("- A repeated request changes nothing more")
	}
	w.line("")
	w.line("| option | value | written as | at |")
	w.line("| --- | --- | --- | --- |")
	for _, p := range e.Policies {
		w.line("| %s | %s | %s | %s |", code(p.Option), plain(p.Value), plain(p.Origin), place(p.Position))
	}
}

// place names a line. Compilers differ in the columns of options.
func place(p schema.Position) string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return code(p.File)
	default:
		return code(fmt.Sprintf("%s:%d", p.File, p.Line))
	}
}

func answers(k schema.Kind) string {
	if k == schema.Stream {
		return "Replies"
	}
	return "Reply"
}

func codes(texts []string) string {
	spans := make([]string, len(texts))
	for i, t := range texts {
		spans[i] = code(t)
	}
	return strings.Join(spans, " or ")
}

package plugin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/asyncapi"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/card"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/markdown"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/payload"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tools"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// file is one document.
type file struct{ name, content string }

// maxName is the longest file name that common file systems take, in bytes.
const maxName = 255

// writer collects documents and what is wrong with them.
type writer struct {
	files    []file
	findings schema.Findings
	// owners are the declarations that a document is of, by the document's name without regard to case.
	owners map[string]schema.Position
}

// write returns the documents of the tree in the formats, sorted by name.
func write(t *tree.Tree, formats []string) ([]file, schema.Findings, error) {
	w := &writer{owners: make(map[string]schema.Position)}
	if slices.ContainsFunc(formats, func(f string) bool { return f != markdownFormat && f != a2aFormat }) {
		w.findings = append(w.findings, payload.Check(t.Types().Messages)...)
	}
	for _, f := range formats {
		if err := w.format(t, f); err != nil {
			return nil, nil, fmt.Errorf("write %s: %w. Fix: report it with the schema", f, err)
		}
	}
	slices.SortFunc(w.files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	slices.SortFunc(w.findings, compare)
	return w.files, w.findings, nil
}

// compare orders findings by their places.
func compare(a, b schema.Finding) int {
	return cmp.Or(
		cmp.Compare(a.Position.File, b.Position.File),
		cmp.Compare(a.Position.Line, b.Position.Line),
		cmp.Compare(a.Position.Column, b.Position.Column),
		cmp.Compare(a.String(), b.String()),
	)
}

func (w *writer) format(t *tree.Tree, format string) error {
	switch format {
	case markdownFormat:
		w.add("agents.md", markdown.Document(t))
	case jsonSchemaFormat:
		for _, m := range t.Payloads {
			b, err := json.MarshalIndent(payload.Document(m), "", "  ")
			if err != nil {
				return fmt.Errorf("%s: %w", m.FullName(), err)
			}
			w.of(tree.Position(m), "jsonschema/", m.FullName(), ".schema.json", b)
		}
	case asyncAPIFormat:
		b, err := asyncapi.Document(t)
		if err != nil {
			return err
		}
		w.add("asyncapi.json", string(b)+"\n")
	case mcpFormat:
		w.findings = append(w.findings, tools.Check(t)...)
		for _, a := range t.Agents {
			b, ok, err := tools.Document(a)
			if err != nil {
				return fmt.Errorf("%s: %w", a.Name, err)
			}
			if ok {
				w.of(a.Position, "mcp/", a.Desc.FullName(), ".tools.json", b)
			}
		}
	case a2aFormat:
		for _, a := range t.Agents {
			b, err := card.Document(a, t.Version)
			if err != nil {
				return fmt.Errorf("%s: %w", a.Name, err)
			}
			w.of(a.Position, "a2a/", a.Desc.FullName(), ".agent-card.json", b)
		}
	}
	return nil
}

func (w *writer) add(name, content string) { w.files = append(w.files, file{name, content}) }

// of adds the document of one declaration, and reports names that a file cannot have.
func (w *writer) of(pos schema.Position, dir string, name protoreflect.FullName, suffix string, b []byte) {
	base := string(name) + suffix
	key := strings.ToLower(dir + base)
	other, taken := w.owners[key]
	switch {
	case len(base) > maxName:
		w.findings = append(w.findings, schema.Finding{
			Position: pos,
			Message:  fmt.Sprintf("the document of %s would have a name of %d bytes, but at most %d fit", name, len(base), maxName),
			Fix:      "shorten the name or its package, or choose other documents with the parameter formats",
		})
	case taken:
		w.findings = append(w.findings, schema.Finding{
			Position: pos,
			Message:  fmt.Sprintf("%s differs from %s (at %v) in case only, so that the document of one would overwrite that of the other on many systems", name, other.Element, other),
			Fix:      "rename one of them",
		})
	default:
		w.owners[key] = pos
		w.add(dir+base, string(b)+"\n")
	}
}

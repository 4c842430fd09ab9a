package markdown_test

import (
	"bytes"
	"html"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	gfm "github.com/yuin/goldmark/extension/ast"
	unsafe "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/markdown"
)

// reader reads GitHub's dialect.
func reader() goldmark.Markdown { return goldmark.New(goldmark.WithExtensions(extension.GFM)) }

// each calls f with each node of a document.
func each(t testing.TB, source string, f func(n ast.Node)) {
	t.Helper()
	require.NoError(t, ast.Walk(reader().Parser().Parse(text.NewReader([]byte(source))), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			f(n)
		}
		return ast.WalkContinue, nil
	}))
}

func TestLinksLeadToSections(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../testdata/golden/agents.md")
	require.NoError(t, err)
	source := string(b)
	anchors := make(map[string]bool)
	var links []string
	each(t, source, func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Link:
			links = append(links, string(n.Destination))
		case *ast.HTMLBlock, *ast.RawHTML:
			raw := source[rawSpan(n)[0]:rawSpan(n)[1]]
			id := regexp.MustCompile(`^<a id="([A-Za-z0-9_.-]+)">(</a>)?\s*$`).FindStringSubmatch(raw)
			if raw == "</a>" {
				return
			}
			require.NotNil(t, id, "HTML that is no anchor: %q", raw)
			require.False(t, anchors[id[1]], "%s is there twice", id[1])
			anchors[id[1]] = true
		case *ast.Image, *ast.CodeBlock, *ast.FencedCodeBlock, *ast.ThematicBreak:
			t.Errorf("%s in the document", n.Kind())
		case *gfm.TableRow:
			require.Equal(t, n.Parent().FirstChild().ChildCount(), n.ChildCount())
		}
	})
	require.Greater(t, len(links), 40)
	for _, l := range links {
		require.True(t, anchors[strings.TrimPrefix(l, "#")], l)
	}
}

func rawSpan(n ast.Node) [2]int {
	switch n := n.(type) {
	case *ast.RawHTML:
		return [2]int{n.Segments.At(0).Start, n.Segments.At(n.Segments.Len() - 1).Stop}
	default:
		return [2]int{n.Lines().At(0).Start, n.Lines().At(n.Lines().Len() - 1).Stop}
	}
}

// shown returns the text that a reader sees of a document, in which HTML would do what it says.
func shown(t testing.TB, source string) string {
	t.Helper()
	var b bytes.Buffer
	md := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(unsafe.WithUnsafe()))
	require.NoError(t, md.Convert([]byte(source), &b))
	return html.UnescapeString(regexp.MustCompile(`</?(p|ul|li|code|a)( [^>]*)?>`).ReplaceAllString(b.String(), ""))
}

func TestProseShowsWhatStandsThere(t *testing.T) {
	t.Parallel()
	for _, c := range []string{
		"Plain text, 3 < 4 & 5 > 4.",
		"<script>alert(1)</script>",
		"<!-- hidden -->",
		"a\n<b>b</b>\n\n# c\n===\n---\n***\n___",
		"[a](javascript:b) ![c](d) [e][f]",
		"[f]: javascript:g",
		"| a | b |\n| --- | --- |\n| c | d |",
		"```go\ncode\n```\n~~~\ncode\n~~~",
		"1. one\n2) two\n+\n-",
		"&lt;b&gt; &#60; \\ \\\\ \\`",
		"**bold** _em_ ~~struck~~ *a*b*",
		"`` two `` ` one",
		"`a`` b `c",
		"> quoted",
		"a  \nb\\\nc",
		"<a\nhref=x>",
		"$x$ :smile: #1 @somebody",
		"=\n:\n+a",
	} {
		lines := strings.Split(c, "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		want := strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
		got := strings.Join(strings.Fields(shown(t, markdown.Prose(c))), " ")
		require.Equal(t, want, got, "of %q came %q", c, markdown.Prose(c))
	}
}

func TestProseKeepsListsAndCode(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Parts:\n- `one` and \\*two\\*\n- three", markdown.Prose("Parts:\n* `one` and *two*\n - three"))
}

// FuzzProse looks for comments of which more comes than paragraphs, lists, code between backquotes, and addresses that
// GitHub's dialect makes links of.
func FuzzProse(f *testing.F) {
	for _, s := range []string{"<b>", "`<b>`", "a\n---", "- a\n  - b", "[a](b)", "\\`a`", "<http://a>", "|a|\n|-|", "www.a.example", "a@b.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, comment string) {
		source := markdown.Prose(comment)
		each(t, source, func(n ast.Node) {
			switch n := n.(type) {
			case *ast.Document, *ast.Paragraph, *ast.TextBlock, *ast.Text, *ast.String, *ast.List, *ast.ListItem, *ast.CodeSpan:
			case *ast.AutoLink:
				if n.AutoLinkType == ast.AutoLinkURL {
					require.Regexp(t, `^((https?|ftp)://|www\.)`, string(n.URL([]byte(source))))
				}
			default:
				t.Errorf("%s comes of %q, which is written as %q", n.Kind(), comment, source)
			}
		})
	})
}

package emit

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dave/jennifer/jen"
)

// lineEnds makes one line end of each that an editor knows. It is read only.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

// comment returns the lines of text as a comment. All text of a schema that becomes a comment goes through here. A line
// of it can neither end the comment, nor be a directive to a tool, nor hide what it says.
func comment(text string) string {
	lines := strings.Split(strings.Trim(lineEnds.Replace(text), "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight("// "+harmless(visible(line)), " \t")
	}
	return strings.Join(lines, "\n")
}

// visible replaces what an editor would not show, or would show elsewhere, by its escape.
func visible(line string) string {
	shown := func(r rune) bool {
		return r == '\t' || r != utf8.RuneError && (unicode.IsPrint(r) || unicode.IsSpace(r) && r > unicode.MaxASCII)
	}
	if !strings.ContainsFunc(line, func(r rune) bool { return !shown(r) }) {
		return line
	}
	var b strings.Builder
	for _, r := range line {
		switch {
		case shown(r):
			b.WriteRune(r)
		case r == utf8.RuneError:
			b.WriteString("\ufffd")
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// harmless returns line without the space that a comment begins with, and with its first word in quotes when a tool could
// take it for its own.
func harmless(line string) string {
	text := strings.TrimPrefix(line, " ")
	if !directed(line) {
		return text
	}
	word, rest, found := strings.Cut(strings.TrimLeft(text, " \t/"), " ")
	if found {
		rest = " " + rest
	}
	return "'" + word + "'" + rest
}

// directed tells whether line, which follows the slashes of a comment, speaks to a tool. Most tools want their word right
// after the slashes, in lower case: with a space before it, or with another case, it is prose. Some look further, and
// staticcheck finds fault with prose that begins with go:.
func directed(line string) bool {
	for _, d := range []string{"lint:", "line ", "export ", "extern ", "cgo "} {
		if strings.HasPrefix(line, d) {
			return true
		}
	}
	if strings.HasPrefix(strings.TrimLeft(line, " \t"), "go:") {
		return true
	}
	start := strings.TrimLeft(line, " \t/")
	for _, d := range []string{"+build", "nolint", "#nosec", "revive:"} {
		if strings.HasPrefix(start, d) {
			return true
		}
	}
	return false
}

// doc returns sentence with a schema's comment below it, and the deprecation as the last paragraph. Empty parts are left
// out; without any the comment is empty.
func doc(sentence, schema string, deprecated string) *jen.Statement {
	var parts []string
	if sentence != "" {
		parts = append(parts, "// "+sentence)
	}
	if strings.TrimSpace(schema) != "" {
		parts = append(parts, comment(schema))
	}
	if deprecated != "" && !hasDeprecation(schema) {
		parts = append(parts, comment("Deprecated: "+deprecated))
	}
	if len(parts) == 0 {
		return jen.Null()
	}
	return jen.Comment(strings.Join(parts, "\n//\n"))
}

// hasDeprecation tells whether the schema's author wrote what is deprecated, and for what.
func hasDeprecation(schema string) bool {
	for line := range strings.Lines(schema) {
		if strings.HasPrefix(strings.TrimSpace(line), "Deprecated: ") {
			return true
		}
	}
	return false
}

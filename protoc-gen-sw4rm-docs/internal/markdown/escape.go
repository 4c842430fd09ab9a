package markdown

import (
	"regexp"
	"strings"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
)

// Text of a schema reaches the document through the functions of this file and through no other way.

// code returns a code span of what is harmless in one, inside and outside of tables; else the text as it is.
func code(s string) string {
	s = oneLine(s)
	if !harmless(s) {
		return plain(s)
	}
	return "`" + s + "`"
}

func harmless(s string) bool {
	return s != "" && !strings.ContainsAny(s, "`|\\<&\n") && strings.TrimSpace(s) == s
}

func oneLine(s string) string { return strings.Join(strings.Fields(tree.Clean(s)), " ") }

// plain returns text so that it is shown as it is, on one line.
func plain(s string) string { return escape(oneLine(s)) }

// numbered is how an item of a numbered list begins.
var numbered = regexp.MustCompile(`^[0-9]{1,9}[.)]`)

// escape keeps the characters of one line from meaning anything.
func escape(s string) string {
	var b strings.Builder
	if n := numbered.FindString(s); n != "" {
		b.WriteString(n[:len(n)-1] + `\` + n[len(n)-1:])
		s = s[len(n):]
	} else if s != "" && strings.ContainsRune("+-=:", rune(s[0])) {
		b.WriteString(`\` + s[:1])
		s = s[1:]
	}
	for _, r := range s {
		switch r {
		case '&':
			b.WriteString("&amp;")
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '\\', '`', '*', '_', '[', ']', '#', '|', '~', '$':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// inline returns a line of a comment. Code between single backquotes stays code.
func inline(s string) string {
	s = oneLine(s)
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "`")
		span, after, closed := strings.Cut(rest, "`")
		if !found || !closed || !harmless(span) || strings.HasPrefix(after, "`") {
			b.WriteString(escape(s))
			return b.String()
		}
		b.WriteString(escape(before))
		b.WriteString("`" + span + "`")
		s = after
	}
}

// Prose returns a comment as paragraphs and lists.
func Prose(comment string) string { return strings.TrimSuffix(prose(comment), "\n") }

// prose is Prose, each line with its end.
func prose(comment string) string {
	var b strings.Builder
	for line := range strings.Lines(comment) {
		text := oneLine(line)
		if item, ok := bullet(text); ok {
			b.WriteString("- ")
			text = item
		}
		b.WriteString(inline(text) + "\n")
	}
	return b.String()
}

// bullet returns the text of an item of a list, which is on one line and not empty.
func bullet(line string) (item string, ok bool) {
	for _, mark := range []string{"- ", "* ", "+ "} {
		if item, ok = strings.CutPrefix(line, mark); ok {
			return item, true
		}
	}
	return "", false
}

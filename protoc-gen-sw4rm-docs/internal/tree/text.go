package tree

import (
	"strings"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Comment returns the comment of a declaration: what stands before it, else what follows it, without the space after each
// comment mark. It is "" where the compiler passed none on, and for protobuf's own types, with which some compilers pass none.
func Comment(d protoreflect.Descriptor) string {
	if d.ParentFile() == nil || d.ParentFile().Package() == "google.protobuf" {
		return ""
	}
	at := d.ParentFile().SourceLocations().ByDescriptor(d)
	text := at.LeadingComments
	if strings.TrimSpace(text) == "" {
		text = at.TrailingComments
	}
	lines := strings.Split(Clean(text), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRightFunc(strings.TrimPrefix(l, " "), unicode.IsSpace)
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// Clean makes text of a schema harmless to show: what cannot be seen, such as control characters and marks that turn the
// direction of writing, becomes a space. Line ends stay.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(strings.ReplaceAll(s, "\r\n", "\n"), "\ufffd"))
}

// Words splits the name of a declaration into words: "FindHTMLPages_v2" is "Find HTML Pages v2".
func Words(name protoreflect.Name) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && isUpper(name, i) && (!isUpper(name, i-1) || i+1 < len(name) && unicode.IsLower(rune(name[i+1]))) {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.Join(strings.FieldsFunc(b.String(), func(r rune) bool { return r == ' ' || r == '_' }), " ")
}

func isUpper(name protoreflect.Name, i int) bool { return unicode.IsUpper(rune(name[i])) }

// Deprecated tells whether a message, field, enum or enum value has the option deprecated.
func Deprecated(d protoreflect.Descriptor) bool {
	o, ok := d.Options().(interface{ GetDeprecated() bool })
	return ok && o.GetDeprecated()
}

// Note is a comment that begins with a word on deprecation.
func Note(comment string, deprecated bool) string {
	switch {
	case !deprecated:
		return comment
	case comment == "":
		return "Deprecated."
	default:
		return "Deprecated. " + comment
	}
}

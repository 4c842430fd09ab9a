package markdown

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
)

// named returns the name of a message or enum, linked where the document has it.
func (w *writer) named(d protoreflect.Descriptor) string {
	if !w.linked[d.FullName()] {
		return code(string(d.FullName()))
	}
	return link(string(d.FullName()), anchor(d))
}

func (w *writer) message(m protoreflect.MessageDescriptor) {
	w.heading(3, m, string(m.FullName()), tree.Deprecated(m))
	if m.Fields().Len() == 0 {
		w.line("It has no fields.")
		return
	}
	w.line("| field | in JSON | number | type | presence | |")
	w.line("| --- | --- | --- | --- | --- | --- |")
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		w.line("| %s | %s | %d | %s | %s | %s |", code(f.TextName()), code(f.JSONName()), f.Number(), w.fieldType(f), presence(f), remarks(f))
	}
	if m.ExtensionRanges().Len() > 0 {
		w.line("")
		w.line("Other schemas may extend it.")
	}
}

func (w *writer) fieldType(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return fmt.Sprintf("map from %s to %s", w.valueType(f.MapKey()), w.valueType(f.MapValue()))
	case f.IsList():
		return "list of " + w.valueType(f)
	default:
		return w.valueType(f)
	}
}

func (w *writer) valueType(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return w.named(f.Message())
	case f.Enum() != nil:
		return w.named(f.Enum())
	default:
		return code(f.Kind().String())
	}
}

// presence tells what the absence of a field means.
func presence(f protoreflect.FieldDescriptor) string {
	o := f.ContainingOneof()
	switch {
	case f.Cardinality() == protoreflect.Required:
		return "required"
	case o != nil && !o.IsSynthetic():
		return "one of " + code(string(o.Name()))
	case f.HasPresence():
		return "optional"
	case f.IsList() || f.IsMap():
		return "may be empty"
	default:
		return "absent is " + code(zero(f))
	}
}

// zero is the value that a field without presence has when it is absent.
func zero(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return "false"
	case protoreflect.StringKind, protoreflect.BytesKind:
		return `""`
	case protoreflect.EnumKind:
		if v := f.Enum().Values().ByNumber(0); v != nil {
			return string(v.Name())
		}
	}
	return "0"
}

// remarks are the comment of a field and what else is to be known.
func remarks(f protoreflect.FieldDescriptor) string {
	var parts []string
	if tree.Deprecated(f) {
		parts = append(parts, "**Deprecated.**")
	}
	if c := tree.Comment(f); c != "" {
		parts = append(parts, inline(c))
	}
	if f.HasDefault() {
		parts = append(parts, "Default: "+code(byDefault(f))+".")
	}
	return strings.Join(parts, " ")
}

// byDefault returns the default that the schema gives a field.
func byDefault(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.EnumKind:
		if v := f.DefaultEnumValue(); v != nil {
			return string(v.Name())
		}
	case protoreflect.StringKind:
		return strconv.Quote(f.Default().String())
	case protoreflect.BytesKind:
		return strconv.Quote(string(f.Default().Bytes()))
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return strings.ToLower(strings.TrimPrefix(f.Default().String(), "+"))
	}
	return f.Default().String()
}

func (w *writer) enum(e protoreflect.EnumDescriptor) {
	w.heading(3, e, string(e.FullName()), tree.Deprecated(e))
	w.line("| value | number | |")
	w.line("| --- | --- | --- |")
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		var parts []string
		if tree.Deprecated(v) {
			parts = append(parts, "**Deprecated.**")
		}
		if c := tree.Comment(v); c != "" {
			parts = append(parts, inline(c))
		}
		w.line("| %s | %d | %s |", code(string(v.Name())), v.Number(), strings.Join(parts, " "))
	}
}

// Package payload writes JSON Schemas of protobuf messages in protobuf's JSON mapping: what such a schema accepts is what
// the mapping writes. A parser of the mapping accepts more, such as numbers for 64-bit integers and the schema's own
// names of fields.
package payload

import (
	"maps"
	"strconv"

	"github.com/google/jsonschema-go/jsonschema"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
)

// Draft202012 is the dialect of documents that stand by themselves.
const Draft202012 = "https://json-schema.org/draft/2020-12/schema"

// Document returns the schema of m as a document of its own.
func Document(m protoreflect.MessageDescriptor) *jsonschema.Schema {
	s := alone(m, &writer{refs: defs})
	s.Schema = Draft202012
	return s
}

// Object returns the schema of m as a document without dialect, and of an object: a message whose JSON is no object, such
// as a Timestamp, is the value of the property "value". Input is to be written by somebody who knows this version of the
// schema, so that enum values have names.
func Object(m protoreflect.MessageDescriptor, input bool) *jsonschema.Schema {
	w := &writer{refs: defs, names: input}
	if s := alone(m, w); s.Type == "object" {
		return s
	}
	return w.wrap("value", w.message(m))
}

// Frames returns the schema of an object with the property "frames", the list of messages m.
func Frames(m protoreflect.MessageDescriptor) *jsonschema.Schema {
	w := &writer{refs: defs}
	return w.wrap("frames", &jsonschema.Schema{Type: "array", Items: w.message(m)})
}

// Components returns schemas of the messages and of all that they contain by their full names, in draft 7, with
// references that begin with refs and comments as text returns them. A message that the mapping writes in a way of its
// own, such as a Timestamp, has one too.
func Components(refs string, text func(string) string, messages []protoreflect.MessageDescriptor) map[string]*jsonschema.Schema {
	w := &writer{refs: refs, draft7: true, text: text}
	roots := make(map[string]*jsonschema.Schema)
	for _, m := range messages {
		if s := w.message(m); s.Ref == "" {
			roots[string(m.FullName())] = s
		}
	}
	maps.Copy(roots, w.finish())
	return roots
}

const defs = "#/$defs/"

// alone returns the schema of m with all that it refers to.
func alone(m protoreflect.MessageDescriptor, w *writer) *jsonschema.Schema {
	s, ok := wellKnown(m)
	if !ok {
		s = w.object(m)
	}
	s.Defs = w.finish()
	if s.Title == "" {
		s.Title = string(m.FullName())
	}
	return s
}

// writer writes the schemas of messages. Messages and enums become definitions that others refer to, each once.
type writer struct {
	// refs begins the references to definitions.
	refs string
	// draft7 keeps to keywords of draft 7, where nothing may stand beside a reference.
	draft7 bool
	// names leaves out the numbers of enum values that have no name.
	names bool
	// text, when there is one, makes descriptions of comments.
	text func(string) string

	defs map[string]*jsonschema.Schema
	// queue are the messages whose definitions are still to be written; there may be too many for recursion.
	queue []protoreflect.MessageDescriptor
}

// finish writes what is referred to and returns all definitions.
func (w *writer) finish() map[string]*jsonschema.Schema {
	for len(w.queue) > 0 {
		m := w.queue[0]
		w.queue = w.queue[1:]
		w.defs[string(m.FullName())] = w.object(m)
	}
	return w.defs
}

func (w *writer) define(name protoreflect.FullName, s *jsonschema.Schema) {
	if w.defs == nil {
		w.defs = make(map[string]*jsonschema.Schema)
	}
	w.defs[string(name)] = s
}

func (w *writer) defined(name protoreflect.FullName) bool {
	_, ok := w.defs[string(name)]
	return ok
}

func (w *writer) ref(name protoreflect.FullName) *jsonschema.Schema {
	return &jsonschema.Schema{Ref: w.refs + string(name)}
}

// wrap returns an object with one property, and with the definitions.
func (w *writer) wrap(property string, s *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type:                 "object",
		Properties:           map[string]*jsonschema.Schema{property: s},
		Required:             []string{property},
		AdditionalProperties: nothing(),
		Defs:                 w.finish(),
	}
}

// nothing accepts no value.
func nothing() *jsonschema.Schema { return &jsonschema.Schema{Not: &jsonschema.Schema{}} }

// message returns a schema, or a reference to one, for a value of type m.
func (w *writer) message(m protoreflect.MessageDescriptor) *jsonschema.Schema {
	if s, ok := wellKnown(m); ok {
		return s
	}
	if !w.defined(m.FullName()) {
		w.define(m.FullName(), nil)
		w.queue = append(w.queue, m)
	}
	return w.ref(m.FullName())
}

func (w *writer) comment(d protoreflect.Descriptor) string { return w.describe(tree.Comment(d)) }

func (w *writer) describe(comment string) string {
	if w.text == nil {
		return comment
	}
	return w.text(comment)
}

// object returns the schema of an ordinary message.
func (w *writer) object(m protoreflect.MessageDescriptor) *jsonschema.Schema {
	s := &jsonschema.Schema{
		Title:                string(m.FullName()),
		Description:          w.comment(m),
		Deprecated:           tree.Deprecated(m),
		Type:                 "object",
		Properties:           make(map[string]*jsonschema.Schema, m.Fields().Len()),
		AdditionalProperties: nothing(),
	}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		name := f.JSONName()
		if _, ok := s.Properties[name]; ok {
			continue // such messages are refused before
		}
		s.Properties[name] = w.described(f, w.field(f))
		s.PropertyOrder = append(s.PropertyOrder, name)
		if f.Cardinality() == protoreflect.Required {
			s.Required = append(s.Required, name)
		}
	}
	for i := range m.Oneofs().Len() {
		w.oneof(s, m.Oneofs().Get(i))
	}
	if m.ExtensionRanges().Len() > 0 {
		s.PatternProperties = map[string]*jsonschema.Schema{`^\[[A-Za-z_][A-Za-z0-9_.]*\]$`: {}}
	}
	return s
}

// oneof lets at most one of the fields be there: each of them brings the rule that exactly one is.
func (w *writer) oneof(s *jsonschema.Schema, o protoreflect.OneofDescriptor) {
	if o.IsSynthetic() || o.Fields().Len() < 2 {
		return
	}
	rule := &jsonschema.Schema{Description: "One of the fields of the oneof " + string(o.Name()) + "."}
	bring := make(map[string]*jsonschema.Schema, o.Fields().Len())
	for i := range o.Fields().Len() {
		name := o.Fields().Get(i).JSONName()
		rule.OneOf = append(rule.OneOf, &jsonschema.Schema{Required: []string{name}})
		bring[name] = w.ref(o.FullName())
	}
	w.define(o.FullName(), rule)
	target := &s.DependentSchemas
	if w.draft7 {
		target = &s.DependencySchemas
	}
	if *target == nil {
		*target = bring
		return
	}
	for name, b := range bring {
		(*target)[name] = b
	}
}

// described adds what the schema says about a field.
func (w *writer) described(f protoreflect.FieldDescriptor, s *jsonschema.Schema) *jsonschema.Schema {
	comment, deprecated := w.comment(f), tree.Deprecated(f)
	if comment == "" && !deprecated {
		return s
	}
	if s.Ref != "" && w.draft7 {
		s = &jsonschema.Schema{AllOf: []*jsonschema.Schema{s}}
	}
	s.Description, s.Deprecated = comment, deprecated
	return s
}

func (w *writer) field(f protoreflect.FieldDescriptor) *jsonschema.Schema {
	switch {
	case f.IsMap():
		return &jsonschema.Schema{Type: "object", PropertyNames: mapKey(f.MapKey()), AdditionalProperties: w.value(f.MapValue())}
	case f.IsList():
		return &jsonschema.Schema{Type: "array", Items: w.value(f)}
	default:
		return w.value(f)
	}
}

// mapKey returns the schema of the property names of a map, nil for any.
func mapKey(f protoreflect.FieldDescriptor) *jsonschema.Schema {
	switch f.Kind() {
	case protoreflect.StringKind:
		return nil
	case protoreflect.BoolKind:
		return &jsonschema.Schema{Enum: []any{"true", "false"}}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return &jsonschema.Schema{Pattern: unsigned}
	default:
		return &jsonschema.Schema{Pattern: signed}
	}
}

// value returns the schema of one value of a field.
func (w *writer) value(f protoreflect.FieldDescriptor) *jsonschema.Schema {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return w.message(f.Message())
	case protoreflect.EnumKind:
		return w.enum(f.Enum())
	default:
		return scalar(f.Kind())
	}
}

// enum returns a schema, or a reference to one, for a value of e.
func (w *writer) enum(e protoreflect.EnumDescriptor) *jsonschema.Schema {
	if e.FullName() == "google.protobuf.NullValue" {
		return &jsonschema.Schema{Type: "null"}
	}
	if w.defined(e.FullName()) {
		return w.ref(e.FullName())
	}
	names := &jsonschema.Schema{Type: "string", Enum: make([]any, e.Values().Len())}
	for i := range names.Enum {
		names.Enum[i] = string(e.Values().Get(i).Name())
	}
	s := names
	if !e.IsClosed() && !w.names {
		// A value that this version of the schema does not name is written as its number.
		s = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{names, scalar(protoreflect.Int32Kind)}}
	}
	s.Title, s.Description, s.Deprecated = string(e.FullName()), w.describe(enumComment(e)), tree.Deprecated(e)
	w.define(e.FullName(), s)
	return w.ref(e.FullName())
}

// enumComment returns the comments of the enum and of its values: JSON Schema has no place for those of a value.
func enumComment(e protoreflect.EnumDescriptor) string {
	text := tree.Comment(e)
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		if c := tree.Comment(v); c != "" {
			if text != "" {
				text += "\n"
			}
			text += string(v.Name()) + " = " + strconv.Itoa(int(v.Number())) + ": " + c
		}
	}
	return text
}

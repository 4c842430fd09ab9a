package schema

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// keys resolves the paths of an idempotency option in the request of the named RPC.
func (c *checker) keys(v idempotency, rpc string, request *protogen.Message) []Key {
	keys := make([]Key, 0, len(v.paths))
	for i, p := range v.paths {
		if fields := c.key(v.at[i], p, rpc, request); fields != nil {
			keys = append(keys, Key{Path: fields})
		}
	}
	slices.SortStableFunc(keys, func(a, b Key) int {
		return slices.CompareFunc(a.Path, b.Path, func(f, g *protogen.Field) int {
			return cmp.Compare(f.Desc.Number(), g.Desc.Number())
		})
	})
	return keys
}

// key resolves one path, nil after reporting what is wrong with it.
func (c *checker) key(pos Position, p, rpc string, request *protogen.Message) []*protogen.Field {
	names := strings.Split(p, ".")
	m := request
	var fields []*protogen.Field
	for i, name := range names {
		f := fieldOf(m, name)
		if f == nil {
			c.report(pos, didYouMean(name, fieldNames(m), oneOf(m)),
				"idempotency field %q is not a field of %s%s", name, m.Desc.FullName(), within(p, name, rpc, m == request))
			return nil
		}
		fields = append(fields, f)
		last := i == len(names)-1
		single := f.Message != nil && !f.Desc.IsList() && !f.Desc.IsMap()
		switch {
		case !last && !single:
			c.report(pos, "name fields inside single messages only", "idempotency field %q of %s leads through %s, which is %s", p, rpc, f.Desc.FullName(), shape(f))
			return nil
		case last && !canBeKey(f):
			c.report(pos, keyFix(f, single), "idempotency field %q of %s is %s", p, rpc, shape(f))
			return nil
		}
		m = f.Message
	}
	return fields
}

func within(p, name, rpc string, top bool) string {
	if top && p == name {
		return ", the request of " + rpc
	}
	return " (in " + quote(p) + " of " + rpc + ")"
}

func keyFix(f *protogen.Field, single bool) string {
	if single && len(f.Message.Fields) > 0 {
		return "name a field inside it, such as " + quote(string(f.Desc.Name())+"."+string(f.Message.Fields[0].Desc.Name())) + ", or write whole_payload: true"
	}
	return "name a single string, bytes, bool, integer or enum field, or write whole_payload: true"
}

func fieldOf(m *protogen.Message, name string) *protogen.Field {
	d := m.Desc.Fields().ByName(protoreflect.Name(name))
	if d == nil {
		return nil
	}
	return m.Fields[d.Index()]
}

// oneOf names the fields of a message as a remedy.
func oneOf(m *protogen.Message) string {
	const few = 10
	switch n := len(m.Fields); {
	case n == 0:
		return "give " + string(m.Desc.FullName()) + " a field"
	case n > few:
		return "name a field of " + string(m.Desc.FullName())
	default:
		return "use one of " + strings.Join(fieldNames(m), ", ")
	}
}

func fieldNames(m *protogen.Message) []string {
	names := make([]string, len(m.Fields))
	for i, f := range m.Fields {
		names[i] = string(f.Desc.Name())
	}
	return names
}

func canBeKey(f *protogen.Field) bool {
	if f.Desc.IsList() || f.Desc.IsMap() {
		return false
	}
	switch f.Desc.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind, protoreflect.FloatKind, protoreflect.DoubleKind:
		return false
	default:
		return true
	}
}

// shape names a field's type for people.
func shape(f *protogen.Field) string {
	switch {
	case f.Desc.IsMap():
		return "a map"
	case f.Desc.IsList():
		return "repeated"
	case f.Message != nil:
		return "a message"
	case f.Enum != nil:
		return "an enum"
	default:
		return "of type " + f.Desc.Kind().String()
	}
}

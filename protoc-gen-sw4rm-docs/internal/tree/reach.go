package tree

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// Types are the messages and enums that payloads are made of, sorted by name. Map entries are not among them.
type Types struct {
	Messages []protoreflect.MessageDescriptor
	Enums    []protoreflect.EnumDescriptor
}

// Types returns the payloads with all that their fields refer to, but for those that protobuf itself defines.
func (t *Tree) Types() Types {
	var types Types
	seen := make(map[protoreflect.FullName]bool)
	add := func(m protoreflect.MessageDescriptor) {
		if m != nil && !seen[m.FullName()] && m.FullName().Parent() != "google.protobuf" {
			seen[m.FullName()] = true
			types.Messages = append(types.Messages, m)
		}
	}
	for _, m := range t.Payloads {
		add(m)
	}
	for i := 0; i < len(types.Messages); i++ {
		fields := types.Messages[i].Fields()
		for j := range fields.Len() {
			f := fields.Get(j)
			if f.IsMap() {
				f = f.MapValue()
			}
			add(f.Message())
			if e := f.Enum(); e != nil && !seen[e.FullName()] && e.FullName().Parent() != "google.protobuf" {
				seen[e.FullName()] = true
				types.Enums = append(types.Enums, e)
			}
		}
	}
	slices.SortFunc(types.Messages, func(a, b protoreflect.MessageDescriptor) int { return cmp.Compare(a.FullName(), b.FullName()) })
	slices.SortFunc(types.Enums, func(a, b protoreflect.EnumDescriptor) int { return cmp.Compare(a.FullName(), b.FullName()) })
	return types
}

// nameField is the number of the name in the descriptors of all declarations.
const nameField = 1

// Position returns the place of a declaration's name, else that of the declaration.
func Position(d protoreflect.Descriptor) schema.Position {
	p := schema.Position{File: d.ParentFile().Path(), Element: string(d.FullName())}
	places := d.ParentFile().SourceLocations()
	at := places.ByDescriptor(d)
	if at.Path == nil {
		return p
	}
	if name := places.ByPath(append(slices.Clone(at.Path), nameField)); name.Path != nil {
		at = name
	}
	p.Line, p.Column = at.StartLine+1, at.StartColumn+1
	return p
}

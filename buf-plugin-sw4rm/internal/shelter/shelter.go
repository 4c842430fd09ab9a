// Package shelter keeps what stands under our option number from being decoded before it is known to be ours: another
// plugin's extension may have the same number, and a request that holds it could not be decoded at all. While a request
// is decoded, such options have a number that no extension can have.
package shelter

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	// number is that of our options.
	number protowire.Number = 8355
	// shelter is in the range that protobuf reserves for itself, so that no schema can use it.
	shelter protowire.Number = 19355
)

// Decode decodes b into m and shelters the options in it.
func Decode(b []byte, m proto.Message) error {
	if err := (proto.UnmarshalOptions{Resolver: withoutOurs{}}).Unmarshal(b, m); err != nil {
		return err
	}
	renumber(m.ProtoReflect(), number, shelter)
	return nil
}

// Restore returns f with the options that Decode has sheltered, f itself when there are none.
func Restore(f *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	c := proto.CloneOf(f)
	if !renumber(c.ProtoReflect(), shelter, number) {
		return f
	}
	return c
}

// renumber gives unknown fields of options another number, and reports whether there are any.
func renumber(m protoreflect.Message, from, to protowire.Number) bool {
	changed := false
	if carries(m.Descriptor().FullName()) {
		if b := rewrite(m.GetUnknown(), from, to); b != nil {
			m.SetUnknown(b)
			changed = true
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap() || f.IsExtension() || f.Message().FullName() == "google.protobuf.SourceCodeInfo":
		case f.IsList():
			for i := range v.List().Len() {
				changed = renumber(v.List().Get(i).Message(), from, to) || changed
			}
		default:
			changed = renumber(v.Message(), from, to) || changed
		}
		return true
	})
	return changed
}

// carries tells whether our options extend a message.
func carries(name protoreflect.FullName) bool {
	switch name {
	case "google.protobuf.FileOptions", "google.protobuf.ServiceOptions", "google.protobuf.MethodOptions",
		"google.protobuf.MessageOptions", "google.protobuf.FieldOptions":
		return true
	default:
		return false
	}
}

// rewrite returns b with another number for some fields, nil when there are none.
func rewrite(b []byte, from, to protowire.Number) []byte {
	var out []byte
	found := false
	for len(b) > 0 {
		n, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(n, kind, b[tag:])
		if size < 0 {
			return nil
		}
		field := b[:tag+size]
		if n == from {
			found = true
			field = protowire.AppendTag(nil, to, kind)
			if kind == protowire.StartGroupType {
				content, _ := protowire.ConsumeGroup(n, b[tag:])
				field = protowire.AppendGroup(field, to, content)
			} else {
				field = append(field, b[tag:tag+size]...)
			}
		}
		out = append(out, field...)
		b = b[tag+size:]
	}
	if !found {
		return nil
	}
	return slices.Clip(out)
}

// withoutOurs resolves all extensions but those with our number.
type withoutOurs struct{}

func (withoutOurs) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return protoregistry.GlobalTypes.FindExtensionByName(name)
}

func (withoutOurs) FindExtensionByNumber(message protoreflect.FullName, field protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	if field == number && carries(message) {
		return nil, protoregistry.NotFound
	}
	return protoregistry.GlobalTypes.FindExtensionByNumber(message, field)
}

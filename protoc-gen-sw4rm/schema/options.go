package schema

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// carrier is a kind of declaration that can have one of our options.
type carrier struct {
	// field is the number of the options in the declaration's descriptor.
	field     int32
	extendee  string
	extension string
	typeName  string
}

func onFile() carrier {
	return carrier{8, ".google.protobuf.FileOptions", "sw4rm.options.v1.file", ".sw4rm.options.v1.FileOptions"}
}

func onService() carrier {
	return carrier{3, ".google.protobuf.ServiceOptions", "sw4rm.options.v1.agent", ".sw4rm.options.v1.AgentOptions"}
}

func onMethod() carrier {
	return carrier{4, ".google.protobuf.MethodOptions", "sw4rm.options.v1.exchange", ".sw4rm.options.v1.ExchangeOptions"}
}

func onMessage() carrier {
	return carrier{7, ".google.protobuf.MessageOptions", "sw4rm.options.v1.payload", ".sw4rm.options.v1.PayloadOptions"}
}

func onField() carrier {
	return carrier{8, ".google.protobuf.FieldOptions", "sw4rm.options.v1.field", ".sw4rm.options.v1.FieldOptions"}
}

// option decodes the option of the declaration at p into m, and reports whether there is one that can be used. What is
// wrong with its encoding becomes findings.
func (c *checker) option(s *source, p path, element string, on carrier, m proto.Message) bool {
	raw, ok := s.raw[p.key()]
	if !ok {
		return false
	}
	at := p.child(on.field, optionNumber)
	pos := s.at(at, len(p), element)
	if foreign, ok := c.foreign(s, on); ok {
		c.report(pos, fmt.Sprintf("give %s another number, or import sw4rm/options/v1/options.proto instead (protoc-gen-sw4rm proto DIR writes it)", foreign.name),
			"option %d of %s is %s from %s, but the number belongs to (%s)", optionNumber, element, foreign.name, foreign.file, on.extension)
		return false
	}
	if raw.malformed || proto.Unmarshal(raw.payload, m) != nil {
		c.report(pos, "import sw4rm/options/v1/options.proto as it is (protoc-gen-sw4rm proto DIR writes it), and give other extensions another number",
			"option %d of %s cannot be read as %s", optionNumber, element, strings.TrimPrefix(on.typeName, "."))
		return false
	}
	return c.known(s, at, len(p), element, m.ProtoReflect())
}

// foreign returns the extension that has our number in what the file sees, when it is not ours.
func (c *checker) foreign(s *source, on carrier) (declaration, bool) {
	var other declaration
	for _, d := range c.in.declared[on.extendee] {
		if !c.in.reaches(s, d.file) {
			continue
		}
		if d.name == on.extension && d.typeName == on.typeName {
			return declaration{}, false
		}
		other = d
	}
	return other, other.name != ""
}

// optionsFile is where the extensions are expected.
const optionsFile = "sw4rm/options/v1/options.proto"

// misplaced reports options of a file that come from a copy of ours under another path: generated code of the copy and
// that of the original cannot be in one program.
func (c *checker) misplaced(s *source) {
	if len(s.raw) == 0 {
		return
	}
	for _, on := range []carrier{onFile(), onService(), onMethod(), onMessage(), onField()} {
		for _, d := range c.in.declared[on.extendee] {
			if d.name != on.extension || d.typeName != on.typeName || d.file == optionsFile || !c.in.reaches(s, d.file) {
				continue
			}
			c.report(s.importOf(d.file), "import "+optionsFile+", below a folder that the compiler searches (protoc-gen-sw4rm proto DIR writes it)",
				"the options come from %s, but are expected in %s", d.file, optionsFile)
			return
		}
	}
}

// known reports fields and enum values that the linked options lack, and returns false when there are fields: their
// meaning would be lost.
func (c *checker) known(s *source, at path, least int, element string, m protoreflect.Message) bool {
	ok := true
	for b := []byte(m.GetUnknown()); len(b) > 0; {
		number, _, n := protowire.ConsumeField(b)
		if n < 0 {
			break
		}
		ok = false
		c.report(s.at(at.child(int32(number)), least, element),
			"use a newer protoc-gen-sw4rm, or an older sw4rm/options/v1/options.proto",
			"field %d of %s is unknown to this version of protoc-gen-sw4rm", number, m.Descriptor().FullName())
		b = b[n:]
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() != nil && !f.IsList() && !f.IsMap() {
			ok = c.known(s, at.child(int32(f.Number())), least, element, v.Message()) && ok
		}
		if f.Enum() != nil && !f.IsList() && f.Enum().Values().ByNumber(v.Enum()) == nil {
			c.report(s.at(at.child(int32(f.Number())), least, element),
				"use a newer protoc-gen-sw4rm, or one of "+strings.Join(valueNames(f.Enum()), ", "),
				"%s %d has no name in this version of protoc-gen-sw4rm", f.Name(), v.Enum())
		}
		return true
	})
	return ok
}

// valueNames returns the names of e's values but the unspecified one.
func valueNames(e protoreflect.EnumDescriptor) []string {
	var names []string
	for i := range e.Values().Len() {
		if v := e.Values().Get(i); v.Number() != 0 {
			names = append(names, string(v.Name()))
		}
	}
	return names
}

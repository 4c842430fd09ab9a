package schema

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// optionNumber is the number of every extension of sw4rm.options.v1.
const optionNumber = 8355

// Input is a compiler's request with our options set apart.
type Input struct {
	// Request is the request without our options, for protogen.Options.New.
	Request *pluginpb.CodeGeneratorRequest

	files map[string]*source
	// declared are the extensions with our number, by extendee.
	declared map[string][]declaration
}

// source is what is known of one file besides its descriptor.
type source struct {
	// desc has options of source retention where the compiler passed them on.
	desc *descriptorpb.FileDescriptorProto
	// raw has the encoded options by the path of the element that carries them.
	raw map[string]rawOption
	// places are where things stand by path, apart for each kind of thing at the top of a file; nil before the first
	// look-up of that kind. Most are in messages, and hardly ever looked up.
	places map[int32]map[string]place
	// reached are the file and all that it imports; nil before the first look-up.
	reached map[string]bool
}

// rawOption is an option with our number, not yet decoded.
type rawOption struct {
	payload []byte
	// malformed tells that it is not a message.
	malformed bool
}

// declaration is an extension with our number.
type declaration struct{ name, typeName, file string }

// ReadInput decodes a CodeGeneratorRequest.
func ReadInput(b []byte) (*Input, error) {
	req := new(pluginpb.CodeGeneratorRequest)
	if err := (proto.UnmarshalOptions{Resolver: withoutOurs{}}).Unmarshal(b, req); err != nil {
		return nil, fmt.Errorf("decode CodeGeneratorRequest: %w", err)
	}
	in := &Input{Request: req, files: make(map[string]*source), declared: make(map[string][]declaration)}
	for _, f := range req.GetProtoFile() {
		in.add(f)
	}
	// The files to generate, here with the options that proto_file lacks because of their retention.
	for _, f := range req.GetSourceFileDescriptors() {
		in.add(f)
	}
	seen := make(map[string]bool)
	for _, f := range req.GetProtoFile() {
		if !seen[f.GetName()] {
			seen[f.GetName()] = true
			in.declarations(f)
		}
	}
	return in, nil
}

// withoutOurs resolves the extensions that protogen needs, and leaves those with our number undecoded: what stands there
// may be somebody else's.
type withoutOurs struct{}

func (withoutOurs) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return protoregistry.GlobalTypes.FindExtensionByName(name)
}

func (withoutOurs) FindExtensionByNumber(message protoreflect.FullName, field protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	if field == optionNumber {
		return nil, protoregistry.NotFound
	}
	return protoregistry.GlobalTypes.FindExtensionByNumber(message, field)
}

func (in *Input) add(f *descriptorpb.FileDescriptorProto) {
	s := &source{desc: f, raw: make(map[string]rawOption)}
	in.files[f.GetName()] = s
	s.take(f.GetOptions(), nil)
	for i, m := range f.GetMessageType() {
		s.message(m, path{4, int32(i)})
	}
	for i, x := range f.GetExtension() {
		s.take(x.GetOptions(), path{7, int32(i)})
	}
	for i, svc := range f.GetService() {
		at := path{6, int32(i)}
		s.take(svc.GetOptions(), at)
		for j, m := range svc.GetMethod() {
			s.take(m.GetOptions(), at.child(2, int32(j)))
		}
	}
}

func (s *source) message(m *descriptorpb.DescriptorProto, at path) {
	s.take(m.GetOptions(), at)
	for i, f := range m.GetField() {
		s.take(f.GetOptions(), at.child(2, int32(i)))
	}
	for i, x := range m.GetExtension() {
		s.take(x.GetOptions(), at.child(6, int32(i)))
	}
	for i, n := range m.GetNestedType() {
		s.message(n, at.child(3, int32(i)))
	}
}

// take moves the option with our number out of options. Pieces of one option follow each other in the encoding and
// are put together, as the format asks.
func (s *source) take(options proto.Message, at path) {
	m := options.ProtoReflect()
	if !m.IsValid() || len(m.GetUnknown()) == 0 {
		return
	}
	var rest protoreflect.RawFields
	var raw rawOption
	found := false
	for b := []byte(m.GetUnknown()); len(b) > 0; {
		number, kind, n := protowire.ConsumeField(b)
		if n < 0 {
			return // cannot be: the fields were split by the decoder
		}
		if number != optionNumber {
			rest = append(rest, b[:n]...)
			b = b[n:]
			continue
		}
		found = true
		if kind == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(b)
			v, _ := protowire.ConsumeBytes(b[tag:])
			raw.payload = append(raw.payload, v...)
		} else {
			raw.malformed = true
		}
		b = b[n:]
	}
	if found {
		m.SetUnknown(rest)
		s.raw[at.key()] = raw
	}
}

func (in *Input) declarations(f *descriptorpb.FileDescriptorProto) {
	collect := func(xs []*descriptorpb.FieldDescriptorProto, scope string) {
		for _, x := range xs {
			if x.GetNumber() == optionNumber {
				in.declared[x.GetExtendee()] = append(in.declared[x.GetExtendee()],
					declaration{name: scope + x.GetName(), typeName: x.GetTypeName(), file: f.GetName()})
			}
		}
	}
	scope := ""
	if f.GetPackage() != "" {
		scope = f.GetPackage() + "."
	}
	collect(f.GetExtension(), scope)
	var walk func(ms []*descriptorpb.DescriptorProto, scope string)
	walk = func(ms []*descriptorpb.DescriptorProto, scope string) {
		for _, m := range ms {
			inner := scope + m.GetName() + "."
			collect(m.GetExtension(), inner)
			walk(m.GetNestedType(), inner)
		}
	}
	walk(f.GetMessageType(), scope)
}

// reaches tells whether s or what it imports, directly or not, is the named file.
func (in *Input) reaches(s *source, file string) bool {
	if s.reached == nil {
		s.reached = map[string]bool{s.desc.GetName(): true}
		for queue := []*source{s}; len(queue) > 0; queue = queue[1:] {
			for _, deps := range [][]string{queue[0].desc.GetDependency(), queue[0].desc.GetOptionDependency()} {
				for _, d := range deps {
					if next := in.files[d]; next != nil && !s.reached[d] {
						s.reached[d] = true
						queue = append(queue, next)
					}
				}
			}
		}
	}
	return s.reached[file]
}

// importOf returns the place where s imports the named file, the file's own when another import does.
func (s *source) importOf(file string) Position {
	if i := slices.Index(s.desc.GetDependency(), file); i >= 0 {
		return s.at(path{3, int32(i)}, 2, "")
	}
	if i := slices.Index(s.desc.GetOptionDependency(), file); i >= 0 {
		return s.at(path{15, int32(i)}, 2, "")
	}
	return Position{File: s.desc.GetName()}
}

// path is a place in a descriptor, as SourceCodeInfo writes it.
type path []int32

// child returns p with more steps; p is not changed.
func (p path) child(steps ...int32) path {
	return append(p[:len(p):len(p)], steps...)
}

func (p path) key() string {
	b := make([]byte, 0, 2*len(p))
	for _, n := range p {
		b = protowire.AppendVarint(b, uint64(uint32(n)))
	}
	return string(b)
}

// at returns the place of the deepest part of p, down to length least, that the compiler recorded. Element names the
// declaration in case there is none.
func (s *source) at(p path, least int, element string) Position {
	pos := Position{File: s.desc.GetName(), Element: element}
	if len(p) == 0 {
		return pos
	}
	places := s.located(p[0])
	for n := len(p); n >= least && n > 0; n-- {
		if at, ok := places[p[:n].key()]; ok {
			pos.Line, pos.Column = at.line, at.column
			break
		}
	}
	return pos
}

// place counts lines and columns from 1.
type place struct{ line, column int }

// located collects the places below a field of the file's descriptor. Of an option, some compilers record the innermost
// fields only; the fields around them then begin where the first of these does.
func (s *source) located(top int32) map[string]place {
	if places, ok := s.places[top]; ok {
		return places
	}
	places, around := make(map[string]place), make(map[string]place)
	for _, l := range s.desc.GetSourceCodeInfo().GetLocation() {
		span, p := l.GetSpan(), path(l.GetPath())
		if len(span) < 2 || len(p) == 0 || p[0] != top {
			continue
		}
		at := place{int(span[0]) + 1, int(span[1]) + 1}
		if key := p.key(); !has(places, key) {
			places[key] = at
		}
		option := slices.Index(p, optionNumber)
		for n := len(p) - 1; option >= 0 && n > option+1; n-- {
			key := p[:n].key()
			if first, ok := around[key]; !ok || at.line < first.line || at.line == first.line && at.column < first.column {
				around[key] = at
			}
		}
	}
	for key, at := range around {
		if !has(places, key) {
			places[key] = at
		}
	}
	if s.places == nil {
		s.places = make(map[int32]map[string]place)
	}
	s.places[top] = places
	return places
}

func has(places map[string]place, key string) bool {
	_, ok := places[key]
	return ok
}

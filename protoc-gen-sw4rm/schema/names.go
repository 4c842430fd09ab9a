package schema

import (
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/gofeaturespb"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
)

// methodNames reports RPCs of one service with the same Go name.
func (c *checker) methodNames(service *Service) {
	first := make(map[string]*Exchange, len(service.Exchanges))
	for _, e := range service.Exchanges {
		if other, ok := first[e.Proto.GoName]; ok {
			c.report(e.Position, "rename one of them", "RPC %s has the Go name %s, as has RPC %s at %v",
				e.Proto.Desc.FullName(), e.Proto.GoName, other.Proto.Desc.FullName(), other.Position)
			continue
		}
		first[e.Proto.GoName] = e
	}
}

// wireTypes reports exchanges of one service that a handler could not tell apart: those with the same content type and
// message type.
func (c *checker) wireTypes(service *Service) {
	type wire struct {
		contentType string
		kind        optionspb.ExchangeOptions_Type
	}
	first := make(map[wire]*Exchange)
	for _, e := range service.Exchanges {
		if e.Settings.ContentType == "" {
			continue
		}
		w := wire{e.Settings.ContentType, e.Settings.Type}
		if w.kind == optionspb.ExchangeOptions_TYPE_UNSPECIFIED {
			w.kind = optionspb.ExchangeOptions_DATA
		}
		other, ok := first[w]
		if !ok {
			first[w] = e
			continue
		}
		at, _ := e.Settings.Origin("content_type")
		before, _ := other.Settings.Origin("content_type")
		c.report(at.Position, "give one of them another content_type or type",
			"content_type %q of %s names %s already (at %v), and both have type %v", w.contentType, e.Proto.Desc.FullName(), other.Proto.Desc.FullName(), before.Position, w.kind)
	}
}

// owner is what has a Go name.
type owner struct {
	what string
	// pos is looked up only for a finding.
	pos func() Position
	// generated tells that the name is one of ours.
	generated bool
}

func at(pos Position) func() Position { return func() Position { return pos } }

// goNames reports names of generated declarations that something else in the Go package has.
func (c *checker) goNames(files []*protogen.File, model *Model) {
	taken := make(map[protogen.GoImportPath]map[string]owner)
	for _, f := range model.Files {
		taken[f.Package.Path] = make(map[string]owner)
	}
	for _, f := range files {
		if names := taken[f.GoImportPath]; names != nil {
			c.declaredIn(f, names)
		}
	}
	for _, f := range model.Files {
		names := taken[f.Package.Path]
		for _, s := range f.Services {
			c.serviceNames(s, names)
		}
		for _, p := range f.Payloads {
			c.claim(names, p.Go.All(), owner{what: "message " + p.Name, pos: at(p.Position), generated: true})
		}
	}
}

func (c *checker) serviceNames(s *Service, names map[string]owner) {
	// A service is entered as itself too, under what is not a Go name, so that a clash of services is one finding.
	self := "service " + s.Proto.GoName
	if other, ok := names[self]; ok {
		c.report(s.Position, "rename one of them", "service %s has the Go name %s, as has %s at %v", s.Name, s.Proto.GoName, other.what, other.pos())
		return
	}
	mine := owner{what: "service " + s.Name, pos: at(s.Position), generated: true}
	names[self] = mine
	c.claim(names, s.Go.All(), mine)
}

// claim enters the names of what is generated for mine.
func (c *checker) claim(names map[string]owner, claimed []string, mine owner) {
	for _, name := range claimed {
		if other, ok := names[name]; ok {
			fix := "rename one of them"
			if !other.generated {
				fix += ", or set the parameter package_suffix, which puts generated code into a package of its own"
			}
			c.report(mine.pos(), fix,
				"%s generates the Go name %s, which %s at %v has already", mine.what, name, other.what, other.pos())
			continue
		}
		names[name] = mine
	}
}

// declaredIn enters the names of what protoc-gen-go declares for f.
func (c *checker) declaredIn(f *protogen.File, names map[string]owner) {
	s := c.in.files[f.Desc.Path()]
	enter := func(name, kind string, d protoreflect.Descriptor, at protogen.Location) {
		if _, ok := names[name]; !ok {
			element := string(d.FullName())
			names[name] = owner{what: kind + " " + element, pos: func() Position {
				return s.at(path(at.Path).child(1), len(at.Path), element)
			}}
		}
	}
	enums := func(es []*protogen.Enum) {
		for _, e := range es {
			for _, suffix := range []string{"", "_name", "_value"} {
				enter(e.GoIdent.GoName+suffix, "enum", e.Desc, e.Location)
			}
			for _, v := range e.Values {
				enter(v.GoIdent.GoName, "enum value", v.Desc, v.Location)
			}
		}
	}
	extensions := func(xs []*protogen.Extension) {
		for _, x := range xs {
			enter("E_"+x.GoIdent.GoName, "extension", x.Desc, x.Location)
		}
	}
	var messages func(ms []*protogen.Message)
	messages = func(ms []*protogen.Message) {
		for _, m := range ms {
			if m.Desc.IsMapEntry() {
				continue
			}
			enter(m.GoIdent.GoName, "message", m.Desc, m.Location)
			if m.APILevel != gofeaturespb.GoFeatures_API_OPEN {
				enter(m.GoIdent.GoName+"_builder", "message", m.Desc, m.Location)
			}
			for _, f := range m.Fields {
				if f.Oneof != nil && !f.Oneof.Desc.IsSynthetic() {
					enter(f.GoIdent.GoName, "oneof field", f.Desc, f.Location)
				}
				if f.Desc.HasDefault() {
					enter("Default_"+m.GoIdent.GoName+"_"+f.GoName, "field", f.Desc, f.Location)
				}
			}
			enums(m.Enums)
			extensions(m.Extensions)
			messages(m.Messages)
		}
	}
	enter(f.GoDescriptorIdent.GoName, "file", f.Desc, protogen.Location{})
	enums(f.Enums)
	extensions(f.Extensions)
	messages(f.Messages)
}

package rules

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"buf.build/go/bufplugin/descriptor"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/buf-plugin-sw4rm/internal/shelter"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// snapshot is one state of a schema: the exchanges that can be read, and what is wrong with the rest.
type snapshot struct {
	files map[string]*file
	// ordered are the files with imports before those that import them.
	ordered   []*file
	exchanges []*exchange
	services  []*service
	// declared are all services by their full names, also those that are no exchanges.
	declared map[string]declaration
	// byName has the exchanges by their names on the wire.
	byName map[string]*exchange
	// findings are what protoc-gen-sw4rm would report. Files with findings contribute no exchanges.
	findings schema.Findings
	// warnings are what it would warn of.
	warnings schema.Findings
}

// declaration is where a service is.
type declaration struct {
	file  *file
	index int
}

// load reads files, of which those that are only imported serve the others.
func load(descriptors []descriptor.FileDescriptor, opts schema.Options) (*snapshot, error) {
	s := &snapshot{
		files:    make(map[string]*file, len(descriptors)),
		declared: make(map[string]declaration),
		byName:   make(map[string]*exchange),
	}
	if len(descriptors) == 0 {
		return s, nil
	}
	var own []string
	for _, d := range descriptors {
		f := newFile(shelter.Restore(d.FileDescriptorProto()))
		s.files[f.path()] = f
		for i, svc := range f.desc.GetService() {
			s.declared[fullName(f.desc.GetPackage(), svc.GetName())] = declaration{f, i}
		}
		if !d.IsImport() {
			own = append(own, f.path())
		}
	}
	slices.Sort(own)
	s.ordered = s.inOrder()
	in, gen, err := s.request(own)
	if err != nil {
		return nil, err
	}
	model, findings := schema.Check(in, gen, opts)
	if len(findings) == 0 {
		s.take(model)
		return s, nil
	}
	// Check returns no model beside findings, so that the files are read one by one to keep the good ones.
	s.findings = findings
	for _, f := range sortedFiles(gen) {
		if !slices.Contains(own, f.Desc.Path()) || s.faulty(f.Desc.Path()) {
			continue
		}
		for _, other := range gen.Files {
			other.Generate = other == f
		}
		if model, findings := schema.Check(in, gen, opts); len(findings) == 0 {
			s.take(model)
		}
	}
	return s, nil
}

// sortedFiles returns the files by their paths.
func sortedFiles(gen *protogen.Plugin) []*protogen.File {
	return slices.SortedFunc(slices.Values(gen.Files), func(a, b *protogen.File) int {
		return strings.Compare(a.Desc.Path(), b.Desc.Path())
	})
}

// faulty tells whether something was found in a file.
func (s *snapshot) faulty(path string) bool {
	return slices.ContainsFunc(s.findings, func(f schema.Finding) bool { return f.Position.File == path })
}

// request passes the files to package schema the way a compiler does: as bytes, so that what stands under our number is
// judged there, and imports first.
func (s *snapshot) request(own []string) (*schema.Input, *protogen.Plugin, error) {
	// Files are named after their schemas, whatever their Go packages are.
	req := &pluginpb.CodeGeneratorRequest{FileToGenerate: own, Parameter: proto.String("paths=source_relative")}
	for _, f := range s.ordered {
		req.ProtoFile = append(req.ProtoFile, withGoPackage(f.desc, false))
	}
	in, gen, err := open(req)
	if err == nil {
		return in, gen, nil
	}
	// What is wrong with a go_package can be mended on the way to the generator, by parameters or buf's managed mode.
	for i, f := range req.GetProtoFile() {
		req.ProtoFile[i] = withGoPackage(f, true)
	}
	return open(req)
}

func open(req *pluginpb.CodeGeneratorRequest) (*schema.Input, *protogen.Plugin, error) {
	b, err := proto.Marshal(req)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the schemas: %w", err)
	}
	in, err := schema.ReadInput(b)
	if err != nil {
		return nil, nil, err
	}
	gen, err := protogen.Options{}.New(in.Request)
	if err != nil {
		return nil, nil, fmt.Errorf("read the schemas: %w", err)
	}
	return in, gen, nil
}

// inOrder returns the files with imports before those that import them.
func (s *snapshot) inOrder() []*file {
	paths := make([]string, 0, len(s.files))
	for p := range s.files {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	seen := make(map[string]bool, len(paths))
	ordered := make([]*file, 0, len(paths))
	var visit func(string)
	visit = func(p string) {
		f := s.files[p]
		if f == nil || seen[p] {
			return
		}
		seen[p] = true
		for _, imports := range [][]string{f.desc.GetDependency(), f.desc.GetOptionDependency()} {
			for _, d := range imports {
				visit(d)
			}
		}
		ordered = append(ordered, f)
	}
	for _, p := range paths {
		visit(p)
	}
	return ordered
}

// withGoPackage returns f, or a copy with a Go package when f has none or always is set. Files of one folder then are
// one package, as in buf's managed mode.
func withGoPackage(f *descriptorpb.FileDescriptorProto, always bool) *descriptorpb.FileDescriptorProto {
	if f.GetOptions().GetGoPackage() != "" && !always {
		return f
	}
	c := proto.CloneOf(f)
	if c.Options == nil {
		c.Options = new(descriptorpb.FileOptions)
	}
	c.Options.GoPackage = proto.String(path.Join("schema.invalid", path.Dir(f.GetName())) + ";schema")
	return c
}

// take adds the exchanges of a model.
func (s *snapshot) take(m *schema.Model) {
	s.warnings = append(s.warnings, m.Warnings...)
	for _, mf := range m.Files {
		f := s.files[mf.Proto.Desc.Path()]
		if f == nil {
			continue
		}
		for _, ms := range mf.Services {
			svc := newService(f, ms)
			s.services = append(s.services, svc)
			for _, me := range ms.Exchanges {
				s.add(newExchange(svc, me))
			}
		}
		for _, mp := range mf.Payloads {
			s.add(newPayload(f, mp))
		}
	}
}

func (s *snapshot) add(e *exchange) {
	s.exchanges = append(s.exchanges, e)
	s.byName[e.name] = e
}

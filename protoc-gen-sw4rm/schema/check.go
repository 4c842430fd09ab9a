package schema

import (
	"fmt"
	"go/token"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/descriptorpb"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
)

// Options choose what is read.
type Options struct {
	// AllServices reads every service. Otherwise those that have our option, or an RPC that does.
	AllServices bool
	// Only is the side of the exchanges that is generated.
	Only Side
	// PackageSuffix, when it is set, puts generated code into a package below that of the messages, which has the
	// messages' package name with this suffix.
	PackageSuffix string
}

// Check reads the files to generate. gen was made from in.Request. Either the model or the findings are empty.
func Check(in *Input, gen *protogen.Plugin, opts Options) (*Model, Findings) {
	model := new(Model)
	files := slices.Clone(gen.Files)
	slices.SortFunc(files, func(a, b *protogen.File) int { return strings.Compare(a.Desc.Path(), b.Desc.Path()) })
	packages := make(map[protogen.GoImportPath]protogen.GoPackageName, len(files))
	for _, f := range files {
		packages[f.GoImportPath] = f.GoPackageName
	}
	c := &checker{in: in, opts: opts, packages: packages}
	for _, f := range files {
		if !f.Generate {
			continue
		}
		if file := c.file(f); len(file.Services)+len(file.Payloads) > 0 {
			file.Package = c.packageOf(f)
			model.Files = append(model.Files, file)
		}
	}
	c.goNames(files, model)
	c.fileNames(model)
	if len(c.findings) > 0 {
		return nil, c.findings.sorted()
	}
	model.Warnings = c.warnings.sorted()
	return model, nil
}

// checker collects findings while it reads.
type checker struct {
	in       *Input
	opts     Options
	packages map[protogen.GoImportPath]protogen.GoPackageName

	findings, warnings Findings
}

func (c *checker) report(pos Position, fix, format string, args ...any) {
	c.findings = append(c.findings, Finding{Position: pos, Message: fmt.Sprintf(format, args...), Fix: fix})
}

func (c *checker) warn(pos Position, fix, format string, args ...any) {
	c.warnings = append(c.warnings, Finding{Position: pos, Message: fmt.Sprintf(format, args...), Fix: fix})
}

func quote(s string) string { return strconv.Quote(s) }

func (c *checker) file(f *protogen.File) *File {
	s := c.in.files[f.Desc.Path()]
	c.misplaced(s)
	var o optionspb.FileOptions
	var defaults layer
	if c.option(s, nil, f.Desc.Path(), onFile(), &o) {
		r := layerReader{c: c, s: s, at: path{8, optionNumber, 1}, least: 1, element: f.Desc.Path(), from: "the default of the file"}
		defaults = r.read(o.GetDefaults())
	}
	file := &File{Proto: f, PackageNames: c.packages}
	for i, m := range f.Messages {
		c.message(s, file, m, path{4, int32(i)}, defaults)
	}
	for i, x := range f.Extensions {
		c.option(s, path{7, int32(i)}, string(x.Desc.FullName()), onField(), new(optionspb.FieldOptions))
	}
	for i, svc := range f.Services {
		if service := c.service(s, f, svc, path{6, int32(i)}, defaults); service != nil {
			file.Services = append(file.Services, service)
		}
	}
	if len(file.Services)+len(file.Payloads) > 0 && (!token.IsIdentifier(string(f.GoPackageName)) || f.GoPackageName == "_") {
		c.report(s.at(path{8, 11}, 1, f.Desc.Path()), "write go_package = \"IMPORT/PATH;NAME\" with a Go identifier for NAME",
			"Go package name %q of %s is not an identifier", f.GoPackageName, f.Desc.Path())
	}
	return file
}

// message looks for our options in a message and its fields, and adds messages that are sent by themselves to file.
func (c *checker) message(s *source, file *File, m *protogen.Message, at path, defaults layer) {
	name := string(m.Desc.FullName())
	var o optionspb.PayloadOptions
	if c.option(s, at, name, onMessage(), &o) {
		own := layerReader{c: c, s: s, at: at.child(7, optionNumber, 1), least: len(at), element: name}.read(o.GetExchange())
		if p := c.payload(s, file.Proto, m, at, own.over(defaults)); p != nil {
			file.Payloads = append(file.Payloads, p)
		}
	}
	for i, f := range m.Fields {
		c.option(s, at.child(2, int32(i)), string(f.Desc.FullName()), onField(), new(optionspb.FieldOptions))
	}
	for i, x := range m.Extensions {
		c.option(s, at.child(6, int32(i)), string(x.Desc.FullName()), onField(), new(optionspb.FieldOptions))
	}
	for i, n := range m.Messages {
		c.message(s, file, n, at.child(3, int32(i)), defaults)
	}
}

// service returns nil when the service is not to be generated.
func (c *checker) service(s *source, f *protogen.File, svc *protogen.Service, at path, defaults layer) *Service {
	name := string(svc.Desc.FullName())
	var o optionspb.AgentOptions
	annotated := c.option(s, at, name, onService(), &o)
	own := layerReader{c: c, s: s, at: at.child(3, optionNumber, 2), least: len(at), element: name, from: "the default of " + name}.read(o.GetDefaults())
	defaults = own.over(defaults)

	layers := make([]layer, len(svc.Methods))
	marked, skipped := annotated, 0
	for i, m := range svc.Methods {
		method := at.child(2, int32(i))
		var e optionspb.ExchangeOptions
		if !c.option(s, method, string(m.Desc.FullName()), onMethod(), &e) {
			continue
		}
		marked = true
		layers[i] = layerReader{c: c, s: s, at: method.child(4, optionNumber), least: len(method), element: string(m.Desc.FullName())}.read(&e)
		if layers[i].skip {
			skipped++
		}
	}
	if !marked && !c.opts.AllServices || !annotated && skipped > 0 && skipped == len(svc.Methods) {
		return nil
	}

	options, _ := svc.Desc.Options().(*descriptorpb.ServiceOptions)
	service := &Service{
		Proto:      svc,
		Name:       name,
		Go:         namesOf(svc.GoName, c.opts.Only),
		Capability: o.GetCapability(),
		Deprecated: options.GetDeprecated() || deprecated(f),
		Position:   s.at(at.child(1), len(at), name),
	}
	c.capability(s, service, at)
	for i, m := range svc.Methods {
		if layers[i].skip {
			continue
		}
		if e := c.exchange(s, m, at.child(2, int32(i)), layers[i].over(defaults)); e != nil {
			service.Exchanges = append(service.Exchanges, e)
		}
	}
	c.methodNames(service)
	c.wireTypes(service)
	return service
}

// deprecated tells whether a file is.
func deprecated(f *protogen.File) bool {
	o, _ := f.Desc.Options().(*descriptorpb.FileOptions)
	return o.GetDeprecated()
}

// Package plugin answers a compiler's request for code, as protoc-gen-sw4rm does on its standard streams.
package plugin

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/internal/emit"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// Run reads one encoded CodeGeneratorRequest from in and writes the encoded response to out. Mistakes in schemas and
// parameters are part of the response. The error is for a request that cannot be read, or streams that fail; nothing is
// written to out then. Warnings go to log. checked, unless it is nil, is called between the check of the schemas and the
// writing of code, when the descriptors, a third of the memory, have been given up.
func Run(in io.Reader, out, log io.Writer, checked func()) error {
	return generator{emit: emit.File, log: log, checked: checked}.run(in, out)
}

// generator answers requests.
type generator struct {
	// emit writes the code for a file.
	emit    func(*schema.File) ([]byte, error)
	log     io.Writer
	checked func()
}

func (g generator) run(in io.Reader, out io.Writer) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	request, err := schema.ReadInput(b)
	if err != nil {
		return fmt.Errorf("%w. Fix: run this program through buf or protoc", err)
	}
	resp, err := g.respond(request)
	if err != nil {
		resp = failure(err)
	}
	b, err = proto.Marshal(resp)
	if err != nil {
		return fmt.Errorf("encode the response: %w", err)
	}
	if _, err = out.Write(b); err != nil {
		return fmt.Errorf("write the response: %w", err)
	}
	return nil
}

func (g generator) respond(in *schema.Input) (resp *pluginpb.CodeGeneratorResponse, err error) {
	s, err := parse(in.Request.GetParameter())
	if err != nil {
		return nil, err
	}
	defer g.recovered(s, "", &err)
	gen, err := protogen.Options{}.New(in.Request)
	if err != nil {
		return nil, err
	}
	model, findings := schema.Check(in, gen, s.schema)
	if len(findings) > 0 {
		return nil, findings
	}
	for _, w := range model.Warnings {
		_, _ = fmt.Fprintf(g.log, "protoc-gen-sw4rm: warning: %v\n", w)
	}
	gen.SupportedFeatures = features
	gen.SupportedEditionsMinimum, gen.SupportedEditionsMaximum = minimumEdition, maximumEdition
	release(in, gen)
	if g.checked != nil {
		g.checked()
	}
	contents, err := g.render(s, model.Files)
	if err != nil {
		return nil, err
	}
	for i, f := range model.Files {
		if err := place(gen, f, contents[i], s.annotate); err != nil {
			return nil, err
		}
	}
	resp = gen.Response()
	if resp.Error != nil {
		return nil, errors.New(resp.GetError())
	}
	if !s.annotate {
		for i, f := range resp.GetFile() {
			f.Content = proto.String(contents[i])
		}
	}
	if err := checkNames(resp.GetFile()); err != nil {
		return nil, err
	}
	return resp, nil
}

// release gives up what only the check needs.
func release(in *schema.Input, gen *protogen.Plugin) {
	*in = schema.Input{}
	gen.Request.ProtoFile, gen.Request.SourceFileDescriptors = nil, nil
	for _, f := range gen.Files {
		f.Proto = nil
	}
}

// recovered turns a panic into an error. The stack is for those who mend this program.
func (g generator) recovered(s settings, where string, err *error) {
	if p := recover(); p != nil {
		if s.debug {
			_, _ = fmt.Fprintf(g.log, "protoc-gen-sw4rm: %v\n%s", p, debug.Stack())
		}
		*err = fmt.Errorf("protoc-gen-sw4rm: internal error%s: %v. Fix: report it with the schema, and with what debug=true prints", where, p)
	}
}

// contents names a file with its services and payloads.
func contents(f *schema.File) string {
	var names []string
	for _, s := range f.Services {
		names = append(names, s.Name)
	}
	for _, p := range f.Payloads {
		names = append(names, p.Name)
	}
	return f.Proto.Desc.Path() + " (" + strings.Join(names, ", ") + ")"
}

// annotate says which declarations come from which services and RPCs; protogen writes it out on request.
func annotate(g *protogen.GeneratedFile, f *schema.File) {
	for _, s := range f.Services {
		service := protogen.Annotation{Location: s.Proto.Location}
		for _, name := range s.Go.All() {
			g.AnnotateSymbol(name, service)
		}
		for _, e := range s.Exchanges {
			for _, name := range []string{s.Go.Caller, s.Go.Sender, s.Go.Handler, s.Go.Unimplemented} {
				if name != "" {
					g.AnnotateSymbol(name+"."+e.Proto.GoName, protogen.Annotation{Location: e.Proto.Location})
				}
			}
		}
	}
	for _, p := range f.Payloads {
		for _, name := range p.Go.All() {
			g.AnnotateSymbol(name, protogen.Annotation{Location: p.Proto.Location})
		}
	}
}

// What the compiler may pass.
const (
	features       = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL | pluginpb.CodeGeneratorResponse_FEATURE_SUPPORTS_EDITIONS)
	minimumEdition = descriptorpb.Edition_EDITION_PROTO2
	maximumEdition = descriptorpb.Edition_EDITION_2024
)

func failure(err error) *pluginpb.CodeGeneratorResponse {
	// The protobuf library writes one space or the other into its errors, so that nobody relies on them.
	text := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "\ufffd"), "\u00a0", " ")
	return &pluginpb.CodeGeneratorResponse{
		Error:             proto.String(text),
		SupportedFeatures: proto.Uint64(features),
		MinimumEdition:    proto.Int32(int32(minimumEdition)),
		MaximumEdition:    proto.Int32(int32(maximumEdition)),
	}
}

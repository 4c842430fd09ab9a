// Package plugin answers a compiler's request for code, as protoc-gen-sw4rm does on its standard streams.
package plugin

import (
	"errors"
	"fmt"
	"io"
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
// written to out then. Warnings go to log.
func Run(in io.Reader, out, log io.Writer) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	resp, err := respond(b, log)
	if err != nil {
		return err
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

func respond(request []byte, log io.Writer) (resp *pluginpb.CodeGeneratorResponse, err error) {
	in, err := schema.ReadInput(request)
	if err != nil {
		return nil, fmt.Errorf("%w. Fix: run this program through buf or protoc", err)
	}
	defer func() {
		if p := recover(); p != nil {
			resp, err = failure(fmt.Errorf("protoc-gen-sw4rm: internal error: %v. Fix: report it with the schema", p)), nil
		}
	}()
	resp, err = generate(in, log)
	if err != nil {
		return failure(err), nil
	}
	return resp, nil
}

func generate(in *schema.Input, log io.Writer) (*pluginpb.CodeGeneratorResponse, error) {
	opts, err := parse(in.Request.GetParameter())
	if err != nil {
		return nil, err
	}
	gen, err := protogen.Options{}.New(in.Request)
	if err != nil {
		return nil, err
	}
	model, findings := schema.Check(in, gen, opts)
	if len(findings) > 0 {
		return nil, findings
	}
	for _, w := range model.Warnings {
		_, _ = fmt.Fprintf(log, "protoc-gen-sw4rm: warning: %v\n", w)
	}
	gen.SupportedFeatures = features
	gen.SupportedEditionsMinimum, gen.SupportedEditionsMaximum = minimumEdition, maximumEdition
	for _, f := range model.Files {
		if err := write(gen, f); err != nil {
			return nil, err
		}
	}
	resp := gen.Response()
	if resp.Error != nil {
		return nil, errors.New(resp.GetError())
	}
	if err := checkNames(resp.GetFile()); err != nil {
		return nil, err
	}
	return resp, nil
}

// write adds the code for f to the response.
func write(gen *protogen.Plugin, f *schema.File) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: internal error: %v. Fix: report it with the schema", f.Proto.Desc.Path(), p)
		}
	}()
	content, err := emit.File(f)
	if err != nil {
		return err
	}
	g := gen.NewGeneratedFile(f.Package.FilePrefix+suffix, f.Package.Path)
	annotate(g, f)
	_, err = g.Write(content)
	return err
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
	return &pluginpb.CodeGeneratorResponse{
		Error:             proto.String(strings.ToValidUTF8(err.Error(), "\ufffd")),
		SupportedFeatures: proto.Uint64(features),
		MinimumEdition:    proto.Int32(int32(minimumEdition)),
		MaximumEdition:    proto.Int32(int32(maximumEdition)),
	}
}

// Package plugin answers a compiler's request for documents, as protoc-gen-sw4rm-docs does on its standard streams.
package plugin

import (
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// Run reads one encoded CodeGeneratorRequest from in and writes the encoded response to out. Mistakes in schemas and
// parameters are part of the response. The error is for a request that cannot be read, or streams that fail; nothing is
// written to out then.
func Run(in io.Reader, out io.Writer) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	resp, err := respond(b)
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

func respond(request []byte) (resp *pluginpb.CodeGeneratorResponse, err error) {
	in, err := schema.ReadInput(request)
	if err != nil {
		return nil, fmt.Errorf("%w. Fix: run this program through buf or protoc", err)
	}
	defer func() {
		if p := recover(); p != nil {
			resp, err = response(nil, fmt.Errorf("protoc-gen-sw4rm-docs: internal error: %v. Fix: report it with the schema", p)), nil
		}
	}()
	return response(generate(in)), nil
}

func response(files []file, err error) *pluginpb.CodeGeneratorResponse {
	resp := &pluginpb.CodeGeneratorResponse{
		SupportedFeatures: proto.Uint64(uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL | pluginpb.CodeGeneratorResponse_FEATURE_SUPPORTS_EDITIONS)),
		MinimumEdition:    proto.Int32(int32(descriptorpb.Edition_EDITION_PROTO2)),
		MaximumEdition:    proto.Int32(int32(descriptorpb.Edition_EDITION_2024)),
	}
	if err != nil {
		resp.Error = proto.String(strings.ToValidUTF8(err.Error(), "\ufffd"))
		return resp
	}
	for _, f := range files {
		resp.File = append(resp.File, &pluginpb.CodeGeneratorResponse_File{Name: proto.String(f.name), Content: proto.String(f.content)})
	}
	return resp
}

func generate(in *schema.Input) ([]file, error) {
	p, err := parse(in.Request.GetParameter())
	if err != nil {
		return nil, err
	}
	in.Request.Parameter = nil
	withoutGo(in.Request)
	gen, err := protogen.Options{}.New(in.Request)
	if err != nil {
		return nil, err
	}
	model, findings := schema.Check(in, gen, schema.Options{AllServices: p.services == allServices, PackageSuffix: ownPackage})
	if len(findings) > 0 {
		return nil, findings
	}
	t := tree.Of(model, p.version)
	files, findings, err := write(t, p.formats)
	if err != nil {
		return nil, err
	}
	if len(findings) > 0 {
		return nil, findings
	}
	return files, nil
}

// ownPackage puts the code that is never written into a package of its own, where its names clash with no message's.
const ownPackage = "docs"

// withoutGo gives each file without a go_package one of its own: protogen asks for it, documents do not need it.
func withoutGo(req *pluginpb.CodeGeneratorRequest) {
	for i, f := range req.GetProtoFile() {
		if f.GetOptions().GetGoPackage() != "" {
			continue
		}
		if f.Options == nil {
			f.Options = new(descriptorpb.FileOptions)
		}
		f.Options.GoPackage = proto.String(path.Join("schema.invalid", strconv.Itoa(i)) + ";schema")
	}
}

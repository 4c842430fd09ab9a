// Package catalog reads the exchanges of agents from schemas while a program runs: from .proto files, folders of them, and
// sets of descriptors.
package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// Source says where schemas are.
type Source struct {
	// Paths are folders with .proto files, such files, or sets of descriptors as "buf build -o" writes them.
	Paths []string
	// Imports are folders below which imported files are found, besides the folders of Paths.
	Imports []string
	// AllServices reads services without an option of this module too, as the generator does with services=all.
	AllServices bool
}

// Exchange is an exchange of an agent.
type Exchange struct {
	*exchange.Descriptor
	// Capability is the address of agents that handle the service; empty for a message that is sent by itself.
	Capability string
}

// Service returns the full name of the exchange's service, empty for a message that is sent by itself.
func (e Exchange) Service() string {
	if e.Standalone() {
		return ""
	}
	return e.Descriptor.Service()
}

// Shape returns words for the exchange's kind.
func (e Exchange) Shape() string {
	switch e.Kind() {
	case exchange.KindCall:
		return "call"
	case exchange.KindStream:
		return "stream"
	default:
		return "one-way"
	}
}

// Error says why schemas cannot be used.
type Error struct {
	// Path is the schema as the user named it, empty when all of them are meant.
	Path    string
	Problem string
	Fix     string
	Err     error
}

// Error implements error.
func (e *Error) Error() string {
	text := "schema"
	if e.Path != "" {
		text += " " + e.Path
	}
	text += " " + e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text + ". Fix: " + e.Fix
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Load reads the exchanges of all schemas, sorted by name. Errors are *Error.
func Load(ctx context.Context, src Source) ([]Exchange, error) {
	set, err := src.read(ctx)
	if err != nil {
		return nil, err
	}
	var found []Exchange
	model, err := check(set, src.AllServices)
	if err != nil {
		return nil, err
	}
	for _, f := range model.Files {
		for _, s := range f.Services {
			for _, e := range s.Exchanges {
				found = append(found, Exchange{exchangeOf(e), capabilityOf(s)})
			}
		}
		for _, p := range f.Payloads {
			request := dynamicpb.NewMessageType(p.Proto.Desc)
			found = append(found, Exchange{Descriptor: exchange.NewDynamic(p.Name, exchange.KindOneWay, request, nil, options(p.Settings)...)})
		}
	}
	if len(found) == 0 {
		return nil, &Error{
			Problem: "has no exchange between agents",
			Fix:     "give a service the option (sw4rm.options.v1.agent), or read every service with --all-services",
		}
	}
	slices.SortFunc(found, func(a, b Exchange) int { return strings.Compare(a.Name(), b.Name()) })
	return found, nil
}

func capabilityOf(s *schema.Service) string {
	if s.Capability != "" {
		return s.Capability
	}
	return s.Name
}

func exchangeOf(e *schema.Exchange) *exchange.Descriptor {
	request := dynamicpb.NewMessageType(e.Request.Desc)
	opts := options(e.Settings)
	switch e.Kind {
	case schema.Call:
		return exchange.NewDynamic(e.Name, exchange.KindCall, request, dynamicpb.NewMessageType(e.Reply.Desc), opts...)
	case schema.Stream:
		return exchange.NewDynamic(e.Name, exchange.KindStream, request, dynamicpb.NewMessageType(e.Reply.Desc), opts...)
	default:
		return exchange.NewDynamic(e.Name, exchange.KindOneWay, request, nil, opts...)
	}
}

// descriptors are files in an order in which each follows what it imports.
type descriptors struct {
	files []*descriptorpb.FileDescriptorProto
	// own are the paths of those that the user asked for.
	own []string
}

// check reads the files as the generator does. What concerns generated code only is left out of it: each file gets a Go
// package of its own, whatever it says, and the code's names one more.
func check(set descriptors, all bool) (*schema.Model, error) {
	req := &pluginpb.CodeGeneratorRequest{FileToGenerate: set.own}
	own := make(map[string]bool, len(set.own))
	for _, path := range set.own {
		own[path] = true
	}
	for i, f := range set.files {
		f = proto.CloneOf(f)
		if f.Options == nil {
			f.Options = &descriptorpb.FileOptions{}
		}
		f.Options.GoPackage = proto.String(fmt.Sprintf("example.com/schema/f%d;f%d", i, i))
		req.ProtoFile = append(req.ProtoFile, f)
		if own[f.GetName()] {
			req.SourceFileDescriptors = append(req.SourceFileDescriptors, f)
		}
	}
	b, err := proto.Marshal(req)
	if err != nil {
		return nil, unusable(err)
	}
	in, err := schema.ReadInput(b)
	if err != nil {
		return nil, unusable(err)
	}
	gen, err := protogen.Options{}.New(in.Request)
	if err != nil {
		return nil, unusable(err)
	}
	model, findings := schema.Check(in, gen, schema.Options{AllServices: all, Only: schema.Handle, PackageSuffix: "sw4rm"})
	if len(findings) > 0 {
		return nil, &Error{Problem: "has mistakes", Fix: "mend what the generator would refuse too", Err: findings}
	}
	return model, nil
}

func unusable(err error) error {
	return &Error{Problem: "cannot be used", Fix: "compile it with buf build, which says more", Err: err}
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

// corpus is a tree of schemas. Equal sizes and seeds give equal text.
type corpus struct {
	files, services, rpcs int // files, services a file, RPCs a service
	seed                  uint64
}

func (c corpus) String() string { return fmt.Sprintf(format, c.files, c.services, c.rpcs, c.seed) }

// format is how a corpus is told to another process.
const format = "%d,%d,%d,%d"

func parseCorpus(text string) (c corpus, err error) {
	if _, err := fmt.Sscanf(text, format, &c.files, &c.services, &c.rpcs, &c.seed); err != nil {
		return c, fmt.Errorf("corpus %q is not files,services,rpcs,seed: %w", text, err)
	}
	return c, nil
}

func (c corpus) total() int { return c.files * c.services * c.rpcs }

// schemas returns the text of each file by its path.
func (c corpus) schemas() map[string]string {
	random := rand.New(rand.NewPCG(c.seed, 0))
	texts := make(map[string]string, c.files)
	for n := range c.files {
		texts[fmt.Sprintf("corpus/f%03d/v1/f%03d.proto", n, n)] = c.file(random, n)
	}
	return texts
}

// file writes one file: of ten RPCs about eight have one reply, one none, and one a stream.
func (c corpus) file(random *rand.Rand, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "syntax = \"proto3\";\n\npackage corpus.f%03d.v1;\n\nimport \"google/protobuf/empty.proto\";\n\n", n)
	fmt.Fprintf(&b, "option go_package = \"example.com/corpus/f%03d/v1;f%03dv1\";\n", n, n)
	for s := range c.services {
		service := fmt.Sprintf("%s%d", words[random.IntN(len(words))], s)
		fmt.Fprintf(&b, "\n// %s does what agents ask of it.\nservice %s {\n", service, service)
		var messages strings.Builder
		for r := range c.rpcs {
			rpc := fmt.Sprintf("%s%s%d", verbs[random.IntN(len(verbs))], words[random.IntN(len(words))], r)
			reply := service + rpc + "Response"
			switch random.IntN(10) {
			case 0:
				reply = "google.protobuf.Empty"
			case 1:
				fmt.Fprintf(&messages, message, reply, "result")
				reply = "stream " + reply
			default:
				fmt.Fprintf(&messages, message, reply, "result")
			}
			fmt.Fprintf(&messages, message, service+rpc+"Request", "subject")
			fmt.Fprintf(&b, "  // %s answers one question.\n  rpc %s(%s%sRequest) returns (%s);\n", rpc, rpc, service, rpc, reply)
		}
		fmt.Fprintf(&b, "}\n%s", messages.String())
	}
	return b.String()
}

const message = "\nmessage %s {\n  string %s = 1;\n  int64 number = 2;\n  repeated bytes parts = 3;\n}\n"

// words and verbs are what names are made of. They are read only.
var (
	words = []string{"Review", "Invoice", "Shipment", "Account", "Ticket", "Report", "Schedule", "Payment", "Document", "Customer"}
	verbs = []string{"Get", "List", "Create", "Update", "Delete", "Find", "Check", "Move"}
)

// request compiles the corpus into the request that a compiler would send for it, with the plugin's parameter.
func (c corpus) request(ctx context.Context, parameter string) ([]byte, error) {
	texts := c.schemas()
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(texts)}),
		SourceInfoMode: protocompile.SourceInfoStandard | protocompile.SourceInfoExtraOptionLocations,
	}
	req := &pluginpb.CodeGeneratorRequest{Parameter: proto.String(parameter)}
	for n := range c.files {
		req.FileToGenerate = append(req.FileToGenerate, fmt.Sprintf("corpus/f%03d/v1/f%03d.proto", n, n))
	}
	compiled, err := compiler.Compile(ctx, req.GetFileToGenerate()...)
	if err != nil {
		return nil, fmt.Errorf("compile the corpus: %w", err)
	}
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		req.ProtoFile = append(req.ProtoFile, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range compiled {
		add(f)
	}
	out, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return out, nil
}

package plugin_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

// words are parts of names that meet in generated code.
const words = `Acme acme Caller Sender Handler Handle Send New Exchanges Exchange Unimplemented Ask ask get Get init main _ _x x_
	String Error type func ctx req msg opts out to fn File file proto E_ Default Beat builder name value 1 A_B AB a_b`

// choices takes names out of bytes.
type choices struct{ b []byte }

func (c *choices) next(n int) int {
	if len(c.b) == 0 {
		return 0
	}
	v := int(c.b[0]) % n
	c.b = c.b[1:]
	return v
}

// name returns one to three words as one.
func (c *choices) name() string {
	all := strings.Fields(words)
	var b strings.Builder
	for range 1 + c.next(3) {
		b.WriteString(all[c.next(len(all))])
	}
	if first := b.String()[0]; '0' <= first && first <= '9' {
		return "N" + b.String()
	}
	return b.String()
}

// FuzzClashes puts names together out of the words of generated code. What comes of them compiles, or the clash is told.
func FuzzClashes(f *testing.F) {
	base := request(f, "", small)
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		b := make([]byte, 60)
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		req := named(base, &choices{b})
		resp := sound(t, req)
		if resp.Error == nil {
			require.NotEmpty(t, resp.GetFile())
			plugintest.MustCompile(t, req, resp)
		}
	})
}

// named returns base with other names, and with more of what has names.
func named(base *pluginpb.CodeGeneratorRequest, c *choices) *pluginpb.CodeGeneratorRequest {
	req := proto.Clone(base).(*pluginpb.CodeGeneratorRequest)
	parameters := []string{"", "only=send", "only=handle", "package_suffix=x", "default_api_level=API_OPAQUE", "default_api_level=API_HYBRID"}
	req.Parameter = proto.String(parameters[c.next(len(parameters))])
	at := slices.IndexFunc(req.ProtoFile, func(d *descriptorpb.FileDescriptorProto) bool { return d.GetName() == "acme.proto" })
	d := req.ProtoFile[at]
	d.SourceCodeInfo = nil
	d.Options.GoPackage = proto.String(fmt.Sprintf("example.com/acme;%s", []string{"acme", "ctx", "exchange", "address", "context"}[c.next(5)]))
	names := make(map[string]string)
	for _, m := range d.MessageType {
		name := c.name()
		names[".acme.v1."+m.GetName()] = ".acme.v1." + name
		m.Name = &name
		for _, f := range m.Field {
			f.Name = proto.String(c.name())
			f.JsonName = nil
		}
		m.EnumType = []*descriptorpb.EnumDescriptorProto{{
			Name:  proto.String(c.name()),
			Value: []*descriptorpb.EnumValueDescriptorProto{{Name: proto.String(c.name()), Number: proto.Int32(0)}},
		}}
	}
	inner := &descriptorpb.DescriptorProto{Name: proto.String(c.name()), Options: d.MessageType[2].Options}
	d.MessageType[0].NestedType = append(d.MessageType[0].NestedType, inner)
	second := proto.Clone(d.Service[0]).(*descriptorpb.ServiceDescriptorProto)
	d.Service = append(d.Service, second)
	for _, s := range d.Service {
		s.Name = proto.String(c.name())
		for _, m := range s.Method {
			m.Name = proto.String(c.name())
			if name, ok := names[m.GetInputType()]; ok {
				m.InputType = &name
			}
			if name, ok := names[m.GetOutputType()]; ok {
				m.OutputType = &name
			}
		}
	}
	req.SourceFileDescriptors = []*descriptorpb.FileDescriptorProto{proto.Clone(d).(*descriptorpb.FileDescriptorProto)}
	return req
}

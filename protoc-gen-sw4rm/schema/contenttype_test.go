package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// TestContentType holds the schema's content types to those that agents can read.
func TestContentType(t *testing.T) {
	t.Parallel()
	const (
		write = `write "application/json", "application/protobuf", or a type that ends in +json or +protobuf`
		leave = "leave the parameter out"
	)
	for _, test := range []struct{ contentType, problem, fix string }{
		{contentType: "application/json"},
		{contentType: "Application/Vnd.Acme+Protobuf"},
		{contentType: `application/vnd.acme.task+json; v=1; profile="a;b=c, d"`},
		{`application/json;v="a\"b"`, `has '\\' in the value of v`, write},
		{`application/json;v="a\\b"`, `has '\\' in the value of v`, write},
		{"application/json;v=1;V=1", "has the parameter v twice", write},
		{"+json", "does not begin with type/subtype", write},
		{"json", "does not begin with type/subtype", write},
		{"application/json;v=\"a\nb\"", `has '\n' in the value of v`, write},
		{"application/json;v=\"\u202e\"", `in the value of v`, write},
		{"application/json; charset", "has a parameter that is not name=value", write},
		{"application/json; v=a:b", "is not a media type", write}, // agents read it, others would not
		{"application/json;v=" + strings.Repeat("x", 240), "has 259 bytes, more than 256", write},
		{"application/x+xml", "is neither JSON nor protobuf", write},
		{"application/json;TO=x", `has the parameter "to"`, leave},
		{`application/json;message=""`, `has the parameter "message"`, leave},
	} {
		t.Run(test.contentType, func(t *testing.T) {
			t.Parallel()
			b, err := proto.Marshal(plugintest.RequestFor(t, "../../proto", "", map[string]string{"p.proto": fmt.Sprintf(`syntax = "proto3";
package p;
import "sw4rm/options/v1/options.proto";
option go_package = "example.com/p";
message M {}
service S {
  rpc Ask(M) returns (M) {
    option (sw4rm.options.v1.exchange) = {content_type: %q};
  }
}
`, test.contentType)}, "p.proto"))
			require.NoError(t, err)
			in, err := schema.ReadInput(b)
			require.NoError(t, err)
			gen, err := protogen.Options{}.New(in.Request)
			require.NoError(t, err)
			_, findings := schema.Check(in, gen, schema.Options{})
			if test.problem == "" {
				require.Empty(t, findings)
				return
			}
			require.Len(t, findings, 1)
			require.Equal(t, schema.Position{File: "p.proto", Line: 8, Column: 43, Element: "p.S.Ask"}, findings[0].Position)
			require.Contains(t, findings[0].Message, fmt.Sprintf("content_type %q of p.S.Ask ", test.contentType))
			require.Contains(t, findings[0].Message, test.problem)
			require.Equal(t, test.fix, findings[0].Fix)
		})
	}
}

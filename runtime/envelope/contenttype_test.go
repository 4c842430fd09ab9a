package envelope_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

func TestParseContentType(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   string
		want envelope.ContentType
	}{
		"bare":        {"application/json", envelope.ContentType{Media: "application/json"}},
		"case":        {" Application/JSON ", envelope.ContentType{Media: "application/json"}},
		"semicolon":   {"application/json ; ", envelope.ContentType{Media: "application/json"}},
		"foreign":     {"application/vnd.sw4rm.x+json;v=1", envelope.ContentType{Media: "application/vnd.sw4rm.x+json", Extra: []envelope.Param{{"v", "1"}}}},
		"space":       {"text/plain ;a = 1 ; b= \"2\"", envelope.ContentType{Media: "text/plain", Extra: []envelope.Param{{"a", "1"}, {"b", "2"}}}},
		"unquoted":    {"application/protobuf;METHOD=a.b.C/D;To=agent:x", envelope.ContentType{Media: "application/protobuf", Method: "a.b.C/D", To: "agent:x"}},
		"order kept":  {`a/b;z="1";message="m";y="2"`, envelope.ContentType{Media: "a/b", Message: "m", Extra: []envelope.Param{{"z", "1"}, {"y", "2"}}}},
		"empty value": {`a/b;z=""`, envelope.ContentType{Media: "a/b", Extra: []envelope.Param{{"z", ""}}}},
		"all": {
			`application/protobuf; message="acme.review.v1.ReviewReply"; method="acme.review.v1.Reviewer/Review"; kind=reply; to="capability:code.review"`,
			envelope.ContentType{
				Media: envelope.MediaProtobuf, Message: "acme.review.v1.ReviewReply", Method: "acme.review.v1.Reviewer/Review",
				Kind: envelope.KindReply, To: "capability:code.review",
			},
		},
		"separators in quotes": {`a/b; q="a;b=c, d"`, envelope.ContentType{Media: "a/b", Extra: []envelope.Param{{"q", "a;b=c, d"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := envelope.ParseContentType(tc.in)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
			again, err := envelope.ParseContentType(got.String())
			require.NoError(t, err)
			assert.Equal(t, got, again)
			assert.NoError(t, got.Validate())
		})
	}
}

func TestParseContentTypeErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"empty":            {"", "type/subtype"},
		"no subtype":       {"json", "type/subtype"},
		"three parts":      {"a/b/c", "type/subtype"},
		"space in type":    {"a b/c", "type/subtype"},
		"not ASCII":        {"a/é", "type/subtype"},
		"no value":         {"a/b; c", "name=value"},
		"no name":          {"a/b; =c", "name=value"},
		"bad name":         {`a/b; "c"=d`, "name=value"},
		"empty token":      {"a/b; c=", "neither quoted nor a token"},
		"bad token":        {"a/b; c=d,e", "neither quoted nor a token"},
		"open quote":       {`a/b; c="d`, "closing quote"},
		"backslash":        {`a/b; c="d\e"`, `'\\'`},
		"escaped quote":    {`a/b; c="d\"e"`, `'\\'`},
		"line feed":        {"a/b; c=\"d\ne\"", `'\n'`},
		"not ASCII value":  {`a/b; c="é"`, "in the value of c"},
		"after quote":      {`a/b; c="d"e`, "where a semicolon belongs"},
		"after token":      {`a/b; c=d e=f`, "where a semicolon belongs"},
		"duplicate":        {`a/b; c=d; C=e`, "parameter c twice"},
		"duplicate known":  {`a/b; message=""; Message="x"`, "parameter message twice"},
		"empty in between": {`a/b;; c=d`, "name=value"},
		"long value":       {`a/b; c="` + strings.Repeat("x", 257) + `"`, "257 bytes"},
		"long type":        {"a/b; c=d" + strings.Repeat(" ", 1024), "1032 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := envelope.ParseContentType(tc.in)
			var typed *envelope.ContentTypeError
			require.ErrorAs(t, err, &typed)
			assert.Contains(t, err.Error(), tc.want)
		})
	}
}

func TestContentTypeString(t *testing.T) {
	t.Parallel()
	assert.Empty(t, envelope.ContentType{}.String())
	c := envelope.ContentType{
		Media: envelope.MediaProtobuf, Message: "a.B", Method: "a.S/M", Kind: envelope.KindFrame, To: "agent:x",
		Extra: []envelope.Param{{"v", "1"}},
	}
	assert.Equal(t, `application/protobuf; message="a.B"; method="a.S/M"; kind="frame"; to="agent:x"; v="1"`, c.String())
	assert.NoError(t, c.Validate())
	c.Message = strings.Repeat("m", 256)
	assert.NoError(t, c.Validate())
	for _, bad := range []string{`a"b`, `a\b`, "a\nb", "é", strings.Repeat("m", 257)} {
		c.Message = bad
		assert.Error(t, c.Validate(), bad)
	}
}

func FuzzParseContentType(f *testing.F) {
	for _, s := range []string{
		"", "application/json", "a/b;c=d;", `application/protobuf; message="a.B"; method="a.S/M"; kind=reply; to=agent:x; v="1"`,
		`a/b; c="`, "a/b;;", `a/b; c="d\"e"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := envelope.ParseContentType(s)
		if err != nil {
			var typed *envelope.ContentTypeError
			require.ErrorAs(t, err, &typed)
			return
		}
		out := c.String()
		if len(out) > envelope.MaxContentType { // quotes and spaces may be added
			return
		}
		again, err := envelope.ParseContentType(out)
		require.NoError(t, err)
		require.Equal(t, out, again.String())
	})
}

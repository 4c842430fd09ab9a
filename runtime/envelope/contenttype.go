package envelope

import (
	"fmt"
	"strings"

	"github.com/sw4rm/sw4rm-go/runtime/internal/mediatype"
)

// Media types of payloads that every agent understands.
const (
	MediaProtobuf = "application/protobuf"
	MediaJSON     = "application/json"
)

// Values of the parameter kind. A request has none.
const (
	// KindReply marks the reply to a request.
	KindReply = "reply"
	// KindFrame marks one of several ordered replies.
	KindFrame = "frame"
	// KindWindow marks what a stream's reader tells the agent that sends the frames.
	KindWindow = "window"
)

const (
	// MaxContentType is the largest length of a content type in bytes.
	MaxContentType = mediatype.MaxLength
	// MaxParam is the largest length of a parameter's value in bytes.
	MaxParam = mediatype.MaxParam
)

// The parameters that name an exchange and a recipient.
const (
	paramMessage = "message"
	paramMethod  = "method"
	paramKind    = "kind"
	paramTo      = "to"
)

// ContentType is a media type with the parameters by which envelopes name exchanges. The zero ContentType is none.
type ContentType struct {
	// Media is the media type in lower case, such as MediaProtobuf.
	Media string
	// Message is the full name of the payload's message.
	Message string
	// Method is the exchange, "package.Service/Method".
	Method string
	// Kind is KindReply, KindFrame, KindWindow or empty.
	Kind string
	// To is the recipient, agent:ID or capability:NAME, for peers that can name it nowhere else.
	To string
	// Extra are all other parameters in their order.
	Extra []Param
}

// Param is a parameter of a content type. Names are in lower case.
type Param struct{ Name, Value string }

// ContentTypeError tells what is wrong with a content type.
type ContentTypeError struct {
	// Type is the content type, shortened when it is very long.
	Type string
	// Problem says what is wrong with it.
	Problem string
}

// Error implements error.
func (e *ContentTypeError) Error() string {
	return fmt.Sprintf("content type %q %s", e.Type, e.Problem)
}

// String returns the content type as it goes over the wire, "" for the zero ContentType. Parameters that are empty are
// left out, except in Extra; values are quoted. ParseContentType reads what a valid ContentType returns.
func (c ContentType) String() string {
	if c.Media == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(c.Media)
	write := func(name, value string) {
		b.WriteString("; ")
		b.WriteString(name)
		b.WriteString(`="`)
		b.WriteString(value)
		b.WriteByte('"')
	}
	for _, p := range []Param{{paramMessage, c.Message}, {paramMethod, c.Method}, {paramKind, c.Kind}, {paramTo, c.To}} {
		if p.Value != "" {
			write(p.Name, p.Value)
		}
	}
	for _, p := range c.Extra {
		write(p.Name, p.Value)
	}
	return b.String()
}

// Validate returns a *ContentTypeError unless ParseContentType reads c's String as c.
func (c ContentType) Validate() error {
	_, err := ParseContentType(c.String())
	return err
}

// ParseContentType reads a content type. Names are case-insensitive and come out in lower case; values are quoted ASCII
// without " and \, or tokens. Repeated parameters, values above MaxParam and types above MaxContentType are a
// *ContentTypeError; unknown parameters are kept in Extra.
func ParseContentType(s string) (ContentType, error) {
	var c ContentType
	media, problem := mediatype.Parse(s, func(name, value string) { c.set(Param{name, value}) })
	if problem != "" {
		return ContentType{}, &ContentTypeError{Type: mediatype.Short(s), Problem: problem}
	}
	c.Media = media
	return c, nil
}

// set puts a parameter into its field.
func (c *ContentType) set(p Param) {
	switch p.Name {
	case paramMessage:
		c.Message = p.Value
	case paramMethod:
		c.Method = p.Value
	case paramKind:
		c.Kind = p.Value
	case paramTo:
		c.To = p.Value
	default:
		c.Extra = append(c.Extra, p)
	}
}

func trim(s string) string { return strings.Trim(s, " \t") }

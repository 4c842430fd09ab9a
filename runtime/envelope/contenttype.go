package envelope

import (
	"fmt"
	"strings"
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
	MaxContentType = 1 << 10
	// MaxParam is the largest length of a parameter's value in bytes.
	MaxParam = 256
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
	fail := func(format string, args ...any) (ContentType, error) {
		short := s
		if len(short) > MaxParam {
			short = short[:MaxParam] + "…"
		}
		return ContentType{}, &ContentTypeError{Type: short, Problem: fmt.Sprintf(format, args...)}
	}
	if len(s) > MaxContentType {
		return fail("has %d bytes, more than %d", len(s), MaxContentType)
	}
	media, rest, more := strings.Cut(s, ";")
	media = strings.ToLower(trim(media))
	kind, sub, ok := strings.Cut(media, "/")
	if !ok || !isToken(kind) || !isToken(sub) {
		return fail("does not begin with type/subtype")
	}
	c := ContentType{Media: media}
	seen := make(map[string]bool, 4)
	for more {
		rest = trim(rest)
		if rest == "" { // many writers end with a semicolon
			break
		}
		p, after, problem := parseParam(rest)
		if problem != "" {
			return fail("%s", problem)
		}
		if seen[p.Name] {
			return fail("has the parameter %s twice", p.Name)
		}
		seen[p.Name] = true
		c.set(p)
		rest, more = trim(after), false
		if rest != "" {
			if rest[0] != ';' {
				return fail("has %q where a semicolon belongs", rest[0])
			}
			rest, more = rest[1:], true
		}
	}
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

// parseParam reads name=value from the beginning of s, and returns what follows it.
func parseParam(s string) (p Param, rest, problem string) {
	name, value, ok := strings.Cut(s, "=")
	name = strings.ToLower(trim(name))
	if !ok || !isToken(name) {
		return p, "", "has a parameter that is not name=value"
	}
	value = trim(value)
	if strings.HasPrefix(value, `"`) {
		end := strings.IndexByte(value[1:], '"')
		if end < 0 {
			return p, "", fmt.Sprintf("has no closing quote after %s", name)
		}
		value, rest = value[1:1+end], value[end+2:]
		for i := range len(value) {
			if c := value[i]; c < ' ' || c > '~' || c == '\\' {
				return p, "", fmt.Sprintf("has %q in the value of %s", c, name)
			}
		}
	} else {
		if end := strings.IndexAny(value, "; \t"); end >= 0 {
			value, rest = value[:end], value[end:]
		}
		// Peers write methods and addresses without quotes.
		if !isTokenWith(value, ":/") {
			return p, "", fmt.Sprintf("has a value of %s that is neither quoted nor a token", name)
		}
	}
	if len(value) > MaxParam {
		return p, "", fmt.Sprintf("has a value of %s with %d bytes, more than %d", name, len(value), MaxParam)
	}
	return Param{Name: name, Value: value}, rest, ""
}

func trim(s string) string { return strings.Trim(s, " \t") }

// isToken tells whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool { return isTokenWith(s, "") }

// isTokenWith is isToken with more characters.
func isTokenWith(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0, strings.IndexByte(more, c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

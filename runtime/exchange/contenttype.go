package exchange

import (
	"fmt"
	"mime"
	"strings"
)

// maxContentType is the longest content type of an envelope.
const maxContentType = 1 << 10

// ContentType makes messages carry exactly this content type, such as "application/json" or
// "application/vnd.sw4rm.scheduler.command+json;v=1", for peers that compare content types as they are. It must be a
// protobuf or JSON type and decides the format. The message then names no exchange: it reaches the handler whose exchange
// has this content type, or that is the only one of its message type. "" is the default, which names the exchange.
func ContentType(contentType string) PolicyOption {
	return PolicyOption{func(p *Policy) {
		p.ContentType = contentType
		if f, ok := FormatOf(contentType); ok {
			p.Format = f
		}
	}}
}

// FormatOf returns the format of payloads with the given content type, false when it is neither protobuf nor JSON:
// application/protobuf and types ending in +protobuf are the one, application/json and types ending in +json the other.
func FormatOf(contentType string) (Format, bool) {
	media, _, _ := strings.Cut(contentType, ";")
	switch media = strings.ToLower(strings.Trim(media, " \t")); {
	case media == "application/protobuf", strings.HasSuffix(media, "+protobuf"):
		return Protobuf, true
	case media == "application/json", strings.HasSuffix(media, "+json"):
		return JSON, true
	default:
		return 0, false
	}
}

// validateContentType tells what is wrong with the content type that a policy asks for.
func (p Policy) validateContentType() error {
	if p.ContentType == "" {
		return nil
	}
	if len(p.ContentType) > maxContentType {
		return fmt.Errorf("the content type has %d bytes, more than %d", len(p.ContentType), maxContentType)
	}
	_, params, err := mime.ParseMediaType(p.ContentType)
	if err != nil {
		return fmt.Errorf("content type %q: %w", p.ContentType, err)
	}
	for _, name := range []string{"message", "method", "kind", "to"} {
		if _, taken := params[name]; taken {
			return fmt.Errorf("content type %q has the parameter %s, by which this module names exchanges. Fix: leave it out", p.ContentType, name)
		}
	}
	switch f, ok := FormatOf(p.ContentType); {
	case !ok:
		return fmt.Errorf("content type %q is neither protobuf nor JSON", p.ContentType)
	case f != p.Format:
		return fmt.Errorf("content type %q is of another format than the one that was asked for. Fix: leave out the format", p.ContentType)
	}
	return nil
}

package exchange

import (
	"fmt"
	"strings"

	"github.com/sw4rm/sw4rm-go/runtime/internal/mediatype"
)

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

// validateContentType tells what is wrong with the content type that a policy asks for. The rule is that for what agents
// receive: a type that passes can be read by its receiver, and found again by a handler that asks for it.
func (p Policy) validateContentType() error {
	if p.ContentType == "" {
		return nil
	}
	taken := ""
	_, problem := mediatype.Parse(p.ContentType, func(name, _ string) {
		switch name {
		case "message", "method", "kind", "to":
			taken = name
		}
	})
	f, known := FormatOf(p.ContentType)
	fix := ""
	switch {
	case problem != "":
		fix = "write type/subtype;name=value, each name once and no value with escapes"
	case taken != "":
		problem, fix = "has the parameter "+taken+", by which this module names exchanges and recipients", "leave it out"
	case !known:
		problem, fix = "is neither protobuf nor JSON", "write application/json, application/protobuf, or a type that ends in +json or +protobuf"
	case f != p.Format:
		problem, fix = "is of another format than the one that was asked for", "leave out the format"
	default:
		return nil
	}
	return fmt.Errorf("content type %q %s. Fix: %s", mediatype.Short(p.ContentType), problem, fix)
}

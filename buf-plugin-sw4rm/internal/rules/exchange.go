package rules

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
	runtime "github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// service is a service of a schema whose RPCs are exchanges.
type service struct {
	*schema.Service
	file *file
	at   protoreflect.SourcePath
}

func newService(f *file, s *schema.Service) *service {
	return &service{Service: s, file: f, at: protoreflect.SourcePath{6, int32(s.Proto.Desc.Index())}}
}

// address is the capability under which its agents are reached.
func (s *service) address() string {
	if s.Capability != "" {
		return s.Capability
	}
	return s.Name
}

// name is the place of the service's name, capability that of the option, of the name when there is none.
func (s *service) name() place { return s.file.nearest(append(s.at[:2:2], 1), len(s.at)) }

func (s *service) capability() place {
	if s.Capability == "" {
		return s.name()
	}
	return s.file.nearest(append(s.at[:2:2], 3, optionNumber, 1), len(s.at))
}

// optionNumber is the number of our options.
const optionNumber = 8355

// exchange is an RPC or a payload message.
type exchange struct {
	file *file
	// service is nil for a payload message.
	service *service
	// name is the exchange's name on the wire, element the full name of what declares it.
	name, element string
	// at is the path of the declaration.
	at       protoreflect.SourcePath
	kind     schema.Kind
	request  *protogen.Message
	reply    *protogen.Message
	settings schema.Settings
}

func newExchange(s *service, e *schema.Exchange) *exchange {
	return &exchange{
		file:     s.file,
		service:  s,
		name:     e.Name,
		element:  string(e.Proto.Desc.FullName()),
		at:       append(s.at[:2:2], 2, int32(e.Proto.Desc.Index())),
		kind:     e.Kind,
		request:  e.Request,
		reply:    e.Reply,
		settings: e.Settings,
	}
}

func newPayload(f *file, p *schema.Payload) *exchange {
	return &exchange{
		file:     f,
		name:     p.Name,
		element:  string(p.Proto.Desc.FullName()),
		at:       protoreflect.SourcePath(p.Proto.Location.Path),
		kind:     schema.OneWay,
		request:  p.Proto,
		settings: p.Settings,
	}
}

// declared is the place of the RPC's or message's name.
func (e *exchange) declared() place {
	return e.file.nearest(append(e.at[:len(e.at):len(e.at)], 1), len(e.at))
}

// option is the place of the first of the options that somebody wrote, more steps inside it if there are any, or of the
// declaration when nobody wrote one. An option of the exchange itself goes before a default.
func (e *exchange) option(names ...string) place {
	var inherited *schema.Origin
	for _, name := range names {
		o, ok := e.settings.Origin(name)
		switch {
		case !ok:
		case o.Default == "":
			return e.file.nearest(o.Path, len(e.at))
		case inherited == nil:
			inherited = &o
		}
	}
	if inherited != nil {
		return e.file.nearest(inherited.Path, 1)
	}
	return e.declared()
}

// inside is the place of the n-th value of a list option.
func (e *exchange) inside(name string, n int) place {
	o, ok := e.settings.Origin(name)
	if !ok {
		return e.declared()
	}
	return e.file.nearest(append(o.Path[:len(o.Path):len(o.Path)], int32(n)), 1)
}

// wrote tells whether the schema says something of any of the options.
func (e *exchange) wrote(names ...string) bool {
	for _, name := range names {
		if _, ok := e.settings.Origin(name); ok {
			return true
		}
	}
	return false
}

// value writes an option with its value and, for a default, where it comes from.
func (e *exchange) value(name string, v any) string {
	if d, ok := v.(time.Duration); ok {
		v = span(d)
	}
	o, ok := e.settings.Origin(name)
	switch {
	case !ok:
		return fmt.Sprintf("the default %s %v", name, v)
	case o.Default != "":
		return fmt.Sprintf("%s %v (%s)", name, v, o.Default)
	default:
		return fmt.Sprintf("%s %v", name, v)
	}
}

// The settings in force. A limit of 0 is none.

func (e *exchange) deadline() time.Duration { return or(e.settings.Deadline, runtime.DefaultDeadline) }

func (e *exchange) attempts() int { return or(e.settings.MaxAttempts, runtime.DefaultMaxAttempts) }

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func (e *exchange) ttl() time.Duration            { return or(e.settings.TTL, 0) }
func (e *exchange) replyTimeout() time.Duration   { return or(e.settings.ReplyTimeout, 0) }
func (e *exchange) handlerTimeout() time.Duration { return or(e.settings.HandlerTimeout, 0) }

func (e *exchange) messageType() optionspb.ExchangeOptions_Type {
	if e.settings.Type == optionspb.ExchangeOptions_TYPE_UNSPECIFIED {
		return optionspb.ExchangeOptions_DATA
	}
	return e.settings.Type
}

func (e *exchange) order() optionspb.ExchangeOptions_Order {
	switch {
	case e.settings.Order != optionspb.ExchangeOptions_ORDER_UNSPECIFIED:
		return e.settings.Order
	case e.kind == schema.OneWay:
		return optionspb.ExchangeOptions_CORRELATION
	default:
		return optionspb.ExchangeOptions_NONE
	}
}

func (e *exchange) resume() optionspb.ExchangeOptions_Resume {
	if e.settings.Resume == optionspb.ExchangeOptions_RESUME_UNSPECIFIED {
		return optionspb.ExchangeOptions_RESTART
	}
	return e.settings.Resume
}

// identity says what makes two calls the same operation, by the option's name.
func (e *exchange) identity() string {
	switch {
	case e.settings.WholePayload:
		return "whole_payload"
	case len(e.settings.Keys) > 0:
		return "fields"
	default:
		return "each_call"
	}
}

// replyName is the full name of the reply's message, "" when there is none.
func (e *exchange) replyName() string {
	if e.kind == schema.OneWay || e.reply == nil {
		return ""
	}
	return string(e.reply.Desc.FullName())
}

// span writes a duration without the units that are zero at its end.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

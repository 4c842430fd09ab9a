package emit

import (
	"strconv"
	"time"

	"github.com/dave/jennifer/jen"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// options returns what the schema says of an exchange with the given request.
func options(s schema.Settings, request *protogen.Message, kind schema.Kind) []jen.Code {
	var opts []jen.Code
	if name := typeName(s.Type); name != "" {
		opts = append(opts, runtime(name))
	}
	if name := orderName(s.Order); name != "" {
		opts = append(opts, runtime(name))
	}
	for _, t := range []struct {
		name string
		d    *time.Duration
	}{
		{"AckTimeout", s.AckTimeout},
		{"ReplyTimeout", s.ReplyTimeout},
		{"Deadline", s.Deadline},
		{"TTL", s.TTL},
		{"HandlerTimeout", s.HandlerTimeout},
	} {
		if t.d != nil {
			opts = append(opts, runtime(t.name).Call(duration(*t.d)))
		}
	}
	opts = append(opts, retry(s)...)
	switch {
	case s.WholePayload:
		opts = append(opts, runtime("Idempotent").Call())
	case len(s.Keys) > 0:
		opts = append(opts, idempotentBy(s.Keys, request, parameter(kind)))
	}
	if s.Resume == optionspb.ExchangeOptions_CONTINUE {
		opts = append(opts, runtime("ContinueOnResume"))
	}
	if s.ContentType != "" {
		opts = append(opts, runtime("ContentType").Call(jen.Lit(s.ContentType)))
	}
	return opts
}

func retry(s schema.Settings) []jen.Code {
	var opts []jen.Code
	if s.MaxAttempts != nil {
		opts = append(opts, runtime("MaxAttempts").Call(jen.Lit(*s.MaxAttempts)))
	}
	if s.InitialBackoff != nil || s.MaxBackoff != nil || s.Multiplier != nil {
		initial, largest, multiplier := runtime("DefaultInitialBackoff"), runtime("DefaultMaxBackoff"), runtime("DefaultMultiplier")
		if s.InitialBackoff != nil {
			initial = duration(*s.InitialBackoff)
		}
		if s.MaxBackoff != nil {
			largest = duration(*s.MaxBackoff)
		}
		if s.Multiplier != nil {
			multiplier = jen.Op(strconv.FormatFloat(*s.Multiplier, 'g', -1, 64))
		}
		opts = append(opts, runtime("Backoff").Call(initial, largest, multiplier))
	}
	if len(s.RetryOn) > 0 {
		// Numbers are constants of the protocol; their names would need one more import.
		codes := make([]jen.Code, len(s.RetryOn))
		for i, c := range s.RetryOn {
			codes[i] = jen.Lit(int(c)).Comment("/* " + c.String() + " */")
		}
		opts = append(opts, runtime("RetryOn").Call(codes...))
	}
	return opts
}

func typeName(t optionspb.ExchangeOptions_Type) string {
	switch t {
	case optionspb.ExchangeOptions_CONTROL:
		return "Control"
	case optionspb.ExchangeOptions_DATA:
		return "Data"
	case optionspb.ExchangeOptions_NOTIFICATION:
		return "Notification"
	case optionspb.ExchangeOptions_HITL_INVOCATION:
		return "HITLInvocation"
	case optionspb.ExchangeOptions_WORKTREE_CONTROL:
		return "WorktreeControl"
	case optionspb.ExchangeOptions_NEGOTIATION:
		return "Negotiation"
	case optionspb.ExchangeOptions_TOOL_CALL:
		return "ToolCall"
	default:
		return ""
	}
}

func orderName(o optionspb.ExchangeOptions_Order) string {
	switch o {
	case optionspb.ExchangeOptions_NONE:
		return "OrderNone"
	case optionspb.ExchangeOptions_CORRELATION:
		return "OrderCorrelation"
	case optionspb.ExchangeOptions_AGENT:
		return "OrderAgent"
	default:
		return ""
	}
}

// duration returns d in the largest unit that divides it.
func duration(d time.Duration) *jen.Statement {
	if d == 0 {
		return jen.Lit(0)
	}
	for _, u := range []struct {
		size time.Duration
		name string
	}{
		{time.Hour, "Hour"},
		{time.Minute, "Minute"},
		{time.Second, "Second"},
		{time.Millisecond, "Millisecond"},
		{time.Microsecond, "Microsecond"},
	} {
		switch {
		case d == u.size:
			return jen.Qual(timePath, u.name)
		case d%u.size == 0:
			return jen.Lit(int(d/u.size)).Op("*").Qual(timePath, u.name)
		}
	}
	return times(d, "Nanosecond")
}

func times(n time.Duration, unit string) *jen.Statement {
	return jen.Op(strconv.FormatInt(int64(n), 10)).Op("*").Qual(timePath, unit)
}

// idempotentBy returns the option with the function that writes the key.
func idempotentBy(keys []schema.Key, request *protogen.Message, name string) *jen.Statement {
	return runtime("IdempotentBy").Call(
		jen.Func().Params(jen.Id(name).Add(pointer(request)), jen.Id("k").Op("*").Add(runtime("Key"))).
			BlockFunc(func(body *jen.Group) {
				for _, k := range keys {
					method, convert := keyMethod(k.Field())
					value := getters(name, k.Path)
					if convert != "" {
						value = jen.Id(convert).Call(value)
					}
					body.Id("k").Dot(method).Call(jen.Lit(int(k.Field().Desc.Number())), value)
				}
			}))
}

// getters returns the chain of getters to a field; each is safe on nil.
func getters(from string, path []*protogen.Field) *jen.Statement {
	chain := jen.Id(from)
	for _, f := range path {
		name, _ := f.MethodName("Get")
		chain = chain.Dot(name).Call()
	}
	return chain
}

// keyMethod returns the method of exchange.Key for a field, and the type to convert to, if any.
func keyMethod(f *protogen.Field) (method, convert string) {
	switch f.Desc.Kind() {
	case protoreflect.StringKind:
		return "String", ""
	case protoreflect.BytesKind:
		return "Bytes", ""
	case protoreflect.BoolKind:
		return "Bool", ""
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "Uint", ""
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "Uint", "uint64"
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return "Int", ""
	default: // the other integers and enums; nothing else passes the check
		return "Int", "int64"
	}
}

package catalog

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// options returns what the schema says of an exchange, as generated code passes it to the runtime.
func options(s schema.Settings) []exchange.Option {
	var opts []exchange.Option
	if s.Type != optionspb.ExchangeOptions_TYPE_UNSPECIFIED {
		opts = append(opts, exchange.MessageType(s.Type)) // both have the protocol's numbers
	}
	switch s.Order {
	case optionspb.ExchangeOptions_NONE:
		opts = append(opts, exchange.OrderNone)
	case optionspb.ExchangeOptions_CORRELATION:
		opts = append(opts, exchange.OrderCorrelation)
	case optionspb.ExchangeOptions_AGENT:
		opts = append(opts, exchange.OrderAgent)
	}
	if s.AckTimeout != nil {
		opts = append(opts, exchange.AckTimeout(*s.AckTimeout))
	}
	if s.ReplyTimeout != nil {
		opts = append(opts, exchange.ReplyTimeout(*s.ReplyTimeout))
	}
	if s.Deadline != nil {
		opts = append(opts, exchange.Deadline(*s.Deadline))
	}
	if s.TTL != nil {
		opts = append(opts, exchange.TTL(*s.TTL))
	}
	if s.HandlerTimeout != nil {
		opts = append(opts, exchange.HandlerTimeout(*s.HandlerTimeout))
	}
	opts = append(opts, retry(s)...)
	switch {
	case s.WholePayload:
		opts = append(opts, exchange.Idempotent())
	case len(s.Keys) > 0:
		opts = append(opts, exchange.IdempotentBy(func(m *dynamicpb.Message, k *exchange.Key) { writeKeys(m, s.Keys, k) }))
	}
	if s.Resume == optionspb.ExchangeOptions_CONTINUE {
		opts = append(opts, exchange.ContinueOnResume)
	}
	if s.ContentType != "" {
		opts = append(opts, exchange.ContentType(s.ContentType))
	}
	return opts
}

func retry(s schema.Settings) []exchange.Option {
	var opts []exchange.Option
	if s.MaxAttempts != nil {
		opts = append(opts, exchange.MaxAttempts(*s.MaxAttempts))
	}
	if s.InitialBackoff != nil || s.MaxBackoff != nil || s.Multiplier != nil {
		opts = append(opts, exchange.Backoff(
			or(s.InitialBackoff, exchange.DefaultInitialBackoff), or(s.MaxBackoff, exchange.DefaultMaxBackoff),
			or(s.Multiplier, exchange.DefaultMultiplier)))
	}
	if len(s.RetryOn) > 0 {
		opts = append(opts, exchange.RetryOn(s.RetryOn...))
	}
	return opts
}

func or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

// writeKeys writes the fields that make two calls the same operation, as generated code does.
func writeKeys(m *dynamicpb.Message, keys []schema.Key, k *exchange.Key) {
	for _, key := range keys {
		var v protoreflect.Value
		in := m.ProtoReflect()
		for _, f := range key.Path {
			if v = in.Get(f.Desc); f.Message != nil {
				in = v.Message()
			}
		}
		field := key.Field().Desc
		n := int(field.Number())
		switch field.Kind() {
		case protoreflect.StringKind:
			k.String(n, v.String())
		case protoreflect.BytesKind:
			k.Bytes(n, v.Bytes())
		case protoreflect.BoolKind:
			k.Bool(n, v.Bool())
		case protoreflect.EnumKind:
			k.Int(n, int64(v.Enum()))
		case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
			k.Uint(n, v.Uint())
		default: // nothing else than the other integers passes the check
			k.Int(n, v.Int())
		}
	}
}

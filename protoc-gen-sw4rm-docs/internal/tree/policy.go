package tree

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// Policy is one setting of how an exchange's messages travel.
type Policy struct {
	// Option is the schema option's name, after a dot inside another one.
	Option string
	// Value is what holds, for people.
	Value string
	// Origin tells whose setting it is: the exchange's own, "the default of …", or the runtime's.
	Origin string
	// Position is where it was written; the zero Position when nobody wrote it.
	Position schema.Position
}

// policies returns the settings that concern an exchange, in the order of the options' numbers. own is the origin of what
// is written at the exchange itself.
func policies(kind schema.Kind, s schema.Settings, own string) []Policy {
	d := defaults(kind)
	var out []Policy
	add := func(option, value string) {
		p := Policy{Option: option, Value: value, Origin: "the runtime's default"}
		if o, ok := s.Origin(option); ok {
			p.Origin, p.Position = cmp.Or(o.Default, own), o.Position
		}
		out = append(out, p)
	}
	add("type", cmp.Or(s.Type, optionspb.ExchangeOptions_Type(d.MessageType)).String())
	add("ack_timeout", span(s.AckTimeout, d.AckTimeout, ""))
	if kind != schema.OneWay {
		add("reply_timeout", span(s.ReplyTimeout, d.ReplyTimeout, "until the deadline"))
	}
	add("deadline", span(s.Deadline, d.Deadline, ""))
	add("ttl", span(s.TTL, d.TTL, "no limit"))
	attempts, multiplier, codes := d.Retry.MaxAttempts, d.Retry.Multiplier, d.Retry.Codes
	if s.MaxAttempts != nil {
		attempts = *s.MaxAttempts
	}
	if s.Multiplier != nil {
		multiplier = *s.Multiplier
	}
	if len(s.RetryOn) > 0 {
		codes = s.RetryOn
	}
	add("retry.max_attempts", strconv.Itoa(attempts))
	add("retry.initial_backoff", span(s.InitialBackoff, d.Retry.InitialBackoff, ""))
	add("retry.max_backoff", span(s.MaxBackoff, d.Retry.MaxBackoff, ""))
	add("retry.multiplier", strconv.FormatFloat(multiplier, 'g', -1, 64))
	add("retry.codes", codeNames(codes))
	add("idempotency", idempotency(s))
	add("order", cmp.Or(s.Order, optionspb.ExchangeOptions_Order(d.Order)).String())
	add("handler_timeout", span(s.HandlerTimeout, d.HandlerTimeout, "no limit"))
	if kind == schema.Stream {
		add("resume", cmp.Or(s.Resume, optionspb.ExchangeOptions_RESTART).String())
	}
	add("content_type", cmp.Or(Clean(s.ContentType), "names exchange and message"))
	return out
}

// defaults asks the runtime how it treats an exchange of which the schema says nothing.
func defaults(kind schema.Kind) exchange.Policy {
	switch kind {
	case schema.Call:
		return exchange.NewCall[emptypb.Empty, emptypb.Empty]("").Descriptor().Policy()
	case schema.Stream:
		return exchange.NewStream[emptypb.Empty, emptypb.Empty]("").Descriptor().Policy()
	default:
		return exchange.NewOneWay[emptypb.Empty]("").Descriptor().Policy()
	}
}

// span writes a duration without the units that are zero at its end, and zero as it is called.
func span(set *time.Duration, otherwise time.Duration, zero string) string {
	d := otherwise
	if set != nil {
		d = *set
	}
	if d == 0 {
		return zero
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func codeNames(codes []ack.Code) string {
	names := make([]string, len(codes))
	for i, c := range codes {
		names[i] = commonpb.ErrorCode(c).String()
	}
	return strings.Join(names, ", ")
}

func idempotency(s schema.Settings) string {
	if s.WholePayload {
		return "requests with the same payload are the same operation"
	}
	if len(s.Keys) == 0 {
		return "each request is its own operation"
	}
	paths := make([]string, len(s.Keys))
	for i, k := range s.Keys {
		steps := make([]string, len(k.Path))
		for j, f := range k.Path {
			steps[j] = string(f.Desc.Name())
		}
		paths[i] = strings.Join(steps, ".")
	}
	return "requests that agree in " + strings.Join(paths, ", ") + " are the same operation"
}

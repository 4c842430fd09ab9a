package schema

import (
	"errors"
	"fmt"
	"math"
	"mime"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// value is one setting of a layer.
type value[T any] struct {
	v      T
	set    bool
	origin Origin
}

// or returns v, or w when v is not set.
func (v value[T]) or(w value[T]) value[T] {
	if v.set {
		return v
	}
	return w
}

// pointer returns nil when v is not set.
func (v value[T]) pointer() *T {
	if !v.set {
		return nil
	}
	return &v.v
}

// inherited tells that the setting is a default of the service or the file.
func (v value[T]) inherited() bool { return v.origin.Default != "" }

// note tells where a setting comes from that is inherited, or not written at pos, for the end of a phrase.
func (v value[T]) note(pos Position) string {
	if !v.set {
		return ""
	}
	var parts []string
	if v.inherited() {
		parts = append(parts, v.origin.Default)
	}
	if v.origin.Position != pos {
		parts = append(parts, "at "+v.origin.Position.String())
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, " ") + ")"
}

// layer has the settings of a file, a service or an RPC. Those that are wrong are reported and left out.
type layer struct {
	kind                                                    value[optionspb.ExchangeOptions_Type]
	order                                                   value[optionspb.ExchangeOptions_Order]
	ackTimeout, replyTimeout, deadline, ttl, handlerTimeout value[time.Duration]
	attempts                                                value[int]
	initial, largest                                        value[time.Duration]
	multiplier                                              value[float64]
	codes                                                   value[[]ack.Code]
	idempotency                                             value[idempotency]
	resume                                                  value[optionspb.ExchangeOptions_Resume]
	contentType                                             value[string]
	skip                                                    bool
}

// idempotency is what makes two calls the same operation: each call, the whole payload, or paths.
type idempotency struct {
	eachCall, wholePayload bool
	paths                  []string
	// at has the place of each path.
	at []Position
}

// over returns the settings of l, with those of below where l has none.
func (l layer) over(below layer) layer {
	return layer{
		kind:           l.kind.or(below.kind),
		order:          l.order.or(below.order),
		ackTimeout:     l.ackTimeout.or(below.ackTimeout),
		replyTimeout:   l.replyTimeout.or(below.replyTimeout),
		deadline:       l.deadline.or(below.deadline),
		ttl:            l.ttl.or(below.ttl),
		handlerTimeout: l.handlerTimeout.or(below.handlerTimeout),
		attempts:       l.attempts.or(below.attempts),
		initial:        l.initial.or(below.initial),
		largest:        l.largest.or(below.largest),
		multiplier:     l.multiplier.or(below.multiplier),
		codes:          l.codes.or(below.codes),
		idempotency:    l.idempotency.or(below.idempotency),
		resume:         l.resume.or(below.resume),
		contentType:    l.contentType.or(below.contentType),
		skip:           l.skip,
	}
}

// origins returns where what is set was written.
func (l *layer) origins() []Origin {
	var origins []Origin
	for _, at := range []struct {
		set    bool
		origin *Origin
	}{
		{l.kind.set, &l.kind.origin},
		{l.ackTimeout.set, &l.ackTimeout.origin},
		{l.replyTimeout.set, &l.replyTimeout.origin},
		{l.deadline.set, &l.deadline.origin},
		{l.ttl.set, &l.ttl.origin},
		{l.attempts.set, &l.attempts.origin},
		{l.initial.set, &l.initial.origin},
		{l.largest.set, &l.largest.origin},
		{l.multiplier.set, &l.multiplier.origin},
		{l.codes.set, &l.codes.origin},
		{l.idempotency.set, &l.idempotency.origin},
		{l.order.set, &l.order.origin},
		{l.handlerTimeout.set, &l.handlerTimeout.origin},
		{l.resume.set, &l.resume.origin},
		{l.contentType.set, &l.contentType.origin},
	} {
		if at.set {
			origins = append(origins, *at.origin)
		}
	}
	return origins
}

// layerReader reads one ExchangeOptions message.
type layerReader struct {
	c       *checker
	s       *source
	at      path
	least   int
	element string
	from    string
}

func (r layerReader) pos(steps ...int32) Position {
	return r.s.at(r.at.child(steps...), r.least, r.element)
}

func set[T any](r layerReader, v T, option string, steps ...int32) value[T] {
	at := r.at.child(steps...)
	return value[T]{v: v, set: true, origin: Origin{
		Option:   option,
		Position: r.s.at(at, r.least, r.element),
		Path:     protoreflect.SourcePath(at),
		Default:  r.from,
	}}
}

func (r layerReader) read(o *optionspb.ExchangeOptions) layer {
	var l layer
	if o == nil {
		return l
	}
	if o.GetType() != 0 && optionspb.ExchangeOptions_Type_name[int32(o.GetType())] != "" {
		l.kind = set(r, o.GetType(), "type", 1)
	}
	if o.GetOrder() != 0 && optionspb.ExchangeOptions_Order_name[int32(o.GetOrder())] != "" {
		l.order = set(r, o.GetOrder(), "order", 8)
	}
	if o.GetResume() != 0 && optionspb.ExchangeOptions_Resume_name[int32(o.GetResume())] != "" {
		l.resume = set(r, o.GetResume(), "resume", 11)
	}
	if o.GetContentType() != "" {
		l.contentType = r.contentType(o.GetContentType())
	}
	l.ackTimeout = r.duration("ack_timeout", o.GetAckTimeout(), false, 2)
	l.replyTimeout = r.duration("reply_timeout", o.GetReplyTimeout(), true, 3)
	l.deadline = r.duration("deadline", o.GetDeadline(), false, 4)
	l.ttl = r.duration("ttl", o.GetTtl(), true, 5)
	l.handlerTimeout = r.duration("handler_timeout", o.GetHandlerTimeout(), true, 9)
	r.retry(&l, o.GetRetry())
	if o.GetIdempotency() != nil {
		l.idempotency = r.idempotency(o.GetIdempotency())
	}
	l.skip = o.GetSkip()
	if l.skip && r.from != "" {
		r.c.report(r.pos(10), "set skip on each RPC that is to be left out", "skip is not a default that %s can give", r.element)
	}
	return l
}

// shortest is the finest step of the protocol's clocks; longest keeps sums of times far from overflow.
const (
	shortest = time.Millisecond
	longest  = 10 * 365 * 24 * time.Hour
)

// duration reads a duration. Zero is "no limit" where it is allowed.
func (r layerReader) duration(name string, d *durationpb.Duration, zero bool, steps ...int32) value[time.Duration] {
	if d == nil {
		return value[time.Duration]{}
	}
	pos := r.pos(steps...)
	problem := ""
	v := d.AsDuration()
	switch {
	case d.CheckValid() != nil:
		problem = fmt.Sprintf("has %d seconds and %d nanoseconds, which is not a duration", d.GetSeconds(), d.GetNanos())
	case v < 0:
		problem = fmt.Sprintf("is negative (%v)", v)
	case v == 0 && zero:
		return set(r, v, option(name), steps...)
	case v == 0:
		problem = "is 0"
	case v < shortest:
		problem = fmt.Sprintf("is %v, less than %v", v, shortest)
	case v > longest || d.GetSeconds() > int64(longest/time.Second):
		problem = fmt.Sprintf("is %d seconds, more than ten years", d.GetSeconds())
	default:
		return set(r, v, option(name), steps...)
	}
	fix := "write at least {nanos: 1000000}, or leave it out"
	switch {
	case v > longest:
		fix = "write a shorter duration, or leave it out"
	case zero:
		fix = "write at least {nanos: 1000000}, or 0 for no limit"
	}
	r.c.report(pos, fix, "%s of %s %s", name, r.element, problem)
	return value[time.Duration]{}
}

// option returns the full name of a duration's option.
func option(name string) string {
	if strings.HasSuffix(name, "_backoff") {
		return "retry." + name
	}
	return name
}

func (r layerReader) retry(l *layer, o *optionspb.RetryOptions) {
	if o == nil {
		return
	}
	if o.MaxAttempts != nil {
		if n := o.GetMaxAttempts(); n < 1 {
			r.c.report(r.pos(6, 1), "write 1 for a single attempt, or leave it out for the default", "max_attempts of %s is %d, but the first attempt counts", r.element, n)
		} else {
			l.attempts = set(r, int(n), "retry.max_attempts", 6, 1)
		}
	}
	l.initial = r.duration("initial_backoff", o.GetInitialBackoff(), false, 6, 2)
	l.largest = r.duration("max_backoff", o.GetMaxBackoff(), false, 6, 3)
	if o.Multiplier != nil {
		if f := o.GetMultiplier(); math.IsNaN(f) || f < 1 || f > 1000 {
			r.c.report(r.pos(6, 4), "write 1 for equal waits, 2 to double them", "multiplier of %s is %v, not between 1 and 1000", r.element, f)
		} else {
			l.multiplier = set(r, f, "retry.multiplier", 6, 4)
		}
	}
	if len(o.GetCodes()) > 0 {
		l.codes = r.codes(o.GetCodes())
	}
}

func (r layerReader) codes(names []string) value[[]ack.Code] {
	known := make([]string, 0, len(commonpb.ErrorCode_name))
	for n := range int32(100) {
		if name, ok := commonpb.ErrorCode_name[n]; ok && n != 0 {
			known = append(known, name)
		}
	}
	first := make(map[string]Position, len(names))
	var codes []ack.Code
	for i, name := range names {
		pos := r.pos(6, 5, int32(i))
		n := commonpb.ErrorCode_value[name]
		if n == 0 {
			r.c.report(pos, didYouMean(name, known, "use one of "+strings.Join(known, ", ")), "retry code %q of %s is not an error code of the protocol", name, r.element)
			continue
		}
		if at, ok := first[name]; ok {
			r.c.report(pos, "leave one of them out", "retry code %s of %s is there twice, first at %v", name, r.element, at)
			continue
		}
		first[name] = pos
		codes = append(codes, ack.Code(n))
	}
	return set(r, codes, "retry.codes", 6, 5)
}

func (r layerReader) idempotency(o *optionspb.IdempotencyOptions) value[idempotency] {
	none := value[idempotency]{}
	switch k := o.GetKey().(type) {
	case *optionspb.IdempotencyOptions_EachCall:
		if !k.EachCall {
			r.c.report(r.pos(7, 1), "write each_call: true, or leave it out", "each_call of %s is false, which says nothing", r.element)
			return none
		}
		return set(r, idempotency{eachCall: true}, "idempotency", 7, 1)
	case *optionspb.IdempotencyOptions_WholePayload:
		if !k.WholePayload {
			r.c.report(r.pos(7, 2), "write each_call: true, or leave it out", "whole_payload of %s is false, which says nothing", r.element)
			return none
		}
		return set(r, idempotency{wholePayload: true}, "idempotency", 7, 2)
	case *optionspb.IdempotencyOptions_Fields:
		v := idempotency{}
		first := make(map[string]Position)
		for i, p := range k.Fields.GetPath() {
			pos := r.pos(7, 3, 1, int32(i))
			if at, ok := first[p]; ok {
				r.c.report(pos, "leave one of them out", "idempotency field %q of %s is there twice, first at %v", p, r.element, at)
				continue
			}
			first[p] = pos
			v.paths, v.at = append(v.paths, p), append(v.at, pos)
		}
		if len(v.paths) == 0 {
			r.c.report(r.pos(7, 3), "name at least one field in path, or write whole_payload: true", "idempotency fields of %s are empty", r.element)
			return none
		}
		return set(r, v, "idempotency", 7, 3)
	default:
		r.c.report(r.pos(7), "set each_call, whole_payload or fields, or leave it out", "idempotency of %s is empty", r.element)
		return none
	}
}

// contentType reads a content type for foreign peers. It must be one that agents can read: of the parameters of MIME they
// take no escapes, and no parameter twice.
func (r layerReader) contentType(s string) value[string] {
	problem, fix := "", `write "application/json", "application/protobuf", or a type that ends in +json or +protobuf`
	_, params, err := mime.ParseMediaType(s)
	_, runtimeErr := envelope.ParseContentType(s)
	var unreadable *envelope.ContentTypeError
	switch {
	case errors.As(runtimeErr, &unreadable):
		problem = unreadable.Problem
	case err != nil || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }):
		problem = "is not a media type"
	case len(s) > maxNameLength:
		problem = fmt.Sprintf("has %d bytes, more than %d", len(s), maxNameLength)
	case !hasFormat(s):
		problem = "is neither JSON nor protobuf"
	default:
		for _, ours := range []string{"message", "method", "kind", "to"} {
			if _, ok := params[ours]; ok {
				problem = fmt.Sprintf("has the parameter %q, with which agents of ours name exchanges and recipients", ours)
				fix = "leave the parameter out"
			}
		}
	}
	if problem != "" {
		r.c.report(r.pos(12), fix, "content_type %q of %s %s", s, r.element, problem)
		return value[string]{}
	}
	return set(r, s, "content_type", 12)
}

func hasFormat(contentType string) bool {
	_, ok := exchange.FormatOf(contentType)
	return ok
}

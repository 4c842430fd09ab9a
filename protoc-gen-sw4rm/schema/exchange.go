package schema

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/compiler/protogen"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// maxNameLength is the longest name of an exchange on the wire.
const maxNameLength = 256

// exchange returns nil after reporting an RPC that is no exchange.
func (c *checker) exchange(s *source, m *protogen.Method, at path, l layer) *Exchange {
	rpc := string(m.Desc.FullName())
	e := &Exchange{
		Proto:    m,
		Name:     fmt.Sprintf("%s/%s", m.Desc.Parent().FullName(), m.Desc.Name()),
		OneWay:   m.Output.Desc.FullName() == "google.protobuf.Empty",
		Request:  m.Input,
		Reply:    m.Output,
		Position: s.at(at.child(1), len(at), rpc),
	}
	if !c.unary(s, m, at) {
		return nil
	}
	if len(e.Name) > maxNameLength {
		c.report(e.Position, "shorten the package, the service or the RPC",
			"the exchange's name %q has %d bytes, but at most %d fit on the wire", e.Name, len(e.Name), maxNameLength)
	}
	c.contradictions(e, rpc, &l)
	e.Settings = Settings{
		Type:           l.kind.v,
		Order:          l.order.v,
		AckTimeout:     l.ackTimeout.pointer(),
		ReplyTimeout:   l.replyTimeout.pointer(),
		Deadline:       l.deadline.pointer(),
		TTL:            l.ttl.pointer(),
		HandlerTimeout: l.handlerTimeout.pointer(),
		MaxAttempts:    l.attempts.pointer(),
		InitialBackoff: l.initial.pointer(),
		MaxBackoff:     l.largest.pointer(),
		Multiplier:     l.multiplier.pointer(),
		RetryOn:        l.codes.v,
		WholePayload:   l.idempotency.v.wholePayload,
		Keys:           c.keys(l.idempotency.v, rpc, m.Input),
	}
	return e
}

// unary reports streams.
func (c *checker) unary(s *source, m *protogen.Method, at path) bool {
	rpc := string(m.Desc.FullName())
	const fix = ", set skip: true in its exchange option, or move it to another service"
	switch {
	case m.Desc.IsStreamingClient():
		kind := "client stream"
		if m.Desc.IsStreamingServer() {
			kind = "bidirectional stream"
		}
		c.report(s.at(at.child(5), len(at), rpc), "take one request"+fix, "%s is a %s, which is not an exchange between agents", rpc, kind)
	case m.Desc.IsStreamingServer():
		c.report(s.at(at.child(6), len(at), rpc), "return one reply"+fix, "%s is a server stream, and streaming exchanges are not supported by this version", rpc)
	default:
		return true
	}
	return false
}

// contradictions reports settings that cannot hold together, and removes inherited ones that do not concern e.
func (c *checker) contradictions(e *Exchange, rpc string, l *layer) {
	switch t := l.kind.v; t {
	case optionspb.ExchangeOptions_NOTIFICATION, optionspb.ExchangeOptions_CONTROL:
		if !e.OneWay {
			c.report(l.kind.pos, "return google.protobuf.Empty, or use type DATA",
				"exchange type %v%s has no reply, but %s returns %s", t, l.kind.origin(), rpc, e.Reply.Desc.FullName())
		}
	}
	if e.OneWay && l.replyTimeout.set {
		if l.replyTimeout.from == "" {
			c.report(l.replyTimeout.pos, "leave it out, or use deadline",
				"%s has a reply_timeout, but returns google.protobuf.Empty and so has no reply", rpc)
		}
		l.replyTimeout = value[time.Duration]{}
	}
	deadline, what := l.deadline.v, "the deadline"
	if !l.deadline.set {
		deadline, what = exchange.DefaultDeadline, "the default deadline"
	}
	for _, t := range []struct {
		name string
		v    value[time.Duration]
	}{{"ack_timeout", l.ackTimeout}, {"reply_timeout", l.replyTimeout}} {
		if t.v.set && t.v.v > deadline {
			c.report(nearest(t.v, l.deadline), fmt.Sprintf("write at most %s, or a longer deadline", span(deadline)),
				"%s %s%s of %s is longer than %s %s%s", t.name, span(t.v.v), t.v.origin(), rpc, what, span(deadline), l.deadline.origin())
		}
	}
	c.backoff(rpc, l)
}

func (c *checker) backoff(rpc string, l *layer) {
	if !l.initial.set && !l.largest.set {
		return
	}
	initial, largest := l.initial.v, l.largest.v
	first, last := "initial_backoff", "max_backoff"
	if !l.initial.set {
		initial, first = exchange.DefaultInitialBackoff, "the default initial_backoff"
	}
	if !l.largest.set {
		largest, last = exchange.DefaultMaxBackoff, "the default max_backoff"
	}
	if largest < initial {
		c.report(nearest(l.largest, l.initial), "set both, max_backoff to no less than initial_backoff",
			"%s %s%s of %s is longer than %s %s%s", first, span(initial), l.initial.origin(), rpc, last, span(largest), l.largest.origin())
	}
}

// nearest returns the place of the setting that is closer to the RPC, of v when both are as close. One of them is set.
func nearest(v, w value[time.Duration]) Position {
	if !v.set || w.set && v.from != "" && w.from == "" {
		return w.pos
	}
	return v.pos
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

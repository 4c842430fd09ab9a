package schema

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/descriptorpb"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// subject is what settings belong to: an RPC, or a message that is sent by itself.
type subject struct {
	name    string
	kind    Kind
	payload bool
	request *protogen.Message
	// reply says what the reply is, or why there is none, in a phrase that begins with a verb; replyAt is where the schema says it.
	reply   string
	replyAt Position
	// level is the standard option idempotency_level.
	level   descriptorpb.MethodOptions_IdempotencyLevel
	levelAt Position
}

// of names the subject for a finding on two settings, unless neither is its own: the finding is then the same for all
// that inherit them.
func (on subject) of(v, w value[time.Duration]) string {
	if (!v.set || v.inherited()) && (!w.set || w.inherited()) {
		return ""
	}
	return " of " + on.name
}

// settings reports settings that cannot hold together, and returns those that concern the subject.
func (c *checker) settings(on subject, l *layer) Settings {
	c.typeFits(on, l)
	c.replyFits(on, l)
	c.timesFit(on, l)
	c.backoffFits(on, l)
	c.levelFits(on, l)
	return Settings{
		Type:           l.kind.v,
		Order:          l.order.v,
		Resume:         l.resume.v,
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
		Keys:           c.keys(l.idempotency.v, on.name, on.request),
		ContentType:    l.contentType.v,
		Origins:        l.origins(),
	}
}

// typeFits reports message types that want a reply, or no reply.
func (c *checker) typeFits(on subject, l *layer) {
	t, pos := l.kind.v, l.kind.origin.Position
	switch t {
	case optionspb.ExchangeOptions_NOTIFICATION, optionspb.ExchangeOptions_CONTROL:
		if on.kind != OneWay {
			c.report(pos, "return "+emptyName+", or use type DATA",
				"exchange type %v%s has no reply, but %s %s (at %v)", t, l.kind.note(pos), on.name, on.reply, on.replyAt)
		}
	case optionspb.ExchangeOptions_TOOL_CALL:
		if on.kind == OneWay {
			fix := "return the tool's result, or use type DATA"
			if on.payload {
				fix = "give the message to an RPC that returns the tool's result, or use type DATA"
			}
			c.report(pos, fix,
				"exchange type %v%s has a result, but %s %s (at %v)", t, l.kind.note(pos), on.name, on.reply, on.replyAt)
		}
	}
}

// replyFits reports settings of replies where there are none, and drops them where they are only inherited.
func (c *checker) replyFits(on subject, l *layer) {
	if on.kind == OneWay && l.replyTimeout.set {
		if pos := l.replyTimeout.origin.Position; !l.replyTimeout.inherited() {
			c.report(pos, "leave it out, or use deadline", "%s has a reply_timeout, but %s and so has no reply (at %v)", on.name, on.reply, on.replyAt)
		}
		l.replyTimeout = value[time.Duration]{}
	}
	if on.kind != Stream && l.resume.set {
		if pos := l.resume.origin.Position; !l.resume.inherited() {
			c.report(pos, "leave it out, or return a stream", "%s has resume: %v, but %s and so has no frames (at %v)", on.name, l.resume.v, on.reply, on.replyAt)
		}
		l.resume = value[optionspb.ExchangeOptions_Resume]{}
	}
}

// timesFit reports times that are longer than what they are part of.
func (c *checker) timesFit(on subject, l *layer) {
	deadline, what := l.deadline.v, "the deadline"
	if !l.deadline.set {
		deadline, what = exchange.DefaultDeadline, "the default deadline"
	}
	for _, v := range []value[time.Duration]{l.ackTimeout, l.replyTimeout} {
		if v.set && v.v > deadline {
			pos := nearest(v, l.deadline)
			c.report(pos, fmt.Sprintf("write at most %s, or a longer deadline", span(deadline)),
				"%s %s%s%s is longer than %s %s%s", v.origin.Option, span(v.v), v.note(pos), on.of(v, l.deadline), what, span(deadline), l.deadline.note(pos))
		}
	}
	single := l.attempts.set && l.attempts.v == 1
	if l.initial.set && l.initial.v > deadline && !single {
		pos := nearest(l.initial, l.deadline)
		c.report(pos, fmt.Sprintf("write at most %s, or max_attempts: 1", span(deadline)),
			"initial_backoff %s%s%s is longer than %s %s%s, so that there is never a second attempt",
			span(l.initial.v), l.initial.note(pos), on.of(l.initial, l.deadline), what, span(deadline), l.deadline.note(pos))
	}
}

func (c *checker) backoffFits(on subject, l *layer) {
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
		pos := nearest(l.largest, l.initial)
		c.report(pos, "set both, max_backoff to no less than initial_backoff",
			"%s %s%s%s is longer than %s %s%s", first, span(initial), l.initial.note(pos), on.of(l.initial, l.largest), last, span(largest), l.largest.note(pos))
	}
}

// levelFits compares the standard option idempotency_level with ours.
func (c *checker) levelFits(on subject, l *layer) {
	switch on.level {
	case descriptorpb.MethodOptions_NO_SIDE_EFFECTS:
		steers := l.kind.v == optionspb.ExchangeOptions_CONTROL || l.kind.v == optionspb.ExchangeOptions_WORKTREE_CONTROL
		switch {
		case steers:
			pos := l.kind.origin.Position
			c.report(pos, "leave idempotency_level out, or use type DATA",
				"exchange type %v%s of %s is for its effect, but idempotency_level is %v (at %v)", l.kind.v, l.kind.note(pos), on.name, on.level, on.levelAt)
		case on.kind == OneWay:
			c.report(on.levelAt, "leave idempotency_level out, or return a reply",
				"idempotency_level of %s is %v, but it %s and so has no use without an effect (at %v)", on.name, on.level, on.reply, on.replyAt)
		}
	case descriptorpb.MethodOptions_IDEMPOTENT:
		if l.idempotency.v.eachCall && !l.idempotency.inherited() {
			c.report(l.idempotency.origin.Position, "leave out one of them",
				"%s has each_call, which makes a repeated request another operation, but idempotency_level is %v (at %v)", on.name, on.level, on.levelAt)
		}
	}
}

// nearest returns the place of the setting that is closer to the RPC, of v when both are as close. One of them is set.
func nearest[V, W any](v value[V], w value[W]) Position {
	if !v.set || w.set && v.inherited() && !w.inherited() {
		return w.origin.Position
	}
	return v.origin.Position
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

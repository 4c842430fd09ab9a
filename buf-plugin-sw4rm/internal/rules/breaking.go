package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"buf.build/go/bufplugin/check"
	"google.golang.org/protobuf/reflect/protoreflect"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// breakingRule compares an exchange with what it was.
type breakingRule struct {
	id, purpose string
	// wire tells that messages are lost or refused.
	wire bool
	// compare returns nil when nothing that matters has changed.
	compare func(now, before *exchange) *change
	// gone looks at the exchanges that are no longer there; it is used when compare is nil.
	gone func(in *input, before *exchange) finding
}

// change is what matters of a change: what it was and is, with the consequence and the remedy.
type change struct {
	// subject is what has changed, the exchange when it is empty.
	subject     string
	now, before place
	text, fix   string
}

func (r breakingRule) spec() *check.RuleSpec {
	s := &check.RuleSpec{ID: r.id, Purpose: r.purpose, Type: check.RuleTypeBreaking, Default: true, CategoryIDs: []string{All}}
	if r.wire {
		s.CategoryIDs = append(s.CategoryIDs, Wire)
	}
	s.Handler = handler(func(in *input, report func(finding)) {
		for _, before := range in.before.exchanges {
			now, ok := in.now.byName[before.name]
			switch {
			case ok && r.compare != nil:
				if c := r.compare(now, before); c != nil {
					report(finding{subject: cmp.Or(c.subject, before.element), text: c.text + ". Fix: " + c.fix, at: c.now, before: c.before})
				}
			case !ok && r.gone != nil && !in.now.faulty(before.file.path()):
				report(r.gone(in, before))
			}
		}
	})
	return s
}

func breakingRules() []breakingRule {
	return []breakingRule{
		{
			id:      "SW4RM_EXCHANGE_NO_DELETE",
			purpose: "Checks that exchanges are not deleted, renamed, moved to another package, skipped or left without their annotation.",
			wire:    true,
			gone:    exchangeGone,
		},
		{
			id:      "SW4RM_EXCHANGE_SHAPE_SAME",
			purpose: "Checks that an exchange stays one way, with one reply, or with a streamed reply.",
			wire:    true,
			compare: shapeSame,
		},
		{
			id:      "SW4RM_EXCHANGE_PAYLOAD_SAME",
			purpose: "Checks that the messages of an exchange keep their full names, which travel with them.",
			wire:    true,
			compare: payloadSame,
		},
		{
			id:      "SW4RM_MESSAGE_TYPE_SAME",
			purpose: "Checks that an exchange keeps its message type.",
			wire:    true,
			compare: messageTypeSame,
		},
		{
			id:      "SW4RM_CONTENT_TYPE_SAME",
			purpose: "Checks that an exchange keeps its content type.",
			wire:    true,
			compare: contentTypeSame,
		},
		{
			id:      "SW4RM_CAPABILITY_SAME",
			purpose: "Checks that a service keeps the capability under which its agents are reached.",
			wire:    true,
			compare: capabilitySame,
		},
		{
			id:      "SW4RM_IDEMPOTENCY_KIND_SAME",
			purpose: "Checks that what makes two calls the same operation stays each call, the whole payload, or fields.",
			compare: idempotencyKindSame,
		},
		{
			id:      "SW4RM_IDEMPOTENCY_FIELDS_SAME",
			purpose: "Checks that the key keeps its fields, with their numbers and types.",
			compare: idempotencyFieldsSame,
		},
		{
			id:      "SW4RM_TTL_NO_DELETE",
			purpose: "Checks that messages that expire go on to expire.",
			compare: ttlNoDelete,
		},
		{
			id:      "SW4RM_ORDER_NO_WEAKEN",
			purpose: "Checks that handlers go on to start in the order that was promised.",
			compare: orderNoWeaken,
		},
		{
			id:      "SW4RM_RESUME_SAME",
			purpose: "Checks that a streamed reply goes on in the same way after its handler was stopped.",
			compare: resumeSame,
		},
	}
}

func shapeSame(now, before *exchange) *change {
	if now.kind == before.kind {
		return nil
	}
	return &change{
		now:    now.replyPlace(),
		before: before.replyPlace(),
		text: fmt.Sprintf("was a %v and is a %v: agents of the other version wait for a reply that does not come, or get one that they cannot read",
			before.kind, now.kind),
		fix: "add an RPC with another name, and keep this one until no message of it is stored",
	}
}

// replyPlace is where the schema says what the reply is.
func (e *exchange) replyPlace() place {
	switch {
	case e.service == nil:
		return e.declared()
	case e.kind == schema.Stream:
		return e.file.nearest(append(e.at[:len(e.at):len(e.at)], 6), len(e.at))
	default:
		return e.file.nearest(append(e.at[:len(e.at):len(e.at)], 3), len(e.at))
	}
}

func payloadSame(now, before *exchange) *change {
	was, is := before.request.Desc.FullName(), now.request.Desc.FullName()
	if was != is {
		return &change{
			now:    now.requestPlace(),
			before: before.requestPlace(),
			text:   fmt.Sprintf("the request was %s and is %s: agents of the other version refuse it as VALIDATION_ERROR", was, is),
			fix:    "keep the message's name, or add an RPC with another name",
		}
	}
	if now.kind != before.kind || now.replyName() == before.replyName() {
		return nil
	}
	return &change{
		now:    now.replyPlace(),
		before: before.replyPlace(),
		text:   fmt.Sprintf("the reply was %s and is %s: agents of the other version cannot read it", before.replyName(), now.replyName()),
		fix:    "keep the message's name, or add an RPC with another name",
	}
}

func (e *exchange) requestPlace() place {
	if e.service == nil {
		return e.declared()
	}
	return e.file.nearest(append(e.at[:len(e.at):len(e.at)], 2), len(e.at))
}

func messageTypeSame(now, before *exchange) *change {
	if now.messageType() == before.messageType() {
		return nil
	}
	return &change{
		now:    now.option("type"),
		before: before.option("type"),
		text: fmt.Sprintf("the message type was %v and is %v, which agents of the other version do not expect",
			before.messageType(), now.messageType()),
		fix: fmt.Sprintf("write type: %v, or add an exchange with another name", before.messageType()),
	}
}

func contentTypeSame(now, before *exchange) *change {
	was, is := before.settings.ContentType, now.settings.ContentType
	if was == is {
		return nil
	}
	fix := fmt.Sprintf("write content_type: %q", was)
	if was == "" {
		fix = "leave content_type out"
	}
	return &change{
		now:    now.option("content_type"),
		before: before.option("content_type"),
		text:   fmt.Sprintf("the content type was %s and is %s, by which peers of the other version do not know the exchange", contentType(was), contentType(is)),
		fix:    fix + ", or add an exchange with another name",
	}
}

func contentType(s string) string {
	if s == "" {
		return "the one that names the exchange"
	}
	return fmt.Sprintf("%q", s)
}

func capabilitySame(now, before *exchange) *change {
	if now.service == nil || before.service == nil || now.service.address() == before.service.address() {
		return nil
	}
	was := before.service.address()
	return &change{
		subject: before.service.Name,
		now:     now.service.capability(),
		before:  before.service.capability(),
		text: fmt.Sprintf("the capability was %q and is %q: what is queued for the old one, or still sent to it, is not handled by new agents",
			was, now.service.address()),
		fix: fmt.Sprintf("write capability: %q", was),
	}
}

func idempotencyKindSame(now, before *exchange) *change {
	was, is := before.identity(), now.identity()
	if was == is {
		return nil
	}
	return &change{
		now:    now.option("idempotency"),
		before: before.option("idempotency"),
		text:   fmt.Sprintf("the same operation was known by %s and is by %s: %s", identityText(was), identityText(is), identityEffect(was, is)),
		fix:    "go back to what it was, or add an exchange with another name",
	}
}

func identityText(kind string) string {
	switch kind {
	case "whole_payload":
		return "its whole payload"
	case "fields":
		return "fields"
	default:
		return "its call alone"
	}
}

func identityEffect(was, is string) string {
	switch {
	case is == "each_call":
		return "what callers repeat is now done again"
	case was == "each_call":
		return "calls that were operations of their own now get the outcome of an earlier one"
	default:
		return "while both versions run, what one has done is done again for the other"
	}
}

func idempotencyFieldsSame(now, before *exchange) *change {
	if now.identity() != "fields" || before.identity() != "fields" {
		return nil
	}
	was, is := keyFields(before), keyFields(now)
	if slices.EqualFunc(was, is, keyField.same) {
		return nil
	}
	return &change{
		now:    now.option("idempotency"),
		before: before.option("idempotency"),
		text: fmt.Sprintf("the key was %s and is %s: what was done under the old key is done again, and other calls may get its outcome",
			fieldsText(was), fieldsText(is)),
		fix: "keep the key's fields with their numbers and types, or add an exchange with another name",
	}
}

// keyField is what a key holds of a field. The names of fields and the order in which the schema lists them do not matter.
type keyField struct {
	path string
	// numbers lead to the field.
	numbers []protoreflect.FieldNumber
	// encoding is the kind under which the value is written.
	encoding string
}

func (f keyField) same(g keyField) bool {
	return slices.Equal(f.numbers, g.numbers) && f.encoding == g.encoding
}

func keyFields(e *exchange) []keyField {
	fields := make([]keyField, 0, len(e.settings.Keys))
	for _, k := range e.settings.Keys {
		f := keyField{path: fieldPath(k), encoding: encodingOf(k.Field().Desc.Kind())}
		for _, step := range k.Path {
			f.numbers = append(f.numbers, step.Desc.Number())
		}
		fields = append(fields, f)
	}
	return fields
}

// encodingOf names the method of the runtime's Key that writes a value.
func encodingOf(k protoreflect.Kind) string {
	switch k {
	case protoreflect.StringKind:
		return "string"
	case protoreflect.BytesKind:
		return "bytes"
	case protoreflect.BoolKind:
		return "bool"
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return "unsigned integer"
	default:
		return "integer"
	}
}

func fieldsText(fields []keyField) string {
	texts := make([]string, len(fields))
	for i, f := range fields {
		numbers := make([]string, len(f.numbers))
		for j, n := range f.numbers {
			numbers[j] = fmt.Sprint(n)
		}
		texts[i] = fmt.Sprintf("%s (%s, %s)", f.path, strings.Join(numbers, "."), f.encoding)
	}
	return strings.Join(texts, ", ")
}

func ttlNoDelete(now, before *exchange) *change {
	if before.ttl() == 0 || now.ttl() > 0 {
		return nil
	}
	return &change{
		now:    now.option("ttl"),
		before: before.option("ttl"),
		text:   fmt.Sprintf("the ttl was %s and is none: handlers now start for messages that had expired", span(before.ttl())),
		fix:    "set a ttl",
	}
}

func orderNoWeaken(now, before *exchange) *change {
	// The default depends on the shape, of which another rule speaks.
	if now.kind != before.kind || cmp.Compare(now.order(), before.order()) >= 0 {
		return nil
	}
	return &change{
		now:    now.option("order"),
		before: before.option("order"),
		text:   fmt.Sprintf("the order was %v and is %v: handlers may start before those of messages that were sent earlier", before.order(), now.order()),
		fix:    fmt.Sprintf("write order: %v", before.order()),
	}
}

func resumeSame(now, before *exchange) *change {
	if now.kind != schema.Stream || before.kind != schema.Stream || now.resume() == before.resume() {
		return nil
	}
	effect := "handlers that send all frames again make readers get them twice"
	if now.resume() == optionspb.ExchangeOptions_RESTART {
		effect = "readers that count on each frame once get them again, after exchange.ErrRestarted"
	}
	return &change{
		now:    now.option("resume"),
		before: before.option("resume"),
		text:   fmt.Sprintf("resume was %v and is %v: %s", before.resume(), now.resume(), effect),
		fix:    fmt.Sprintf("write resume: %v, or add an RPC with another name", before.resume()),
	}
}

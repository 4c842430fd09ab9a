package rules

import (
	"buf.build/go/bufplugin/check"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// lintRule looks at one exchange after the other, or at the whole schema.
type lintRule struct {
	id, purpose string
	// profile keeps a rule out of what is checked by default.
	profile bool
	// each returns what is wrong with an exchange.
	each func(*exchange) []remark
	// whole looks at all exchanges together; it is used when each is nil.
	whole func(*snapshot, func(finding))
}

// remark is what is wrong with an exchange, with the remedy.
type remark struct {
	at        place
	text, fix string
}

func (r lintRule) spec() *check.RuleSpec {
	s := &check.RuleSpec{ID: r.id, Purpose: r.purpose, Type: check.RuleTypeLint, Default: true, CategoryIDs: []string{All}}
	if r.profile {
		s.Default, s.CategoryIDs = false, []string{Profile}
	}
	s.Handler = handler(func(in *input, report func(finding)) {
		if r.each == nil {
			r.whole(in.now, report)
			return
		}
		for _, e := range in.now.exchanges {
			for _, m := range r.each(e) {
				report(finding{subject: e.element, text: m.text + ". Fix: " + m.fix, at: m.at})
			}
		}
	})
	return s
}

func lintRules() []lintRule {
	return []lintRule{
		{
			id:      "SW4RM_RETRY_HANDLER_TIMEOUT",
			purpose: "Checks that exchanges with a retry policy have a handler timeout.",
			each:    retryHandlerTimeout,
		},
		{
			id:      "SW4RM_RETRY_MAX_BACKOFF",
			purpose: "Checks that the longest wait before another attempt is shorter than the deadline.",
			each:    retryMaxBackoff,
		},
		{
			id:      "SW4RM_RETRY_MAX_ATTEMPTS",
			purpose: "Checks that the attempts that the schema asks for fit into the deadline.",
			each:    retryMaxAttempts,
		},
		{
			id:      "SW4RM_RETRY_UNUSED",
			purpose: "Checks that exchanges with a single attempt say nothing of further ones.",
			each:    retryUnused,
		},
		{
			id:      "SW4RM_RETRY_CODE_FINAL",
			purpose: "Checks that no error is retried that another attempt meets again.",
			each:    retryCodeFinal,
		},
		{
			id:      "SW4RM_TTL_REPLY_TIMEOUT",
			purpose: "Checks that a message does not expire before its caller stops to wait.",
			each:    ttlReplyTimeout,
		},
		{
			id:      "SW4RM_TTL_DEADLINE",
			purpose: "Checks that no handler may start after the deadline.",
			each:    ttlDeadline,
		},
		{
			id:      "SW4RM_ACK_TIMEOUT_DEADLINE",
			purpose: "Checks that the sender asks for a lost message before the deadline.",
			each:    ackTimeoutDeadline,
		},
		{
			id:      "SW4RM_ACK_TIMEOUT_REPLY_TIMEOUT",
			purpose: "Checks that the sender asks for a lost message before its caller stops to wait.",
			each:    ackTimeoutReplyTimeout,
		},
		{
			id:      "SW4RM_HANDLER_TIMEOUT_REPLY_TIMEOUT",
			purpose: "Checks that a handler does not work on after its caller stopped to wait.",
			each:    handlerTimeoutReplyTimeout,
		},
		{
			id:      "SW4RM_HANDLER_TIMEOUT_DEADLINE",
			purpose: "Checks that a handler does not work on after the deadline.",
			each:    handlerTimeoutDeadline,
		},
		{
			id:      "SW4RM_ORDER_HANDLER_TIMEOUT",
			purpose: "Checks that exchanges with an order have a handler timeout.",
			each:    orderHandlerTimeout,
		},
		{
			id:      "SW4RM_STREAM_CONTENT_KEY",
			purpose: "Checks that streamed replies have no content key.",
			each:    streamContentKey,
		},
		{
			id:      "SW4RM_WHOLE_PAYLOAD_STABLE",
			purpose: "Checks that equal payloads have equal encodings where these are the key.",
			each:    wholePayloadStable,
		},
		{
			id:      "SW4RM_WHOLE_PAYLOAD_EMPTY",
			purpose: "Checks that a payload that is the key has fields.",
			each:    wholePayloadEmpty,
		},
		{
			id:      "SW4RM_KEY_FIELDS_COARSE",
			purpose: "Checks that the key's fields can tell more than a few operations apart.",
			each:    keyFieldsCoarse,
		},
		{
			id:      "SW4RM_CAPABILITY_UNIQUE",
			purpose: "Checks that services do not share a capability.",
			whole:   capabilityUnique,
		},
		{
			id:      "SW4RM_TIMEOUT_PROFILE",
			purpose: "Checks that tool calls and questions to humans are awaited as long as the protocol recommends (SW4-002).",
			profile: true,
			each:    timeoutProfile,
		},
	}
}

// one returns the remark if it applies.
func one(applies bool, at func() remark) []remark {
	if !applies {
		return nil
	}
	return []remark{at()}
}

// hasReply tells whether a caller waits for something besides the outcome.
func (e *exchange) hasReply() bool { return e.kind != schema.OneWay }

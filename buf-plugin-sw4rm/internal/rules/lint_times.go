package rules

import (
	"fmt"
	"slices"
	"time"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	runtime "github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// retryOptions are the options inside retry.
func retryOptions() []string {
	return []string{"retry.max_attempts", "retry.initial_backoff", "retry.max_backoff", "retry.multiplier", "retry.codes"}
}

func retryHandlerTimeout(e *exchange) []remark {
	applies := e.wrote(retryOptions()...) && e.attempts() > 1 && e.handlerTimeout() == 0
	return one(applies, func() remark {
		return remark{
			at:   e.option(retryOptions()...),
			text: "failed attempts are repeated, but without a handler_timeout a handler that hangs never fails",
			fix:  "set handler_timeout to more than the handler needs, or leave retry out",
		}
	})
}

func retryMaxBackoff(e *exchange) []remark {
	largest := or(e.settings.MaxBackoff, runtime.DefaultMaxBackoff)
	applies := e.settings.MaxBackoff != nil && e.attempts() > 1 && largest > e.deadline()
	return one(applies, func() remark {
		return remark{
			at:   e.option("retry.max_backoff"),
			text: fmt.Sprintf("%s is longer than %s, so that no attempt follows such a wait", e.value("retry.max_backoff", largest), e.value("deadline", e.deadline())),
			fix:  fmt.Sprintf("write less than %s, or a longer deadline", span(e.deadline())),
		}
	})
}

func retryMaxAttempts(e *exchange) []remark {
	if e.settings.MaxAttempts == nil {
		return nil
	}
	fit, waited := e.attemptsWithin(e.deadline())
	return one(fit < e.attempts(), func() remark {
		return remark{
			at: e.option("retry.max_attempts"),
			text: fmt.Sprintf("%s do not fit into %s: the waits before attempt %d alone take at least %s",
				e.value("retry.max_attempts", e.attempts()), e.value("deadline", e.deadline()), fit+1, span(waited)),
			fix: fmt.Sprintf("write at most %d, shorter waits, or a longer deadline", fit),
		}
	})
}

// attemptsWithin counts the attempts that can begin before the deadline when nothing but waiting takes time and each
// wait is jittered to its half; waited is the time before the first attempt that does not fit.
func (e *exchange) attemptsWithin(deadline time.Duration) (fit int, waited time.Duration) {
	attempts := e.attempts()
	wait := or(e.settings.InitialBackoff, runtime.DefaultInitialBackoff)
	largest := max(wait, or(e.settings.MaxBackoff, runtime.DefaultMaxBackoff))
	factor := or(e.settings.Multiplier, runtime.DefaultMultiplier)
	if factor <= 1 {
		largest = wait
	}
	for fit = 1; fit < attempts; fit++ {
		if wait >= largest {
			step := max(largest/2, 1)
			left := int((deadline - waited - 1) / step) // of equal waits, those that end before the deadline
			if left >= attempts-fit {
				return attempts, 0
			}
			return fit + left, waited + time.Duration(left+1)*step
		}
		if waited += wait / 2; waited >= deadline {
			return fit, waited
		}
		// At least a nanosecond more, so that a factor close to 1 ends too; below largest there is no overflow.
		wait = time.Duration(min(float64(largest), max(float64(wait)*factor, float64(wait+1))))
		if fit >= manyAttempts {
			break
		}
	}
	return attempts, 0
}

// manyAttempts bounds the work for a schema with a huge number of slowly growing waits, of which nothing is said.
const manyAttempts = 10_000

func retryUnused(e *exchange) []remark {
	if e.settings.MaxAttempts == nil || *e.settings.MaxAttempts != 1 {
		return nil
	}
	attempts, _ := e.settings.Origin("retry.max_attempts")
	var remarks []remark
	for _, name := range retryOptions()[1:] {
		// A default may well be overridden by a single attempt.
		if o, ok := e.settings.Origin(name); ok && o.Default == attempts.Default {
			remarks = append(remarks, remark{
				at:   e.option(name),
				text: fmt.Sprintf("%s has no effect beside %s", name, e.value("retry.max_attempts", 1)),
				fix:  "leave it out, or write max_attempts of at least 2",
			})
		}
	}
	return remarks
}

func retryCodeFinal(e *exchange) []remark {
	if e.attempts() == 1 {
		return nil
	}
	var remarks []remark
	for i, code := range e.settings.RetryOn {
		if !slices.Contains(finalCodes(), code) {
			continue
		}
		remarks = append(remarks, remark{
			at:   e.inside("retry.codes", i),
			text: fmt.Sprintf("%v says that the message itself is refused or late, which another attempt does not change", code),
			fix:  "leave the code out",
		})
	}
	return remarks
}

// finalCodes are the errors that lie in the message (SW4RM acks).
func finalCodes() []ack.Code {
	return []ack.Code{
		ack.ValidationError, ack.PermissionDenied, ack.UnsupportedMessageType, ack.OversizePayload, ack.TTLExpired,
		ack.DuplicateDetected,
	}
}

func ttlReplyTimeout(e *exchange) []remark {
	ttl, reply := e.ttl(), e.replyTimeout()
	return one(e.hasReply() && ttl > 0 && ttl < reply, func() remark {
		return remark{
			at: e.option("ttl", "reply_timeout"),
			text: fmt.Sprintf("%s is shorter than %s: a request that waits for a handler expires while its caller would still wait",
				e.value("ttl", ttl), e.value("reply_timeout", reply)),
			fix: fmt.Sprintf("write a ttl of at least %s, or a reply_timeout of at most %s", span(reply), span(ttl)),
		}
	})
}

func ttlDeadline(e *exchange) []remark {
	ttl, deadline := e.ttl(), e.deadline()
	return one(ttl > deadline, func() remark {
		return remark{
			at: e.option("ttl", "deadline"),
			text: fmt.Sprintf("%s is longer than %s: a handler may start when the operation has ended as TIMED_OUT",
				e.value("ttl", ttl), e.value("deadline", deadline)),
			fix: fmt.Sprintf("write a ttl of at most %s, or a longer deadline", span(deadline)),
		}
	})
}

func ackTimeoutDeadline(e *exchange) []remark {
	wait, deadline := or(e.settings.AckTimeout, runtime.DefaultAckTimeout), e.deadline()
	return one(wait >= deadline, func() remark {
		return remark{
			at: e.option("deadline", "ack_timeout"),
			text: fmt.Sprintf("%s is not shorter than %s: the operation ends as TIMED_OUT before the sender asks what became of its message",
				e.value("ack_timeout", wait), e.value("deadline", deadline)),
			fix: fmt.Sprintf("write an ack_timeout of less than %s, or a longer deadline", span(deadline)),
		}
	})
}

func ackTimeoutReplyTimeout(e *exchange) []remark {
	wait, reply := or(e.settings.AckTimeout, 0), e.replyTimeout()
	return one(e.hasReply() && reply > 0 && wait >= reply, func() remark {
		return remark{
			at: e.option("ack_timeout", "reply_timeout"),
			text: fmt.Sprintf("%s is not shorter than %s: the caller stops to wait before the sender asks what became of its message",
				e.value("ack_timeout", wait), e.value("reply_timeout", reply)),
			fix: fmt.Sprintf("write an ack_timeout of less than %s, or a longer reply_timeout", span(reply)),
		}
	})
}

func handlerTimeoutReplyTimeout(e *exchange) []remark {
	run, reply := e.handlerTimeout(), e.replyTimeout()
	// The reply timeout of a stream starts again with each frame.
	return one(e.kind == schema.Call && reply > 0 && run > reply, func() remark {
		return remark{
			at: e.option("handler_timeout", "reply_timeout"),
			text: fmt.Sprintf("%s is longer than %s: the handler may work on when its caller has stopped to wait",
				e.value("handler_timeout", run), e.value("reply_timeout", reply)),
			fix: fmt.Sprintf("write a handler_timeout of at most %s, or a longer reply_timeout", span(reply)),
		}
	})
}

func handlerTimeoutDeadline(e *exchange) []remark {
	run, deadline := e.handlerTimeout(), e.deadline()
	return one(run > deadline, func() remark {
		return remark{
			at: e.option("handler_timeout", "deadline"),
			text: fmt.Sprintf("%s is longer than %s: the handler may work on when the operation has ended as TIMED_OUT",
				e.value("handler_timeout", run), e.value("deadline", deadline)),
			fix: fmt.Sprintf("write a handler_timeout of at most %s, or a longer deadline", span(deadline)),
		}
	})
}

func orderHandlerTimeout(e *exchange) []remark {
	applies := e.wrote("order") && e.order() != optionspb.ExchangeOptions_NONE && e.handlerTimeout() == 0
	return one(applies, func() remark {
		return remark{
			at:   e.option("order"),
			text: fmt.Sprintf("%s lets one handler start after the other, but without a handler_timeout one that hangs holds up all that follow", e.value("order", e.order())),
			fix:  "set handler_timeout to more than the handler needs, or write order: NONE",
		}
	})
}

func timeoutProfile(e *exchange) []remark {
	least, most := time.Duration(0), time.Hour
	switch e.messageType() {
	case optionspb.ExchangeOptions_TOOL_CALL:
		least = time.Second
	case optionspb.ExchangeOptions_HITL_INVOCATION:
		least = time.Minute
	default:
		return nil
	}
	reply := e.replyTimeout()
	return one(reply > 0 && (reply < least || reply > most), func() remark {
		return remark{
			at: e.option("reply_timeout", "type"),
			text: fmt.Sprintf("%s of a %v is outside of the %s to %s that the protocol recommends, to which other peers may set it",
				e.value("reply_timeout", reply), e.messageType(), span(least), span(most)),
			fix: fmt.Sprintf("write a reply_timeout from %s to %s, or 0 for none", span(least), span(most)),
		}
	})
}

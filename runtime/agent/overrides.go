package agent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// What a call overrides and its receiver has to know travels in these parameters of the content type.
const (
	paramOrder          = "order"
	paramHandlerTimeout = "handler-timeout"
	paramRetryOn        = "retry-on"
	paramResume         = "resume"
)

var orderNames = map[exchange.Order]string{
	exchange.OrderNone: "none", exchange.OrderCorrelation: "correlation", exchange.OrderAgent: "agent",
}

var resumeNames = map[exchange.Resume]string{
	exchange.RestartOnResume: "restart", exchange.ContinueOnResume: "continue",
}

// named finds the value that has a name.
func named[V comparable](names map[V]string, name string) (V, bool) {
	for v, n := range names {
		if n == name {
			return v, true
		}
	}
	var none V
	return none, false
}

// overrides returns what the call's settings differ in from the exchange's, as far as it concerns the receiver.
func overrides(out *exchange.Outgoing) []envelope.Param {
	var params []envelope.Param
	own, call := out.Exchange.Policy(), out.Policy
	if call.Order != own.Order {
		params = append(params, envelope.Param{Name: paramOrder, Value: orderNames[call.Order]})
	}
	if call.HandlerTimeout != own.HandlerTimeout && call.HandlerTimeout > 0 {
		params = append(params, envelope.Param{Name: paramHandlerTimeout, Value: call.HandlerTimeout.String()})
	}
	if !slices.Equal(call.Retry.Codes, own.Retry.Codes) {
		codes := make([]string, len(call.Retry.Codes))
		for i, c := range call.Retry.Codes {
			codes[i] = strconv.Itoa(int(c))
		}
		params = append(params, envelope.Param{Name: paramRetryOn, Value: strings.Join(codes, " ")})
	}
	if call.Resume != own.Resume {
		params = append(params, envelope.Param{Name: paramResume, Value: resumeNames[call.Resume]})
	}
	return params
}

// with returns the handler with the settings that the message's content type overrides: order, codes and resume as the sender
// has them, and a handler timeout that is shorter than the handler's own.
func (h *handler) with(ct envelope.ContentType) (*handler, error) {
	if ct.Message == "" || len(ct.Extra) == 0 {
		return h, nil // parameters of a type that is not ours mean something else
	}
	p := h.policy
	for _, param := range ct.Extra {
		ok := true
		switch param.Name {
		case paramOrder:
			p.Order, ok = named(orderNames, param.Value)
		case paramHandlerTimeout:
			d, err := time.ParseDuration(param.Value)
			ok = err == nil && d > 0
			if ok && (h.policy.HandlerTimeout == 0 || d < h.policy.HandlerTimeout) {
				p.HandlerTimeout = d
			}
		case paramResume:
			p.Resume, ok = named(resumeNames, param.Value)
		case paramRetryOn:
			p.Retry.Codes, ok = parseCodes(param.Value)
		}
		if !ok {
			return nil, ack.Rejectf(ack.ValidationError, "content type: the parameter %s has the value %q. Fix: leave it out", param.Name, param.Value)
		}
	}
	return &handler{d: h.d, fn: h.fn, policy: p}, nil
}

// continues tells whether the frames of a message go on after those of earlier runs.
func (h *handler) continues() bool { return h != nil && h.policy.Resume == exchange.ContinueOnResume }

func parseCodes(s string) ([]ack.Code, bool) {
	codes := []ack.Code{}
	for word := range strings.FieldsSeq(s) {
		n, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			return nil, false
		}
		codes = append(codes, ack.Code(n))
	}
	return codes, true
}

// tellable tells whether the receiver gets to know what the call overrides.
func tellable(out *exchange.Outgoing) error {
	if out.Policy.ContentType == "" {
		return nil
	}
	for _, p := range overrides(out) {
		if p.Name == paramRetryOn {
			continue // the sender's own matter first of all
		}
		return fmt.Errorf("the content type %s has no place for the call's own %s. Fix: leave out one of them", out.Policy.ContentType, p.Name)
	}
	return nil
}

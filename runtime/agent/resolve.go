package agent

import (
	"slices"
	"sort"
	"strings"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// What refuses a message that nobody handles, and one that nobody handles any more since the agent was started again.
const (
	notHandled      = "this agent does not handle %s. Fix: register its handler, or address another agent"
	noLongerHandled = "this agent does not handle %s any more. Fix: register its handler again, or address another agent"
)

// resolve finds the exchange that a received message is meant for. A content type of this module's names it, by the
// method or, for a payload by itself, by the message. Any other reaches the only exchange of its message type; with
// several, the one that has this content type. The errors are outcomes.
func (r *registry) resolve(ct envelope.ContentType, messageType exchange.MessageType) (*handler, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ct.Method != "" {
		h := r.handlers[ct.Method]
		if h == nil {
			return nil, ack.Rejectf(ack.UnsupportedMessageType, notHandled, ct.Method)
		}
		if want := h.d.RequestName(); ct.Message != "" && ct.Message != want {
			return nil, ack.Rejectf(ack.ValidationError, "%s takes a %s, not a %s. Fix: use the same schema on both sides", ct.Method, want, ct.Message)
		}
		return h, nil
	}
	if h := r.handlers[ct.Message]; h != nil && h.d.Standalone() {
		return h, nil
	}
	var found []*handler
	for _, h := range r.handlers {
		if h.policy.MessageType == messageType && (ct.Message == "" || ct.Message == h.d.RequestName()) {
			found = append(found, h)
		}
	}
	switch len(found) {
	case 0:
		if ct.Message != "" {
			return nil, ack.Rejectf(ack.UnsupportedMessageType, notHandled, ct.Message)
		}
		return nil, ack.Rejectf(ack.UnsupportedMessageType, "this agent handles no exchange of message type %d. Fix: register a handler for one, or address another agent", messageType)
	case 1:
		return found[0], nil
	}
	var named []*handler
	names := make([]string, len(found))
	for i, h := range found {
		names[i] = h.d.Name()
		if sameType(h.policy.ContentType, ct) {
			named = append(named, h)
		}
	}
	if len(named) == 1 {
		return named[0], nil
	}
	sort.Strings(names)
	return nil, ack.Rejectf(ack.ValidationError, "content type %s does not say which exchange is meant: %s. Fix: add the parameter "+
		"method, or give one exchange alone this content type", envelope.ContentType{Media: ct.Media, Extra: ct.Extra}, strings.Join(names, ", "))
}

// recall finds the handler of a message that an earlier process has received. What was refused then is refused for the same
// reason.
func (r *registry) recall(rec *storagepb.InRecord) (*handler, error) {
	ct, err := envelope.ParseContentType(rec.GetContentType())
	if err != nil {
		ct = envelope.ContentType{} // as when it came
	}
	if h := r.handler(rec.GetExchange()); h != nil {
		return h.with(ct)
	}
	if rec.GetExchange() == "" {
		if _, refusal := r.resolve(ct, exchange.MessageType(rec.GetMessageType())); refusal != nil {
			return nil, refusal
		}
	}
	return nil, ack.Rejectf(ack.UnsupportedMessageType, noLongerHandled, rec.GetExchange())
}

// sameType tells whether an exchange's content type is the one that came, in whatever order and case its parameters are.
func sameType(own string, ct envelope.ContentType) bool {
	o, err := envelope.ParseContentType(own)
	if err != nil || o.Media != ct.Media || len(o.Extra) != len(ct.Extra) {
		return false
	}
	for _, p := range o.Extra {
		if !slices.Contains(ct.Extra, p) {
			return false
		}
	}
	return true
}

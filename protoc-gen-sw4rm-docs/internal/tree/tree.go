// Package tree holds what documents tell of a tree of schemas: its agents, their exchanges with every policy and where it
// was written, and the messages that travel.
package tree

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// Tree is what the documents tell of.
type Tree struct {
	// Agents are sorted by name.
	Agents []*Agent
	// Standalone are the exchanges of messages that are sent without a service, sorted by name.
	Standalone []*Exchange
	// Payloads are the messages that exchanges carry, requests and replies, each once, sorted by name.
	Payloads []protoreflect.MessageDescriptor
	// Version is what the user calls this state of the schemas.
	Version string
}

// Agent is a service whose RPCs are exchanges.
type Agent struct {
	// Name is the service's full name.
	Name       string
	Desc       protoreflect.ServiceDescriptor
	Comment    string
	Capability string
	Deprecated bool
	// Exchanges are in the schema's order.
	Exchanges []*Exchange
	Position  schema.Position
}

// Address is where any agent that handles the service is reached.
func (a *Agent) Address() string { return address.Capability(a.Capability).String() }

// Exchange is an RPC, or a message that is sent by itself.
type Exchange struct {
	// Name is the exchange's name on the wire.
	Name string
	// Desc is the method or the message.
	Desc    protoreflect.Descriptor
	Comment string
	Kind    schema.Kind
	Request protoreflect.MessageDescriptor
	// Reply is nil where there is none, and the frames' message in a stream.
	Reply protoreflect.MessageDescriptor
	// Type is the message type of the request, as the protocol names it.
	Type optionspb.ExchangeOptions_Type
	// Policies are how the messages travel, in the order of the options' numbers.
	Policies []Policy
	// ReadOnly tells that handling the request changes nothing, Idempotent that a repeated request changes nothing more.
	ReadOnly, Idempotent bool
	Deprecated           bool
	Position             schema.Position

	contentType string
}

// Of returns the tree of a checked model.
func Of(model *schema.Model, version string) *Tree {
	t := &Tree{Version: version}
	payloads := make(map[protoreflect.FullName]protoreflect.MessageDescriptor)
	carry := func(e *Exchange) {
		payloads[e.Request.FullName()] = e.Request
		if e.Reply != nil {
			payloads[e.Reply.FullName()] = e.Reply
		}
	}
	for _, f := range model.Files {
		for _, s := range f.Services {
			a := agentOf(s)
			t.Agents = append(t.Agents, a)
			for _, e := range a.Exchanges {
				carry(e)
			}
		}
		for _, p := range f.Payloads {
			e := standalone(p)
			t.Standalone = append(t.Standalone, e)
			carry(e)
		}
	}
	for _, m := range payloads {
		t.Payloads = append(t.Payloads, m)
	}
	slices.SortFunc(t.Agents, func(a, b *Agent) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(t.Standalone, func(a, b *Exchange) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(t.Payloads, func(a, b protoreflect.MessageDescriptor) int { return cmp.Compare(a.FullName(), b.FullName()) })
	return t
}

func agentOf(s *schema.Service) *Agent {
	a := &Agent{
		Name:       s.Name,
		Desc:       s.Proto.Desc,
		Comment:    Comment(s.Proto.Desc),
		Capability: cmp.Or(s.Capability, s.Name),
		Deprecated: s.Deprecated,
		Position:   s.Position,
	}
	for _, e := range s.Exchanges {
		a.Exchanges = append(a.Exchanges, exchangeOf(e, s.Deprecated))
	}
	return a
}

func exchangeOf(e *schema.Exchange, deprecated bool) *Exchange {
	x := &Exchange{
		Name:       e.Name,
		Desc:       e.Proto.Desc,
		Kind:       e.Kind,
		Request:    e.Request.Desc,
		ReadOnly:   e.Idempotency == descriptorpb.MethodOptions_NO_SIDE_EFFECTS,
		Deprecated: e.Deprecated || deprecated,
		Position:   e.Position,
	}
	if e.Kind != schema.OneWay {
		x.Reply = e.Reply.Desc
	}
	x.settle(e.Settings, "the RPC")
	x.Idempotent = x.Idempotent || e.Idempotency == descriptorpb.MethodOptions_IDEMPOTENT
	return x
}

func standalone(p *schema.Payload) *Exchange {
	x := &Exchange{
		Name:       p.Name,
		Desc:       p.Proto.Desc,
		Kind:       schema.OneWay,
		Request:    p.Proto.Desc,
		Deprecated: p.Deprecated,
		Position:   p.Position,
	}
	x.settle(p.Settings, "the message")
	return x
}

// settle takes over what the schema says of how the exchange travels.
func (e *Exchange) settle(s schema.Settings, own string) {
	e.Comment = Comment(e.Desc)
	e.Type = cmp.Or(s.Type, optionspb.ExchangeOptions_DATA)
	e.Idempotent = s.WholePayload || len(s.Keys) > 0
	e.Policies = policies(e.Kind, s, own)
	e.contentType = s.ContentType
}

// Standalone tells whether the exchange is a message that is sent without a service.
func (e *Exchange) Standalone() bool {
	_, ok := e.Desc.(protoreflect.MessageDescriptor)
	return ok
}

// Tool tells whether the exchange calls a tool.
func (e *Exchange) Tool() bool { return e.Type == optionspb.ExchangeOptions_TOOL_CALL }

// ReplyType is the message type of replies and frames.
func (e *Exchange) ReplyType() commonpb.MessageType {
	if e.Tool() {
		return commonpb.MessageType_TOOL_RESULT
	}
	return commonpb.MessageType_DATA
}

// Part is what of an exchange travels in a message.
type Part string

// The parts, with the values of the content type's parameter kind.
const (
	Request Part = ""
	Reply   Part = envelope.KindReply
	Frame   Part = envelope.KindFrame
)

// Answer is the part in which the exchange's replies travel, false where there are none.
func (e *Exchange) Answer() (Part, bool) {
	switch e.Kind {
	case schema.Call:
		return Reply, true
	case schema.Stream:
		return Frame, true
	default:
		return "", false
	}
}

// ContentTypes are the content types with which a part of the exchange travels, the one that agents of this module use
// first.
func (e *Exchange) ContentTypes(p Part) []string {
	if e.contentType != "" {
		if p == Request {
			return []string{Clean(e.contentType)}
		}
		if f, _ := exchange.FormatOf(e.contentType); f == exchange.JSON {
			return []string{envelope.MediaJSON}
		}
		return []string{envelope.MediaProtobuf}
	}
	carried := e.Request
	if p != Request {
		carried = e.Reply
	}
	return e.naming(carried.FullName(), p)
}

// ToolError is the protocol's message for a tool's failure.
const ToolError = "sw4rm.tool.ToolError"

// FailureTypes are the content types with which a tool's failure travels, as a ToolError. It comes beside the acknowledgement
// that has the same outcome.
func (e *Exchange) FailureTypes() []string {
	if e.contentType != "" {
		return e.ContentTypes(Reply)
	}
	return e.naming(ToolError, Reply)
}

// naming returns content types that name the exchange and the message.
func (e *Exchange) naming(message protoreflect.FullName, p Part) []string {
	ct := envelope.ContentType{Message: string(message), Kind: string(p)}
	if !e.Standalone() {
		ct.Method = e.Name
	}
	var types []string
	for _, ct.Media = range []string{envelope.MediaProtobuf, envelope.MediaJSON} {
		types = append(types, ct.String())
	}
	return types
}

// Full is the full name of the RPC or message.
func (e *Exchange) Full() string { return string(e.Desc.FullName()) }

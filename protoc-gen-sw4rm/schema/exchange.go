package schema

import (
	"fmt"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sw4rm/sw4rm-go/runtime/address"
)

// maxNameLength is the longest name of an exchange on the wire.
const maxNameLength = 256

// emptyName is the reply of what has none.
const emptyName = "google.protobuf.Empty"

// exchange returns nil after reporting an RPC that is no exchange.
func (c *checker) exchange(s *source, m *protogen.Method, at path, l layer) *Exchange {
	rpc := string(m.Desc.FullName())
	e := &Exchange{
		Proto:    m,
		Name:     fmt.Sprintf("%s/%s", m.Desc.Parent().FullName(), m.Desc.Name()),
		Kind:     kindOf(m),
		Request:  m.Input,
		Reply:    m.Output,
		Position: s.at(at.child(1), len(at), rpc),
	}
	if !c.shaped(s, m, at) {
		return nil
	}
	c.wireName(e.Name, e.Position, "shorten the package, the service or the RPC")
	options, _ := m.Desc.Options().(*descriptorpb.MethodOptions)
	e.Deprecated = options.GetDeprecated()
	e.Idempotency = options.GetIdempotencyLevel()
	e.Settings = c.settings(subject{
		name:    rpc,
		kind:    e.Kind,
		request: m.Input,
		reply:   fmt.Sprintf("returns %s", m.Output.Desc.FullName()),
		replyAt: s.at(at.child(3), len(at), rpc),
		level:   e.Idempotency,
		levelAt: s.at(at.child(4, 34), len(at), rpc),
	}, &l)
	return e
}

func kindOf(m *protogen.Method) Kind {
	switch {
	case m.Desc.IsStreamingServer():
		return Stream
	case m.Output.Desc.FullName() == emptyName:
		return OneWay
	default:
		return Call
	}
}

// shaped reports streams that are no exchanges.
func (c *checker) shaped(s *source, m *protogen.Method, at path) bool {
	rpc := string(m.Desc.FullName())
	const fix = ", set skip: true in its exchange option, or move it to another service"
	switch {
	case m.Desc.IsStreamingClient():
		kind := "client stream"
		if m.Desc.IsStreamingServer() {
			kind = "bidirectional stream"
		}
		c.report(s.at(at.child(5), len(at), rpc), "take one request"+fix, "%s is a %s, which is not an exchange between agents", rpc, kind)
	case m.Desc.IsStreamingServer() && m.Output.Desc.FullName() == emptyName:
		c.report(s.at(at.child(3), len(at), rpc), "return a message of its own"+fix,
			"%s is a stream of %s, which says nothing", rpc, emptyName)
	default:
		return true
	}
	return false
}

// payload returns the message of which o is the payload option, nil when it is to be skipped.
func (c *checker) payload(s *source, f *protogen.File, m *protogen.Message, at path, l layer) *Payload {
	if l.skip {
		return nil
	}
	name := string(m.Desc.FullName())
	options, _ := m.Desc.Options().(*descriptorpb.MessageOptions)
	p := &Payload{
		Proto:      m,
		Name:       name,
		Go:         payloadNamesOf(m.GoIdent.GoName, c.opts.Only),
		Deprecated: options.GetDeprecated() || deprecated(f),
		Position:   s.at(at.child(1), len(at), name),
	}
	c.wireName(name, p.Position, "shorten the package or the message's name")
	p.Settings = c.settings(subject{
		name: name, kind: OneWay, payload: true, request: m, reply: "is sent by itself", replyAt: p.Position,
	}, &l)
	return p
}

// wireName reports a name that does not fit on the wire.
func (c *checker) wireName(name string, pos Position, fix string) {
	if len(name) > maxNameLength {
		c.report(pos, fix, "the exchange's name %q has %d bytes, but at most %d fit on the wire", name, len(name), maxNameLength)
	}
}

func (c *checker) capability(s *source, service *Service, at path) {
	pos := s.at(at.child(3, optionNumber, 1), len(at), service.Name)
	if service.Capability != "" {
		if address.CheckName("capability", service.Capability) != nil {
			c.report(pos, fmt.Sprintf("use 1 to %d letters, digits and . _ : -, and begin with a letter or digit", address.MaxNameLength),
				"capability %q of %s is not a name", service.Capability, service.Name)
		}
		return
	}
	if address.CheckName("capability", service.Name) != nil {
		c.report(s.at(at.child(1), len(at), service.Name), `give the service option (sw4rm.options.v1.agent) = {capability: "NAME"}`,
			"service %s cannot be its own capability: a capability has at most %d bytes and begins with a letter or digit", service.Name, address.MaxNameLength)
	}
}

package exchange

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
)

// Kind is the shape of an exchange.
type Kind int

// The shapes.
const (
	// KindOneWay has a message and an outcome.
	KindOneWay Kind = iota + 1
	// KindCall has a request and one reply.
	KindCall
	// KindStream has a request and any number of ordered replies, its frames.
	KindStream
)

// Message is the pointer to a generated message T.
type Message[T any] interface {
	*T
	proto.Message
}

// Descriptor describes one exchange without its types. It is immutable.
type Descriptor struct {
	name       string
	kind       Kind
	policy     Policy
	newRequest func() proto.Message
	newReply   func() proto.Message
	key        keyFunc
}

func newDescriptor(name string, kind Kind, newRequest, newReply func() proto.Message, opts []Option) *Descriptor {
	d := &Descriptor{name: name, kind: kind, newRequest: newRequest, newReply: newReply, policy: defaultPolicy(kind)}
	for _, o := range opts {
		if o != nil {
			o.applyExchange(d)
		}
	}
	return d
}

// Name returns the exchange's name on the wire: "package.Service/Method", or the message's full name for a payload by
// itself.
func (d *Descriptor) Name() string { return d.name }

// Service returns the part of the name before the slash, for a payload by itself the whole name.
func (d *Descriptor) Service() string {
	s, _, _ := strings.Cut(d.name, "/")
	return s
}

// Method returns the part of the name after the slash, "" for a payload by itself.
func (d *Descriptor) Method() string {
	_, m, _ := strings.Cut(d.name, "/")
	return m
}

// Kind returns the exchange's shape.
func (d *Descriptor) Kind() Kind { return d.kind }

// Policy returns how its messages travel.
func (d *Descriptor) Policy() Policy { return d.policy }

// NewRequest returns a new, empty request.
func (d *Descriptor) NewRequest() proto.Message { return d.newRequest() }

// NewReply returns a new, empty reply or frame, nil for a one-way exchange.
func (d *Descriptor) NewReply() proto.Message {
	if d.newReply == nil {
		return nil
	}
	return d.newReply()
}

// RequestName returns the full name of the request's message.
func (d *Descriptor) RequestName() string { return string(proto.MessageName(d.newRequest())) }

// ReplyName returns the full name of the reply's message, "" for a one-way exchange.
func (d *Descriptor) ReplyName() string {
	if d.newReply == nil {
		return ""
	}
	return string(proto.MessageName(d.newReply()))
}

// Validate tells what is wrong with a descriptor that was put together by hand.
func (d *Descriptor) Validate() error {
	if d == nil {
		return errors.New("exchange: the descriptor is nil")
	}
	service, method, ok := strings.Cut(d.name, "/")
	named := ok && service != "" && method != "" && !strings.Contains(method, "/") || !ok && service == d.RequestName()
	unsendable := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"\\;,", r) }
	if !named || strings.ContainsFunc(d.name, unsendable) || len(d.name) > maxNameLength {
		return fmt.Errorf("exchange %q: the name is neither package.Service/Method nor that of the message %s, with at most %d bytes. Fix: use the name in the schema",
			d.name, d.RequestName(), maxNameLength)
	}
	if err := d.policy.Validate(); err != nil {
		return fmt.Errorf("exchange %s: %w", d.name, err)
	}
	return nil
}

// maxNameLength is the longest value of a media type's parameter on the wire.
const maxNameLength = 256

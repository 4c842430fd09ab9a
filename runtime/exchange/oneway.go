package exchange

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// OneWay is an exchange with a message and an outcome.
type OneWay[Req proto.Message] struct{ d *Descriptor }

// NewOneWay describes a one-way exchange named "package.Service/Method".
func NewOneWay[Q any, Req Message[Q]](name string, opts ...Option) *OneWay[Req] {
	return &OneWay[Req]{newDescriptor(name, KindOneWay, func() proto.Message { return Req(new(Q)) }, nil, opts)}
}

// Name returns the exchange's name on the wire.
func (x *OneWay[Req]) Name() string { return x.d.Name() }

// Descriptor returns the description without types.
func (x *OneWay[Req]) Descriptor() *Descriptor { return x.d }

// Call sends msg and blocks until its outcome, nil for FULFILLED. Errors are those of Call.Call.
func (x *OneWay[Req]) Call(ctx context.Context, c Client, msg Req, opts ...SendOption) error {
	op, err := c.send(ctx, x.d, msg, true, opts)
	if err != nil {
		return err
	}
	return (&Delivery{op}).Outcome(ctx)
}

// Send stores msg durably and returns without waiting for the router.
func (x *OneWay[Req]) Send(ctx context.Context, c Client, msg Req, opts ...SendOption) (*Delivery, error) {
	op, err := c.send(ctx, x.d, msg, false, opts)
	if err != nil {
		return nil, err
	}
	return &Delivery{op}, nil
}

// Resume returns the handle of a stored operation, ErrUnknownRef when its record is gone.
func (x *OneWay[Req]) Resume(ctx context.Context, s Sender, ref Ref) (*Delivery, error) {
	op, err := resume(ctx, s, x.d, ref)
	if err != nil {
		return nil, err
	}
	return &Delivery{op}, nil
}

// Handle registers the exchange's handler.
func (x *OneWay[Req]) Handle(r Registrar, fn func(context.Context, Req) error) {
	if r == nil {
		return
	}
	if fn == nil {
		r.Handle(x.d, nil)
		return
	}
	r.Handle(x.d, func(ctx context.Context, m proto.Message) (proto.Message, error) {
		req, ok := m.(Req)
		if !ok {
			return nil, ack.Rejectf(ack.ValidationError, "%s takes a %s, not a %T", x.Name(), x.d.RequestName(), m)
		}
		return nil, fn(ctx, req)
	})
}

// HandleReply registers what gets the outcomes that no Call or Outcome waits for. It is called again, with backoff,
// until it returns nil.
func (x *OneWay[Req]) HandleReply(r Registrar, fn func(ctx context.Context, msg Req, err error) error) {
	if r == nil {
		return
	}
	if fn == nil {
		r.HandleReply(x.d, nil)
		return
	}
	r.HandleReply(x.d, func(ctx context.Context, req, _ proto.Message, err error) error {
		q, _ := req.(Req)
		return fn(ctx, q, err)
	})
}

// Reply ends a message whose handler returned ErrDeferred as FULFILLED. A second answer is ErrAnswered.
func (x *OneWay[Req]) Reply(ctx context.Context, r Responder, ref Ref) error {
	return respond(ctx, r, x.d, ref, nil, nil)
}

// Fail ends a message whose handler returned ErrDeferred with err, as if the handler had returned it.
func (x *OneWay[Req]) Fail(ctx context.Context, r Responder, ref Ref, err error) error {
	return respond(ctx, r, x.d, ref, nil, failure(x.d, err))
}

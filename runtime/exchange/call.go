package exchange

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
)

// Client sends to one address.
type Client struct {
	s  Sender
	to address.Address
}

// NewClient returns a client that sends through s to the given address.
func NewClient(s Sender, to address.Address) Client { return Client{s: s, to: to} }

func (c Client) send(ctx context.Context, d *Descriptor, m proto.Message, caller bool, opts []SendOption) (Operation, error) {
	if c.s == nil {
		return nil, ack.Rejectf(ack.ValidationError, "send %s: there is no agent to send through. Fix: pass one from sw4rm.New", d.Name())
	}
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil, ack.Rejectf(ack.ValidationError, "send %s: the message is nil. Fix: pass a *%s", d.Name(), d.RequestName())
	}
	out := &Outgoing{Exchange: d, To: c.to, Message: m, Policy: d.Policy(), Caller: caller}
	for _, o := range opts {
		if o != nil {
			o.applySend(out)
		}
	}
	return c.s.Send(ctx, out)
}

func resume(ctx context.Context, s Sender, d *Descriptor, ref Ref) (Operation, error) {
	if s == nil {
		return nil, ErrUnknownRef
	}
	return s.Resume(ctx, d, ref)
}

func respond(ctx context.Context, r Responder, d *Descriptor, ref Ref, reply proto.Message, err error) error {
	if r == nil {
		return ErrUnknownRef
	}
	return r.Respond(ctx, d, ref, reply, err)
}

// Call is an exchange with a request and one reply.
type Call[Req, Res proto.Message] struct{ d *Descriptor }

// NewCall describes a request and reply exchange named "package.Service/Method".
func NewCall[Q, S any, Req Message[Q], Res Message[S]](name string, opts ...Option) *Call[Req, Res] {
	return &Call[Req, Res]{newDescriptor(name, KindCall,
		func() proto.Message { return Req(new(Q)) },
		func() proto.Message { return Res(new(S)) }, opts)}
}

// Name returns the exchange's name on the wire.
func (x *Call[Req, Res]) Name() string { return x.d.Name() }

// Descriptor returns the description without types.
func (x *Call[Req, Res]) Descriptor() *Descriptor { return x.d }

// Call sends req and blocks until the reply is here. An outcome other than FULFILLED is an *ack.Error; when ctx ends
// first the message lives on, and the error is an *Unfinished.
func (x *Call[Req, Res]) Call(ctx context.Context, c Client, req Req, opts ...SendOption) (Res, error) {
	var none Res
	op, err := c.send(ctx, x.d, req, true, opts)
	if err != nil {
		return none, err
	}
	return (&Pending[Res]{Delivery{op}}).Response(ctx)
}

// Send stores req durably and returns without waiting for the router.
func (x *Call[Req, Res]) Send(ctx context.Context, c Client, req Req, opts ...SendOption) (*Pending[Res], error) {
	op, err := c.send(ctx, x.d, req, false, opts)
	if err != nil {
		return nil, err
	}
	return &Pending[Res]{Delivery{op}}, nil
}

// Resume returns the handle of a stored operation, ErrUnknownRef when its record is gone.
func (x *Call[Req, Res]) Resume(ctx context.Context, s Sender, ref Ref) (*Pending[Res], error) {
	op, err := resume(ctx, s, x.d, ref)
	if err != nil {
		return nil, err
	}
	return &Pending[Res]{Delivery{op}}, nil
}

// Handle registers the exchange's handler.
func (x *Call[Req, Res]) Handle(r Registrar, fn func(context.Context, Req) (Res, error)) {
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
		res, err := fn(ctx, req)
		if err != nil {
			return nil, err
		}
		if !res.ProtoReflect().IsValid() {
			return nil, ack.Failf(ack.InternalError, "the handler of %s returned neither a reply nor an error", x.Name())
		}
		return res, nil
	})
}

// HandleReply registers what gets the results that no Call or Response waits for. It is called again, with backoff,
// until it returns nil.
func (x *Call[Req, Res]) HandleReply(r Registrar, fn func(ctx context.Context, req Req, res Res, err error) error) {
	if r == nil {
		return
	}
	if fn == nil {
		r.HandleReply(x.d, nil)
		return
	}
	r.HandleReply(x.d, func(ctx context.Context, req, reply proto.Message, err error) error {
		q, _ := req.(Req)
		s, _ := reply.(Res)
		return fn(ctx, q, s, err)
	})
}

// Reply answers a message whose handler returned ErrDeferred. A second answer is ErrAnswered.
func (x *Call[Req, Res]) Reply(ctx context.Context, r Responder, ref Ref, res Res) error {
	if !res.ProtoReflect().IsValid() {
		return ack.Failf(ack.InternalError, "the reply of %s is nil", x.Name())
	}
	return respond(ctx, r, x.d, ref, res, nil)
}

// Fail ends a message whose handler returned ErrDeferred with err, as if the handler had returned it.
func (x *Call[Req, Res]) Fail(ctx context.Context, r Responder, ref Ref, err error) error {
	return respond(ctx, r, x.d, ref, nil, failure(x.d, err))
}

// failure makes sure that a failed answer has a cause.
func failure(d *Descriptor, err error) error {
	if err == nil {
		return ack.Failf(ack.InternalError, "%s failed without an error", d.Name())
	}
	return err
}

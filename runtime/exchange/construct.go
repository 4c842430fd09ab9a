package exchange

import "google.golang.org/protobuf/proto"

// NewDelivery returns the handle of an operation, for tests of code that is given one; package agenttest makes operations.
func NewDelivery(op Operation) *Delivery { return &Delivery{op} }

// NewPending returns the handle of a request's operation, for tests of code that is given one.
func NewPending[Res proto.Message](op Operation) *Pending[Res] { return &Pending[Res]{Delivery{op}} }

// NewPendingStream returns the handle of a stream's operation, for tests of code that is given one.
func NewPendingStream[Res proto.Message](d *Descriptor, op StreamOperation) *PendingStream[Res] {
	return &PendingStream[Res]{Delivery: Delivery{op}, d: d, stream: op}
}

// NewRequest returns a new, empty message of the exchange.
func (x *OneWay[Req]) NewRequest() Req { return newRequest[Req](x.d) }

// NewRequest returns a new, empty request of the exchange.
func (x *Call[Req, Res]) NewRequest() Req { return newRequest[Req](x.d) }

// NewRequest returns a new, empty request of the exchange.
func (x *Stream[Req, Res]) NewRequest() Req { return newRequest[Req](x.d) }

func newRequest[Req proto.Message](d *Descriptor) Req {
	req, _ := d.NewRequest().(Req) // always one, by the constructors
	return req
}

package exchange

// NewPayload describes a message that is sent by itself, without a service. Its name is the message's full name, by which
// agents that handle it know it; on the wire it has the parameter message and no method.
func NewPayload[Q any, Req Message[Q]](name string, opts ...Option) *OneWay[Req] {
	return NewOneWay[Q, Req](name, opts...)
}

// Standalone tells whether the exchange is a payload message by itself, made by NewPayload, rather than a service's.
func (d *Descriptor) Standalone() bool { return d.Method() == "" }

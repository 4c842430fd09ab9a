package exchange

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// Delivery is the handle of a one-way message that was sent. It may be used from any goroutine.
type Delivery struct{ op Operation }

// Ref names the operation, for Resume in this or a later process.
func (d *Delivery) Ref() Ref { return d.op.Ref() }

// Status returns what is known now.
func (d *Delivery) Status() Status { return d.op.Status() }

// Wait blocks until an attempt has reached stage or the operation has ended. An end other than FULFILLED is an *ack.Error;
// an end of ctx an *Unfinished.
func (d *Delivery) Wait(ctx context.Context, stage ack.Stage) error { return d.op.Wait(ctx, stage) }

// Outcome blocks until the operation has ended. Errors are those of Wait.
func (d *Delivery) Outcome(ctx context.Context) error {
	_, err := d.op.Result(ctx)
	return err
}

// Pending is the handle of a request that was sent. It may be used from any goroutine.
type Pending[Res proto.Message] struct{ Delivery }

// Response blocks until the reply is here and returns it. Errors are those of Wait.
func (p *Pending[Res]) Response(ctx context.Context) (Res, error) {
	var none Res
	m, err := p.op.Result(ctx)
	if err != nil {
		return none, err
	}
	res, ok := m.(Res)
	if !ok {
		return none, ack.Failf(ack.ValidationError, "the stored reply is a %T, not a %T", m, none)
	}
	return res, nil
}

package agent

import (
	"context"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

// session is one connection to a router, over our stream or the canonical RPCs. Its methods queue and return at once;
// what was queued when the session ends is lost, and everything that matters is sent again on the next one.
type session interface {
	submit(s *transportpb.Submit)
	withdraw(w *transportpb.Withdraw)
	ackDelivery(d *transportpb.DeliveryAck)
	credit(class transportpb.Class, messages uint32, bytes uint64)
	// drain asks the router for no more work.
	drain()
	// asks tells whether the router answers a repeated submission with what became of the message.
	asks() bool
	// routerID identifies the router's store.
	routerID() string
	// routerStart tells one start of that router from another; empty for a router that does not say.
	routerStart() string
	// run serves the session until it ends or ctx does, and returns why.
	run(ctx context.Context) error
}

// events is what a session tells the agent. The methods do not block on storage or network.
type events interface {
	answered(a *transportpb.Answer)
	// doubted tells that the submission with this number has failed, and that the router may have it nevertheless. A refusal
	// follows by which it is made again later.
	doubted(n uint64)
	withdrawn(w *transportpb.WithdrawAnswer)
	delivered(d *transportpb.Delivery)
	custody(c *transportpb.AckAnswer)
}

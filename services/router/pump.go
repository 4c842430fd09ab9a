package router

import (
	"context"
	"slices"
	"time"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// chunk is how many messages a stream takes at once, so that the members of a capability get about the same.
const chunk = 32

// outlet is where a pump's deliveries go.
type outlet interface {
	// room returns how much of a class may be delivered now.
	room(class transportpb.Class) (messages int, bytes int64)
	// deliver takes deliveries that are leased until then.
	deliver(class transportpb.Class, ds []queue.Delivery, until time.Time)
}

// pump leases messages for one stream, each class within the room that it has, and so without waiting for another.
type pump struct {
	router *Router
	holder queue.Holder
	// capabilities returns what the agent serves now.
	capabilities func() []string
	// audible says that the stream carries something of the agent's during every lease.
	audible bool
	outlet  outlet
	waker   *waker
}

// run works until ctx ends or the engine fails.
func (p *pump) run(ctx context.Context) error {
	var addresses, offered []string
	addresses = addressesOf(p.holder.Agent, nil)
	p.router.wakeups.add(p.waker, addresses)
	defer func() { p.router.wakeups.remove(p.waker, addresses) }()
	for {
		if now := p.capabilities(); !slices.Equal(now, offered) {
			offered = now
			p.router.wakeups.remove(p.waker, addresses)
			addresses = addressesOf(p.holder.Agent, now)
			p.router.wakeups.add(p.waker, addresses)
		}
		more := false
		for class := transportpb.Class_CLASS_SIGNAL; class >= transportpb.Class_CLASS_WORK; class-- {
			again, err := p.lease(ctx, class, addresses)
			if err != nil {
				return err
			}
			more = more || again
		}
		if more && ctx.Err() == nil {
			continue
		}
		select {
		case <-p.waker.c:
		case <-ctx.Done():
			return nil
		}
	}
}

// lease takes messages of one class, and tells whether there may be more that have room.
func (p *pump) lease(ctx context.Context, class transportpb.Class, addresses []string) (bool, error) {
	messages, bytes := p.outlet.room(class)
	if messages <= 0 || bytes <= 0 {
		return false, nil
	}
	messages = min(messages, chunk)
	now := time.Now()
	until := now.Add(p.router.lease)
	ds, err := p.router.engine.Lease(ctx, queue.LeaseRequest{
		Holder: p.holder, Addresses: addresses, Class: class,
		MaxMessages: messages, MaxBytes: bytes, Now: now, Until: until,
		Audible: p.audible,
	})
	if err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, p.router.failure(ctx, "lease", err)
	}
	if len(ds) == 0 {
		return false, nil
	}
	p.router.house.by(until)
	p.outlet.deliver(class, ds, until)
	size := int64(0)
	for _, d := range ds {
		size += d.Bytes
	}
	// Fewer than asked for are all that waited, unless the next one did not fit.
	return len(ds) == messages || size > bytes/2, nil
}

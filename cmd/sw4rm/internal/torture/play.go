package torture

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// reserve is what P8 gives besides the lease and the largest backoff.
const reserve = 5 * time.Second

// bound is how long nothing may move: P8's time, and what the agent's handlers take when they queue.
func (r *run) bound() time.Duration {
	return r.cfg.Lease + lastBackoff + reserve + 4*r.faults.longest
}

// play sends operations and makes faults until all of them have ended, or nothing moves any more.
func (r *run) play(ctx, following context.Context) error {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	sent := make(chan error, 1)
	go func() { sent <- r.sendAll(sending, following) }()
	var over <-chan time.Time
	if r.cfg.Duration > 0 {
		t := time.NewTimer(r.cfg.Duration)
		defer t.Stop()
		over = t.C
	}
	todo := plan(r.cfg.Seed, r.cfg.Operations, r.cfg.Faults)
	last := time.Now() // the end of the last fault
	stall := time.NewTimer(r.bound())
	defer stall.Stop()
	for sender := sent; ; {
		ended, progress := r.sender.count()
		_, open := r.sender.operations()
		open = slices.DeleteFunc(open, func(o *operation) bool { return r.leftOut[o.exchange.Name()] })
		if sender == nil && len(open) == 0 {
			r.settled = time.Since(last)
			return nil
		}
		if len(todo) > 0 && ended-r.calm >= todo[0].after {
			if err := r.faults.make(ctx, todo[0], ended-r.calm); err != nil {
				stop()
				<-sent
				return err
			}
			todo = todo[1:]
			last = time.Now()
			stall.Reset(r.bound())
			continue
		}
		select {
		case <-progress:
			stall.Reset(r.bound())
		case err := <-sender:
			if err != nil && sending.Err() == nil {
				return err
			}
			sender = nil
			sent <- nil // for whoever waits for it
		case <-over:
			r.note("stopped after %v, with %d operations ended", r.cfg.Duration, ended)
			todo, over = nil, nil
			stop()
		case <-r.stage.agent.Done():
			stop()
			<-sent
			return r.stage.gone()
		case <-stall.C:
			stop()
			<-sent
			r.stuck(open)
			return nil
		case <-ctx.Done():
			<-sent
			return context.Cause(ctx)
		}
	}
}

func (r *run) sendAll(ctx, following context.Context) error {
	for range r.cfg.Operations {
		o, err := r.planner.next(true)
		if err != nil {
			return err
		}
		if err := r.sender.send(ctx, following, o); err != nil {
			return err
		}
	}
	return nil
}

// stuck notes what does not move.
func (r *run) stuck(open []*operation) {
	for _, o := range open {
		text := fmt.Sprintf("%s %s to %s has not ended", o.key, o.exchange.Name(), o.to)
		if o.sent != nil {
			st := o.sent.Status()
			text += fmt.Sprintf(": it came to %v in %d attempts", st.Stage, len(st.Attempts))
			if st.Err != nil {
				text += fmt.Sprintf(" (%v)", st.Err)
			}
			if st.Stage == ack.Read {
				text += ", so its handler has begun and not ended"
			}
		}
		r.stalled = append(r.stalled, text)
	}
	if len(open) == 0 {
		r.stalled = append(r.stalled, "no operation ends, and none can be sent")
	}
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

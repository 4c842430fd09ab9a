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

const (
	// ahead is how many operations may begin beyond those that must end before a fault comes, and as many may with it.
	ahead = underWay / 2
	// fresh is how many do at least, while there are enough.
	fresh = ahead / 2
)

// pace lets operations begin. Those that come after a fault do not begin long before it, so that there is work for every
// fault, however fast the agent is.
type pace struct {
	permits chan struct{}
	given   int
	todo    []fault       // each of which has an operation of its own, while there are enough
	over    chan struct{} // closed when nothing is sent any more
}

func newPace(operations int, todo []fault) *pace {
	p := &pace{permits: make(chan struct{}, operations), todo: todo, over: make(chan struct{})}
	p.proceed()
	return p
}

// proceed permits what comes before the next fault.
func (p *pace) proceed() {
	if len(p.todo) == 0 {
		p.permit(cap(p.permits))
		return
	}
	p.permit(p.todo[0].after + ahead - p.given)
}

// meet permits what comes with a fault, and tells whether any operation is to begin.
func (p *pace) meet(x fault) bool {
	before := p.given
	p.permit(max(fresh, x.after+2*ahead-p.given))
	return p.given > before || len(p.permits) > 0
}

func (p *pace) permit(n int) {
	most := cap(p.permits) - len(p.todo)
	if len(p.todo) > 0 {
		most = max(most, p.todo[0].after)
	}
	for ; n > 0 && p.given < most; n-- {
		p.given++
		p.permits <- struct{}{}
	}
}

// engage permits what comes with a fault, and waits until one operation more has begun than before, or so many are open that
// none can.
func (r *run) engage(ctx context.Context, p *pace, x fault) error {
	before, _, _ := r.sender.count()
	if !p.meet(x) {
		return nil
	}
	for {
		begun, ended, progress := r.sender.count()
		if begun > before || begun-ended >= underWay {
			return nil
		}
		select {
		case <-progress:
		case <-p.over:
			return nil
		case <-r.stage.agent.Done():
			return r.stage.gone()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// play sends operations and makes faults until all of them have ended, or nothing moves any more.
func (r *run) play(ctx, following context.Context) error {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	pace := newPace(r.cfg.Operations, plan(r.cfg.Seed, r.cfg.Operations, r.cfg.Faults))
	r.faults.engage = func(ctx context.Context, x fault) error { return r.engage(ctx, pace, x) }
	sent := make(chan error, 1)
	go func() {
		defer close(pace.over)
		sent <- r.sendAll(sending, following, pace.permits)
	}()
	var over <-chan time.Time
	if r.cfg.Duration > 0 {
		t := time.NewTimer(r.cfg.Duration)
		defer t.Stop()
		over = t.C
	}
	last := time.Now() // the end of the last fault
	stall := time.NewTimer(r.bound())
	defer stall.Stop()
	for sender := sent; ; {
		_, ended, progress := r.sender.count()
		_, open := r.sender.operations()
		open = slices.DeleteFunc(open, func(o *operation) bool { return r.leftOut[o.exchange.Name()] })
		if sender == nil && len(open) == 0 {
			r.settled = time.Since(last)
			return nil
		}
		if len(pace.todo) > 0 && ended-r.calm >= pace.todo[0].after {
			next := pace.todo[0]
			pace.todo = pace.todo[1:]
			if err := r.faults.make(ctx, next, ended-r.calm); err != nil {
				stop()
				<-sent
				return err
			}
			pace.proceed()
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
			pace.todo, over = nil, nil
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

func (r *run) sendAll(ctx, following context.Context, permits <-chan struct{}) error {
	for range r.cfg.Operations {
		select {
		case <-permits:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
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

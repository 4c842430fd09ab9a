package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// mostStill is for how long an operation stands still at most once the faults are over, without a run that goes on: the
// lease, the largest backoff and 5 s.
const mostStill = router.DefaultLease + exchange.DefaultMaxBackoff + 5*time.Second

// longestRun is how long a run takes at most.
const longestRun = 40 * time.Second

// endless is when a sequence in which something always moves, and that does not end, is given up.
const endless = 2 * time.Hour

// want ends the sequence unless ok.
func (s *swarm) want(ok bool, o *operation, problem string) {
	if ok {
		return
	}
	s.found.last = fmt.Sprintf("operation %d: %s\n%s", o.n, problem, s.story())
	if s.found.first == "" {
		s.found.first = s.found.last
	}
	s.t.Fatalf("%s", problem)
}

// story tells what became of every operation.
func (s *swarm) story() string {
	var b strings.Builder
	at := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.Sub(s.began).String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		fmt.Fprintln(&b, e)
	}
	for _, o := range s.ops {
		fmt.Fprintf(&b, "operation %d: %s by %s to %s, TTL %v, plan %q, sent at %s: ended %t with %v after %d attempts; %d answers\n",
			o.n, o.kind, o.from, o.to, o.ttl, o.plan, at(o.sent), o.outcome.set, o.outcome.err, o.outcome.attempts, o.answered)
		if !o.outcome.set && s.lives[o.from].up {
			fmt.Fprintf(&b, "    it is %+v\n", o.status())
			for _, l := range s.lives {
				if in, err := l.agent.Buffer().InByMessageID(o.status().Attempts[0].MessageID); err == nil {
					fmt.Fprintf(&b, "    %s has received it: %v\n", l.id, in)
				}
			}
		}
		for _, r := range o.runs {
			fmt.Fprintf(&b, "    ran at %s from %s to %s: %q; the agent crashed: %s\n", r.life.id, at(r.began), at(r.ended), r.did, at(r.life.died))
		}
	}
	return b.String()
}

// look holds the outcomes that there are against those that were seen before: they stay.
func (s *swarm) look(*rapid.T) {
	for _, o := range s.ops {
		if !s.lives[o.from].up {
			continue
		}
		st := o.status()
		switch {
		case o.outcome.set:
			s.want(st.Done && fmt.Sprint(st.Err) == fmt.Sprint(o.outcome.err), o, "an outcome changed")
		case st.Done:
			o.outcome.set, o.outcome.err, o.outcome.attempts = true, st.Err, len(st.Attempts)
		}
	}
}

// rest lets everybody work until every operation has ended.
func (s *swarm) rest() {
	if !s.router {
		s.turnRouter()
	}
	for _, id := range ids {
		if !s.lives[id].up {
			s.begin(id, s.net.Reopen(id))
		}
	}
	s.event("rest")
	began := time.Now()
	for s.rested < endless {
		synctest.Wait()
		s.mu.Lock()
		waiting := len(s.deferred)
		s.mu.Unlock()
		for n := range waiting {
			s.answerOne(n)
		}
		synctest.Wait()
		s.look(nil)
		s.rested = time.Since(began)
		if !slices.ContainsFunc(s.ops, func(o *operation) bool { return !o.outcome.set }) {
			time.Sleep(10 * time.Minute) // a run that should not be shows
			synctest.Wait()
			return
		}
		s.checkProgress(began)
		time.Sleep(time.Second)
	}
	for _, o := range s.ops {
		s.want(o.outcome.set, o, "no outcome")
	}
}

// checkProgress wants every operation that has not ended to move, or a run to be at work on it or on one of its lane.
// Messages that the network has yet to delay are delayed even now.
func (s *swarm) checkProgress(since time.Time) {
	underway := time.Duration(0)
	for _, d := range s.delays {
		underway += d
	}
	for _, o := range s.ops {
		if o.outcome.set {
			continue
		}
		still := time.Since(s.moved(o, since))
		s.still = max(s.still, still)
		s.want(still <= mostStill+underway, o, fmt.Sprintf("it has stood still for longer than %v", mostStill))
	}
}

// moved is when something last happened to the operation or in its lane, at the earliest since. While a run is at work,
// something happens.
func (s *swarm) moved(o *operation, since time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, last := time.Now(), since
	for _, other := range s.ops {
		if other != o && !(o.ordered() && other.kind == o.kind && other.from == o.from) {
			continue
		}
		for _, r := range other.runs {
			over := r.over()
			if over.IsZero() {
				over = r.began.Add(longestRun)
			}
			if over.After(now) {
				return now
			}
			last = later(last, over)
		}
	}
	return last
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ordered tells whether the operation waits for those of its lane that were sent before.
func (o *operation) ordered() bool { return o.kind == "tell" || o.kind == "ask" }

func (s *swarm) check() {
	for _, o := range s.ops {
		s.checkRuns(o)
		s.checkOutcome(o)
		s.checkOrder(o)
	}
}

// over is when a run was over for certain: a crash ends it.
func (r *run) over() time.Time {
	if d := r.life.died; !d.IsZero() && (r.ended.IsZero() || r.ended.After(d)) {
		return d
	}
	return r.ended
}

// counts tells whether what the run did was recorded: it returned, and its agent lived on.
func (r *run) counts() bool {
	return r.did != "" && (r.life.died.IsZero() || r.ended.Before(r.life.died))
}

// may tells whether it may have been.
func (r *run) may() bool { return r.did != "" && (r.life.died.IsZero() || !r.ended.After(r.life.died)) }

func (s *swarm) checkRuns(o *operation) {
	for n, r := range o.runs {
		s.want(!r.over().IsZero(), o, "a run does not end")
		// What a message is underway on the network counts for nobody, and each holder hands on whole milliseconds.
		s.want(o.ttl == 0 || r.began.Sub(o.sent) <= o.ttl+s.delays[r.life.id]+10*time.Millisecond, o, "a run began after the TTL")
		for _, later := range o.runs[n+1:] {
			s.want(!later.began.Before(r.over()), o, "two runs overlap")
			s.want(!r.counts() || !succeeds(r.did) && r.did != "reject", o, "a run after the outcome")
		}
	}
}

// checkOutcome wants an outcome that the runs explain.
func (s *swarm) checkOutcome(o *operation) {
	did := func(what ...string) bool {
		return slices.ContainsFunc(o.runs, func(r *run) bool { return r.may() && slices.Contains(what, r.did) })
	}
	var e *ack.Error
	switch err := o.outcome.err; {
	case err == nil:
		s.want(did("succeed", "be slow", "be very slow") || o.answered > 0 && o.kind != "count", o, "fulfilled by nobody")
	case !errors.As(err, &e):
		s.want(false, o, "an outcome without a code")
	default:
		s.want(!slices.ContainsFunc(o.runs, func(r *run) bool { return r.counts() && succeeds(r.did) }), o, "fulfilled, and another outcome")
		explained := false
		switch e.Code {
		case ack.TTLExpired:
			explained = o.ttl > 0
		case ack.PermissionDenied:
			explained = did("reject") || o.kind == "count" && o.answered > 0
		case ack.Overloaded:
			explained = did("overload")
		case ack.InternalError:
			explained = did("break") || len(o.runs) >= 5
		}
		s.want(explained, o, "an outcome that nothing explains")
	}
}

// checkOrder wants an ordered operation to start before those that were sent behind it, unless something was disturbed
// between, or one of them was sent again.
func (s *swarm) checkOrder(o *operation) {
	if !o.ordered() || len(o.runs) == 0 || o.outcome.attempts != 1 {
		return
	}
	for _, later := range s.ops[o.n+1:] {
		same := later.kind == o.kind && later.from == o.from && later.to == o.to && (later.talk == o.talk || o.kind == "ask")
		if !same || len(later.runs) == 0 || later.outcome.attempts != 1 || later.runs[0].life != o.runs[0].life {
			continue
		}
		from, to := o.sent, later.runs[0].began
		if slices.ContainsFunc(s.disturbed, func(t time.Time) bool { return !t.Before(from.Add(-time.Minute)) && !t.After(to) }) {
			continue
		}
		s.want(!to.Before(o.runs[0].began), o, "an operation started after one that was sent behind it")
	}
}

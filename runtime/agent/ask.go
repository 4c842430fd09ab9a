package agent

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

const (
	// A sender asks first when the acknowledgement timeout has passed, then at these intervals.
	askFirst = 30 * time.Second
	askLast  = 10 * time.Minute
	// Of a router that has started anew, it asks within this time.
	askAnew = 5 * time.Second
)

// askAgain sets when the sender asks next what became of the attempt.
func (o *operation) askAgain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	wait := time.Duration(o.rec.GetAckTimeoutNs())
	if o.pace.asked > 0 || ack.Stage(lastAttempt(o.rec).GetStage()) >= ack.Received {
		wait = max(wait, doubled(askFirst, max(0, o.pace.asked-1), askLast))
	}
	o.pace.asked++
	o.pace.again = time.Now().Add(wait)
}

// askAccepted asks soon about everything that a router has accepted. One that has started anew may have lost it, since its
// store may have come back from a backup.
func (a *Agent) askAccepted() {
	a.mu.Lock()
	open := slices.Collect(maps.Values(a.ops))
	a.mu.Unlock()
	for _, o := range open {
		o.askSoon()
	}
}

// askSoon sets an earlier time to ask when the router has the current attempt.
func (o *operation) askSoon() {
	o.mu.Lock()
	accepted := lastAttempt(o.rec).GetAcceptedAt() != nil && !between(o.rec) && !done(o.rec)
	if soon := time.Now().Add(rand.N(askAnew)); accepted && (o.pace.again.IsZero() || soon.Before(o.pace.again)) {
		o.pace.again = soon
	}
	o.mu.Unlock()
	if accepted {
		o.schedule()
	}
}

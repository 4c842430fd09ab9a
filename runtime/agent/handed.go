package agent

import (
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// handed is what this process knows of its handing the current attempt to routers. None of it is stored: of what an earlier
// process did, nothing is known.
type handed struct {
	// submitted tells that the last submission has no answer yet, or was accepted.
	submitted bool
	// doubtful tells that a router may have got it without this agent's knowing: a submission was never answered, or failed in
	// a way that says nothing, or may have been made by an earlier process.
	doubtful bool
	// router is where the last one went, several tells that another went elsewhere.
	router         string
	tried, several bool
	// kept tells that the attempt ends here, and must not be submitted any more.
	kept bool
}

// submit notes a submission, and tells whether it may be made.
func (h *handed) submit(router string) bool {
	if h.kept {
		return false
	}
	h.doubtful = h.doubtful || h.submitted
	h.several = h.several || h.tried && h.router != router
	h.submitted, h.tried, h.router = true, true, router
	return true
}

// keep tells whether no router has got the attempt, for sure: each submission was refused, or there was none. It then stays
// with this agent.
func (h *handed) keep() bool {
	h.kept = h.kept || !h.submitted && !h.doubtful
	return h.kept
}

// keep tells whether the current attempt is with this agent alone, for sure. It is not submitted any more then.
func (o *operation) keep() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return pending(o.rec) && unheard(o.rec) && o.pace.handed.keep()
}

// unheard tells whether nobody has acknowledged the current attempt.
func unheard(rec *storagepb.OutRecord) bool {
	return ack.Stage(lastAttempt(rec).GetStage()) == ack.None
}

// fate says of an operation that ends without an outcome whether it was certainly never delivered: no router has got its
// only attempt, or the one that has got it has given it back. state is what that one said, if it did.
func (o *operation) fate(state transportpb.WithdrawAnswer_State) string {
	kept := o.keep()
	o.mu.Lock()
	defer o.mu.Unlock()
	back := state == transportpb.WithdrawAnswer_STATE_WITHDRAWN && unheard(o.rec) && !o.pace.handed.several
	if len(o.rec.GetAttempts()) == 1 && (kept || back) {
		return noteNeverDelivered
	}
	return noteOutcomeUnknown
}

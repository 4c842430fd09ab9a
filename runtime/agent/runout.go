package agent

import (
	"fmt"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// withdrawPatience is how long the router may take to give a message back.
const withdrawPatience = 5 * time.Second

// Notes of operations that end at their sender.
const (
	noteNeverDelivered = "never_delivered"
	noteOutcomeUnknown = "outcome_unknown"
	noteLostState      = "receiver_lost_state"
	noteRanOut         = "ttl_expired: it was still with its sender"
	noteNoTime         = "ttl_expired: there is no time for another attempt"
	notePastDeadline   = "deadline_passed: there is no time for another attempt"
	noteTakenBack      = "ttl_expired: its sender took it back"
)

// wordWithdrawn is the note of the outcome that the router records for what its sender has taken back.
const wordWithdrawn = "withdrawn"

// ranOutWithdrawn tells whether the router's answer is what it recorded when this agent took the message back at the end of
// its time to live, and was told that an agent may have had it.
func ranOutWithdrawn(rec *storagepb.OutRecord, ans *transportpb.Answer) bool {
	return ack.Stage(ans.GetStage()) == ack.TimedOut && ans.GetNote() == wordWithdrawn && rec.GetTtlMs() > 0 && !ttlEnd(rec).After(time.Now())
}

// expiry is when this agent has to end the message for its time to live: as long as it may be the only one that holds it.
func expiry(rec *storagepb.OutRecord) time.Time {
	if rec.GetTtlMs() == 0 || !pending(rec) && !between(rec) {
		return time.Time{}
	}
	return ttlEnd(rec)
}

// between tells whether the last attempt has failed and the next is still to be made.
func between(rec *storagepb.OutRecord) bool {
	return rec.GetOutcome() == nil && ack.Stage(lastAttempt(rec).GetStage()).Terminal()
}

// withFailure adds to a note how the last attempt failed, which is why the operation came to its end at all.
func withFailure(text string, rec *storagepb.OutRecord) string {
	attempts := rec.GetAttempts()
	for i := len(attempts) - 1; i >= 0; i-- {
		at := attempts[i]
		if stage := ack.Stage(at.GetStage()); stage.Terminal() {
			return note(fmt.Errorf("%s; attempt %d ended %v %v: %s", text, i+1, stage, ack.Code(at.GetCode()), at.GetNote()))
		}
	}
	return text
}

// runOut ends a message whose time to live is over while it is with this agent. The router may have one that was
// submitted, and whose answer was lost: it is asked for it until it says that it has not.
func (o *operation) runOut(now time.Time) {
	o.mu.Lock()
	o.pace.expired = now.Add(withdrawPatience)
	rec := o.rec
	o.mu.Unlock()
	switch {
	case between(rec):
		o.finish(ack.Failed, ack.TTLExpired, withFailure(noteNoTime, rec))
		return
	case o.keep():
		o.finish(ack.Failed, ack.TTLExpired, o.withReasons(noteRanOut))
		return
	}
	if s := o.a.outbox.current(); s != nil {
		o.withdraw(s)
	}
	o.schedule()
}

// withdraw asks the router to give the current attempt back.
func (o *operation) withdraw(s session) {
	rec, _ := o.current()
	n := o.a.outbox.number()
	o.a.mu.Lock()
	delete(o.a.withdrawals, o.withdrawal)
	o.a.withdrawals[n], o.withdrawal = o, n
	o.a.mu.Unlock()
	s.withdraw(&transportpb.Withdraw{
		N: n, To: rec.GetTo(), Token: rec.GetToken(), MessageId: lastAttempt(rec).GetMessageId(),
	})
}

// expire ends an operation at its deadline. What a router may have is withdrawn first, so that the outcome tells whether the
// message was certainly never delivered.
func (o *operation) expire(now, deadline time.Time) {
	rec, _ := o.current()
	if rec.GetOutcome() != nil { // fulfilled, but the reply never came
		o.finish(ack.TimedOut, ack.AckTimeout, "reply_missing")
		return
	}
	if between(rec) {
		o.finish(ack.TimedOut, ack.AckTimeout, withFailure(notePastDeadline, rec))
		return
	}
	if o.keep() {
		o.timeOut(transportpb.WithdrawAnswer_STATE_UNSPECIFIED)
		return
	}
	s := o.a.outbox.current()
	o.mu.Lock()
	first := !o.pace.withdrawing
	o.pace.withdrawing = true
	o.mu.Unlock()
	switch {
	case first && s != nil:
		o.withdraw(s)
		o.schedule()
	case first, now.After(deadline.Add(withdrawPatience - time.Millisecond)):
		o.timeOut(transportpb.WithdrawAnswer_STATE_UNSPECIFIED)
	default:
		o.schedule()
	}
}

// withdrawn takes the router's answer to a withdrawal.
func (o *operation) withdrawn(state transportpb.WithdrawAnswer_State) {
	rec, _ := o.current()
	o.mu.Lock()
	atDeadline := o.pace.withdrawing
	o.mu.Unlock()
	if !atDeadline {
		o.ranOut(rec, state)
		return
	}
	o.timeOut(state)
}

// timeOut ends an operation at its deadline. state is what the router said to its withdrawal, if it did.
func (o *operation) timeOut(state transportpb.WithdrawAnswer_State) {
	o.finish(ack.TimedOut, ack.AckTimeout, o.withReasons(o.fate(state)))
}

// ranOut takes the router's answer for a message whose time to live is over: the one that has it sees to its end.
func (o *operation) ranOut(rec *storagepb.OutRecord, state transportpb.WithdrawAnswer_State) {
	switch {
	case done(rec) || !pending(rec):
		// The answer to its submission, or its outcome, has come meanwhile.
	case state == transportpb.WithdrawAnswer_STATE_TOO_LATE:
		o.accepted(lastAttempt(rec))
		o.a.outbox.makeReady(o.item)
		o.schedule()
	default:
		o.finish(ack.Failed, ack.TTLExpired, o.withReasons(noteRanOut))
	}
}

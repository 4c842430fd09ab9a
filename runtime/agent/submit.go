package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

const (
	// A refused submission is repeated at these intervals.
	refusedFirst = 200 * time.Millisecond
	refusedLast  = 30 * time.Second
)

// handle returns the operation of a record whose end, if it has one, is durable, and makes an active one move. body is its
// payload if it is at hand.
func (a *Agent) handle(rec *storagepb.OutRecord, d *exchange.Descriptor, body *storagepb.Body) *operation {
	for {
		o, ended := a.handleOf(rec, d, body)
		if ended == nil {
			return o
		}
		if a.buf.Settle(a.base) != nil { // the store has failed, and nothing moves any more
			return a.newOperation(rec, d, body)
		}
		rec = ended
	}
}

func (a *Agent) newOperation(rec *storagepb.OutRecord, d *exchange.Descriptor, body *storagepb.Body) *operation {
	return &operation{a: a, seq: rec.GetSequence(), d: d, rec: rec, body: body, changed: make(chan struct{})}
}

// handleOf is handle, unless the operation has ended since the caller read it: it then returns the record, of which nobody
// may be told before it is durable.
func (a *Agent) handleOf(rec *storagepb.OutRecord, d *exchange.Descriptor, body *storagepb.Body) (o *operation, ended *storagepb.OutRecord) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.ops[rec.GetSequence()]; o != nil {
		if o.d == nil {
			o.d = d
		}
		return o, nil
	}
	if current, err := a.buf.Out(rec.GetSequence()); err == nil {
		if endOf(current) > endOf(rec) {
			return nil, current
		}
		rec = current
	}
	o = a.newOperation(rec, d, body)
	if done(rec) {
		return o, nil
	}
	o.pace.handed.doubtful = body == nil                          // an earlier process may have submitted it
	if s, err := a.buf.OutStream(o.seq); err == nil && s != nil { // left by an earlier process
		o.reading.frames, o.reading.found = s, s.GetStored()
	}
	o.item = &item{
		class: transportpb.Class_CLASS_WORK,
		order: o.seq,
		build: o.build,
		answered: func(ans *transportpb.Answer, messageID string) {
			o.do(func() { o.answered(ans, messageID) })
		},
		due:     func() { o.do(o.due) },
		doubted: func() { o.do(o.doubt) },
	}
	a.ops[o.seq] = o
	if pending(rec) {
		a.outbox.add(o.item)
	} else {
		a.outbox.idle(o.item, time.Time{})
	}
	o.schedule()
	return o, nil
}

// pending tells whether the current attempt has still to be handed to the router.
func pending(rec *storagepb.OutRecord) bool {
	at := lastAttempt(rec)
	return rec.GetOutcome() == nil && at.GetAcceptedAt() == nil && !ack.Stage(at.GetStage()).Terminal()
}

// do runs fn in order with everything else that happens to the operation.
func (o *operation) do(fn func()) {
	o.a.work.do("out/"+strconv.FormatUint(o.seq, 10), fn)
}

// build makes the submission of the current attempt, nil when there is none to make.
func (o *operation) build(s session) *transportpb.Submit {
	rec, _ := o.current()
	at := lastAttempt(rec)
	now := time.Now()
	if done(rec) || between(rec) {
		return nil
	}
	if end := expiry(rec); !end.IsZero() && !end.After(now) {
		return nil // runOut ends it
	}
	if !s.asks() {
		if to, err := address.Parse(rec.GetTo()); err == nil && to.Kind() == address.KindCapability {
			o.do(func() {
				o.finish(ack.Rejected, ack.NoRoute, "this router broadcasts, so every agent with the capability would run it. Fix: address an agent")
			})
			return nil
		}
	}
	pass, afterRefusal, next := o.a.refusals.pass(refusedKey(rec), o)
	if next != nil {
		o.a.outbox.makeReady(next.item)
	}
	if !pass {
		return nil
	}
	o.mu.Lock()
	body := o.body
	o.mu.Unlock()
	if body == nil {
		var err error
		if body, err = o.a.buf.OutBody(o.seq); err != nil {
			o.a.log.Error("cannot read a stored message", "ref", o.Ref(), "error", err)
			o.do(func() {
				o.finish(ack.Failed, ack.InternalError, fmt.Sprintf("the stored message cannot be read: %v", err))
			})
			return nil
		}
	}
	o.mu.Lock()
	may := o.pace.handed.submit(s.routerID())
	o.mu.Unlock()
	if !may {
		return nil
	}
	return &transportpb.Submit{
		To:             rec.GetTo(),
		Envelope:       o.a.envelope(rec, at, body, now),
		DeadlineLeftMs: max(1, time.Until(rec.GetDeadline().AsTime()).Milliseconds()),
		LowestOpen:     o.a.buf.LowestOpenOut(),
		AfterRefusal:   afterRefusal,
	}
}

// doubt notes that a router may have got the message although it is about to be refused.
func (o *operation) doubt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pace.handed.doubtful = true
}

// answered takes the router's answer to a submission. One to an earlier attempt says nothing of the current, which could
// not be submitted before.
func (o *operation) answered(ans *transportpb.Answer, messageID string) {
	rec, _ := o.current()
	if done(rec) {
		return
	}
	at := lastAttempt(rec)
	if at.GetMessageId() != messageID {
		o.a.outbox.makeReady(o.item)
		return
	}
	o.mu.Lock()
	o.body = nil
	if ans.GetState() == transportpb.Answer_STATE_REFUSED {
		o.pace.handed.submitted = false
	} else {
		o.pace.refused, o.pace.obstacle = 0, nil
	}
	o.mu.Unlock()
	switch ans.GetState() {
	case transportpb.Answer_STATE_REFUSED:
		o.refused(ans)
	case transportpb.Answer_STATE_LOST:
		o.change(o.a.buf.FailAttemptOut(o.a.base, o.seq, at.GetMessageId(),
			&ack.Error{Stage: ack.Failed, Code: ack.AgentUnavailable, Note: noteLostState}))
	case transportpb.Answer_STATE_DONE:
		o.accepted(at)
		o.askAgain()
		if ranOutWithdrawn(rec, ans) {
			o.finish(ack.Failed, ack.TTLExpired, noteTakenBack)
			return
		}
		o.change(o.a.buf.AckOut(o.a.base, ack.Ack{
			ForMessageID: at.GetMessageId(), Stage: ack.Stage(ans.GetStage()), Code: ack.Code(ans.GetCode()), Note: ans.GetNote(),
		}, address.RouterID))
	default:
		o.accepted(at)
		o.askAgain()
		o.schedule()
	}
}

func (o *operation) accepted(at *storagepb.Attempt) {
	if at.GetAcceptedAt() != nil {
		return
	}
	rec, _ := o.current()
	o.a.refusals.log.accepted(rec.GetTo())
	defer o.turn(rec)
	if _, err := o.a.buf.AcceptedOut(o.seq, at.GetMessageId()); overtaken(err) {
		return
	} else if err != nil {
		o.a.failure("note that a message was accepted", err)
		return
	}
	o.refresh(nil)
}

// overtaken tells whether the operation has ended while something else was being done for it. Its acknowledgements are
// applied beside, and whoever applied the last one sees to what follows.
func overtaken(err error) bool {
	return errors.Is(err, activity.ErrFinished) || errors.Is(err, activity.ErrUnknown)
}

// refused repeats what the router may take later, and ends what it never will.
func (o *operation) refused(ans *transportpb.Answer) {
	code := ack.Code(ans.GetCode())
	if !code.Temporary() {
		o.finish(ack.Rejected, code, ans.GetNote())
		return
	}
	err := &ack.Error{Stage: ack.Rejected, Code: code, Note: ans.GetNote(), From: address.RouterID}
	rec, _ := o.current()
	if o.a.refusals.log.news(rec.GetTo(), code, time.Now()) {
		o.a.log.Warn("the router refuses messages to an address for now; they stay stored, and are sent again",
			"to", rec.GetTo(), "code", code.String(), "reason", clip(err.Note, maxObstacle))
	}
	o.mu.Lock()
	wait := time.Duration(ans.GetRetryAfterMs()) * time.Millisecond
	if wait <= 0 {
		wait = doubled(refusedFirst, o.pace.refused, refusedLast)
	}
	o.pace.refused++
	o.pace.obstacle = err
	o.pace.again = time.Now().Add(wait/2 + rand.N(wait/2+1))
	if !o.a.refusals.add(refusedKey(o.rec), o, err) {
		o.pace.again = time.Time{} // when the first one was taken
	}
	o.mu.Unlock()
	o.schedule()
}

// turn lets the next one be submitted that waited behind this one because it was refused.
func (o *operation) turn(rec *storagepb.OutRecord) {
	if next := o.a.refusals.remove(refusedKey(rec), o); next != nil {
		o.a.outbox.makeReady(next.item)
	}
}

func doubled(first time.Duration, n int, last time.Duration) time.Duration {
	return min(last, first<<min(n, 20))
}

// change takes over what an event did to the record.
func (o *operation) change(ch activity.OutChange, err error) {
	if err != nil {
		if !errors.Is(err, activity.ErrUnknown) {
			o.a.failure("record what became of a message", err)
		}
		return
	}
	var durable *storagepb.OutRecord
	if ch.OutcomeSet || ch.Finished {
		durable = ch.Record
	}
	rec := o.refresh(durable)
	if ch.Retry {
		o.mu.Lock()
		o.pace = pace{}
		o.mu.Unlock()
	}
	if done(rec) {
		o.close()
	} else {
		o.schedule()
	}
	late := ch.Record.GetLate() // as of this event; rec may have more by now
	if ch.Late && !ch.Duplicate && (len(late) == 0 || !announcesReply(ch.Record, late[len(late)-1])) {
		o.a.offerResult(o, true)
	}
}

// close takes a finished operation out of the outbox and hands on its result.
func (o *operation) close() {
	if o.item != nil {
		o.a.outbox.remove(o.item)
	}
	rec, _ := o.current()
	if ack.Stage(rec.GetOutcome().GetStage()) == ack.Fulfilled {
		o.a.ended.add(lastAttempt(rec).GetMessageId())
	}
	o.turn(rec)
	o.a.mu.Lock()
	_, first := o.a.ops[o.seq]
	delete(o.a.ops, o.seq)
	delete(o.a.withdrawals, o.withdrawal)
	o.a.mu.Unlock()
	o.mu.Lock()
	waited := o.waiters > 0
	o.body = nil
	o.mu.Unlock()
	if first && !waited {
		o.a.offerResult(o, false)
	}
}

func (o *operation) finish(stage ack.Stage, code ack.Code, note string) {
	rec, _ := o.current()
	if done(rec) {
		return
	}
	o.change(o.a.buf.FinishOut(o.a.base, o.seq, &storagepb.Outcome{
		Stage: commonpb.AckStage(stage), Code: commonpb.ErrorCode(code), Note: note,
		At: timestamppb.Now(), MessageId: lastAttempt(rec).GetMessageId(),
	}))
}

// schedule sets the timer to whatever is due next. The lock is held until it is set, lest an older state set it last.
func (o *operation) schedule() {
	o.mu.Lock()
	defer o.mu.Unlock()
	rec, p := o.rec, o.pace
	next := o.deadline()
	if p.withdrawing {
		next = next.Add(withdrawPatience)
	}
	ttl := expiry(rec)
	if !ttl.IsZero() && p.expired.After(ttl) {
		ttl = p.expired
	}
	for _, t := range []time.Time{p.again, moment(rec.GetNextAttemptAt()), ttl, o.graceEnds(), o.reading.askAt} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	o.a.outbox.setTimer(o.item, next)
}

// due does what the time has come for.
func (o *operation) due() {
	rec, _ := o.current()
	if done(rec) {
		return
	}
	o.mu.Lock()
	p, deadline, grace, askAt := o.pace, o.deadline(), o.graceEnds(), o.reading.askAt
	o.mu.Unlock()
	now := time.Now()
	reached := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	switch {
	case reached(grace):
		o.endStream()
		return
	case reached(deadline):
		o.expire(now, deadline)
		return
	case reached(askAt):
		o.askMissing()
	case reached(expiry(rec)) && !p.expired.After(now):
		o.runOut(now)
		return
	case reached(moment(rec.GetNextAttemptAt())):
		o.attempt()
		return
	case reached(p.again):
		o.mu.Lock()
		o.pace.again = time.Time{}
		o.mu.Unlock()
		if s := o.a.outbox.current(); s != nil && !s.asks() && unacknowledged(rec) {
			o.timedOut()
			return
		}
		o.a.outbox.makeReady(o.item)
	}
	o.schedule()
}

// unacknowledged tells whether the current attempt was accepted, and nothing was heard of it since.
func unacknowledged(rec *storagepb.OutRecord) bool {
	at := lastAttempt(rec)
	return at.GetAcceptedAt() != nil && ack.Stage(at.GetStage()) == ack.None
}

// timedOut ends an attempt on a router that does not answer questions: another one is made, or the operation ends with
// its outcome unknown.
func (o *operation) timedOut() {
	rec, _ := o.current()
	if len(rec.GetAttempts()) >= int(rec.GetRetry().GetMaxAttempts()) {
		o.finish(ack.TimedOut, ack.AckTimeout, noteOutcomeUnknown)
		return
	}
	o.attempt()
}

// attempt makes the next attempt durable and ready.
func (o *operation) attempt() {
	if _, err := o.a.buf.AttemptOut(o.a.base, o.seq, o.a.newID()); overtaken(err) {
		return
	} else if err != nil {
		o.a.failure("record a new attempt", err)
		return
	}
	o.refresh(nil)
	o.mu.Lock()
	o.pace = pace{}
	o.mu.Unlock()
	o.a.outbox.makeReady(o.item)
	o.schedule()
}

// offerResult gives the result of an operation that nobody waits for to the exchange's reply handler.
func (a *Agent) offerResult(o *operation, late bool) {
	rec, _ := o.current()
	fn := a.reg.replyHandler(rec.GetExchange())
	if fn == nil {
		if rec.GetOutcome() != nil && ack.Stage(rec.GetOutcome().GetStage()) != ack.Fulfilled {
			a.log.Warn("a message ended without success, and nobody waits for it", "ref", o.Ref(), "exchange", rec.GetExchange(),
				"to", rec.GetTo(), "outcome", outcomeError(rec))
		}
		return
	}
	if a.phase() != running {
		return // offered again at the next start
	}
	a.spawn(&a.offers, func(ctx context.Context) { a.deliverResult(ctx, o, fn, late) })
}

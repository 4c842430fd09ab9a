package agent

import (
	"errors"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// inbound is a delivery with the session that brought it, nil for one that had ended by then.
type inbound struct {
	*transportpb.Delivery
	by session
}

// delivered takes a delivery. Deliveries that belong together are handled in the order in which they came, others side by
// side, so that their syncs are shared.
func (a *Agent) delivered(delivery *transportpb.Delivery) {
	at := time.Now()
	d := inbound{delivery, a.outbox.current()}
	env := d.GetEnvelope()
	ct, err := envelope.ParseContentType(env.GetContentType())
	if err != nil && len(env.GetPayload()) > 0 {
		ct = envelope.ContentType{} // validation says what is wrong
	}
	a.clock.Observe(env.GetHlcTimestamp())
	class := a.class(delivery, ct)
	if class != transportpb.Class_CLASS_WORK && d.GetClass() == transportpb.Class_CLASS_WORK {
		a.inflow.arrived(int64(proto.Size(env)), 0) // the router counted it as work
		a.inflow.release(0)
	}
	switch class {
	case transportpb.Class_CLASS_SIGNAL:
		a.receiveSignal(d)
	case transportpb.Class_CLASS_ANSWER:
		a.deliveredAnswer(d, ct)
	default:
		h, refusal := a.reg.resolve(ct, exchange.MessageType(env.GetMessageType()))
		if h != nil {
			h, refusal = h.with(ct)
		}
		key := "in/" + env.GetMessageId()
		if lane := laneOf(h, env.GetProducerId(), env.GetCorrelationId()); lane != "" {
			key = "lane/" + lane
		}
		a.inflow.arrived(int64(proto.Size(env)), int64(len(env.GetPayload())))
		a.work.do(key, func() { a.receiveWork(d, at, ct, h, refusal) })
	}
}

// class tells the class of a delivery. A peer that knows no classes answers with a plain message: its token says so, or
// its correlation id, where this agent has asked something in it and does not handle such messages.
func (a *Agent) class(d *transportpb.Delivery, ct envelope.ContentType) transportpb.Class {
	env := d.GetEnvelope()
	if class := classOf(env, ct); class != transportpb.Class_CLASS_WORK {
		return class
	}
	if d.GetClass() > transportpb.Class_CLASS_WORK || ct.Method != "" || ct.Message != "" {
		return d.GetClass()
	}
	if h, _ := a.reg.resolve(ct, exchange.MessageType(env.GetMessageType())); h != nil {
		return transportpb.Class_CLASS_WORK
	}
	recs, err := a.buf.OutByCorrelation(env.GetCorrelationId())
	if err == nil && len(recs) == 1 && !done(recs[0]) && recs[0].GetWantsReply() {
		return transportpb.Class_CLASS_ANSWER
	}
	return transportpb.Class_CLASS_WORK
}

// laneOf names the messages that are handled one after another with those of a producer in a conversation; it is empty
// where there is no order, and for what is not handled.
func laneOf(h *handler, producer, correlation string) string {
	if h == nil {
		return ""
	}
	switch h.policy.Order {
	case exchange.OrderAgent:
		return producer
	case exchange.OrderCorrelation:
		return producer + "\n" + correlation
	default:
		return ""
	}
}

// reachable returns the session to the router that brought a delivery, nil when there is none, or one to another router,
// which has other messages under the same numbers.
func (a *Agent) reachable(d inbound) session {
	s := a.outbox.current()
	if s == nil || d.by == nil || s.routerID() != d.by.routerID() {
		return nil
	}
	return s
}

// settled acknowledges a delivery that the agent has made durable or has no use for.
func (a *Agent) settled(d inbound) {
	s := a.reachable(d)
	if s == nil {
		return // delivered again on that router's next session, and known then
	}
	s.ackDelivery(&transportpb.DeliveryAck{Seq: d.GetSeq(), MessageId: d.GetEnvelope().GetMessageId()})
	if class := d.GetClass(); class > transportpb.Class_CLASS_WORK && s == d.by {
		s.credit(class, 1, uint64(proto.Size(d.GetEnvelope())))
	}
}

// receiveSignal applies an acknowledgement to the operation that it names.
func (a *Agent) receiveSignal(d inbound) {
	env := d.GetEnvelope()
	sig, err := ack.Parse(env.GetContentType(), env.GetPayload())
	if err != nil {
		a.log.Warn("an acknowledgement cannot be read", "from", env.GetProducerId(), "message_id", env.GetMessageId(), "error", err)
		a.settled(d)
		return
	}
	if sig.Stage <= ack.Fulfilled && a.ended.has(sig.ForMessageID) {
		a.settled(d)
		return
	}
	a.work.do("signal/"+sig.ForMessageID, func() {
		rec, err := a.buf.OutByMessageID(sig.ForMessageID)
		switch {
		case errors.Is(err, activity.ErrUnknown):
			a.log.Info("an acknowledgement names no message of this agent", "from", env.GetProducerId(), "for", sig.ForMessageID, "stage", sig.Stage)
			a.settled(d)
			return
		case err != nil:
			a.failure("find an acknowledged message", err)
			return
		}
		if !entitled(rec, env.GetProducerId()) {
			a.log.Warn("an acknowledgement comes from an agent that the message was not sent to", "from", env.GetProducerId(), "to", rec.GetTo())
			a.settled(d)
			return
		}
		o := a.handle(rec, a.reg.descriptor(rec.GetExchange()), nil)
		ch, err := a.buf.AckOut(a.base, sig, env.GetProducerId())
		if err != nil && !errors.Is(err, activity.ErrUnknown) {
			a.failure("record an acknowledgement", err)
			return // not acknowledged, so delivered again
		}
		a.settled(d)
		o.change(ch, err)
	})
}

// entitled tells whether an agent may speak of a message: the one that it was sent to, any for a capability's, and the
// router.
func entitled(rec *storagepb.OutRecord, from string) bool {
	to, err := address.Parse(rec.GetTo())
	return from == address.RouterID || err != nil || to.Kind() != address.KindAgent || to.Name() == from
}

// receiveWork stores a message that came at a time and queues it for its handler.
func (a *Agent) receiveWork(d inbound, at time.Time, ct envelope.ContentType, h *handler, refusal error) {
	env := d.GetEnvelope()
	size := int64(len(env.GetPayload()))
	if err := envelope.Validate(env, a.limits); err != nil {
		a.refuse(d, err)
		a.inflow.release(size)
		return
	}
	to, err := address.Parse(d.GetTo())
	// Another member may get a capability's message, and what has a time to live may run out in the router's queue, until
	// the router has recorded that this agent has it.
	contested := err == nil && to.Kind() == address.KindCapability || env.GetTtlMs() > 0
	if contested && a.reachable(d) == nil {
		// The session has ended since, and nobody can say so. The router delivers it again.
		a.inflow.release(size)
		return
	}
	arrival := activity.Arrival{
		Envelope: env, To: d.GetTo(), Class: transportpb.Class_CLASS_WORK, At: at, RouterSeq: d.GetSeq(), Exchange: ct.Method,
		AwaitsCustody: contested && d.by.asks(),
	}
	if d.by != nil {
		arrival.RouterStoreID = d.by.routerID()
	}
	if h != nil {
		arrival.Exchange = h.d.Name()
		arrival.Retryable = h.policy.Retry.Retryable
	}
	verdict, rec, err := a.buf.RecordIn(a.base, arrival)
	if err != nil {
		a.inflow.release(size)
		if refusal := (*ack.Error)(nil); errors.As(err, &refusal) {
			a.refuse(d, refusal)
			return
		}
		a.failure("record a received message", err)
		return
	}
	switch verdict {
	case activity.New, activity.Rerun:
		a.take(d, rec, h, refusal)
	default:
		a.inflow.release(size)
		a.repeated(d, verdict, rec)
	}
}

// take acknowledges the delivery of a new message and accepts it, where the record says so once the router has recorded that
// this agent has it.
func (a *Agent) take(d inbound, rec *storagepb.InRecord, h *handler, refusal error) {
	messageID := d.GetEnvelope().GetMessageId()
	lane := laneOf(h, rec.GetFrom(), rec.GetCorrelationId())
	accept := func() { a.accept(rec, messageID, h, refusal) }
	if rec.GetAwaitsCustody() {
		a.awaitCustody(rec, messageID, lane, accept)
		a.custodyAsked(d, rec)
		return
	}
	a.settled(d)
	a.turns.pass(lane, accept)
}

// accept tells the sender that the message is here, and queues it for its handler.
func (a *Agent) accept(rec *storagepb.InRecord, messageID string, h *handler, refusal error) {
	a.signal(rec.GetFrom(), rec.GetCorrelationId(), ack.Ack{ForMessageID: messageID, Stage: ack.Received})
	a.queue(rec, h, refusal, true, false)
}

// repeated answers a message that is here already: with its stage, and once it has ended with its outcome and reply.
func (a *Agent) repeated(d inbound, verdict activity.Verdict, rec *storagepb.InRecord) {
	sig := ack.Ack{ForMessageID: d.GetEnvelope().GetMessageId(), Stage: max(ack.Stage(rec.GetStage()), ack.Received)}
	if o := rec.GetOutcome(); o != nil {
		sig.Stage, sig.Code, sig.Note = ack.Stage(o.GetStage()), ack.Code(o.GetCode()), o.GetNote()
		if verdict == activity.Finished && sig.Stage == ack.Fulfilled {
			sig.Code = ack.DuplicateDetected
		}
	} else if verdict == activity.Running {
		sig.Code = ack.AlreadyInProgress
	}
	if rec.GetAwaitsCustody() {
		// There is nothing to say before the router has recorded who has it.
		a.custodies.moved(rec.GetSequence(), deliveryOf(rec), activity.Awaited(rec))
		a.custodyAsked(d, rec)
		return
	}
	a.settled(d)
	if rec.GetFinished() != 0 {
		a.answerAgain(rec)
	}
	a.signal(rec.GetFrom(), rec.GetCorrelationId(), sig)
}

// refuse answers a message that cannot be stored.
func (a *Agent) refuse(d inbound, err error) {
	env := d.GetEnvelope()
	a.log.Warn("a message is refused", "from", env.GetProducerId(), "message_id", env.GetMessageId(), "error", err)
	if env.GetMessageId() != "" && envelope.CheckID("producer id", env.GetProducerId()) == nil {
		sig := ack.Ack{ForMessageID: env.GetMessageId(), Stage: ack.Rejected, Code: ack.CodeOf(err), Note: note(err)}
		a.signal(env.GetProducerId(), env.GetCorrelationId(), sig)
	}
	a.settled(d)
}

// recoverIn queues what an earlier process has received and not finished.
func (a *Agent) recoverIn() {
	for _, rec := range a.buf.OpenIn() {
		h, refusal := a.reg.recall(rec)
		if rec.GetDeferred() || h.continues() {
			a.resumeFlow(rec)
		}
		switch {
		case rec.GetAwaitsCustody():
			a.inflow.take(rec.GetPayloadBytes())
			a.awaitCustody(rec, activity.Awaited(rec), laneOf(h, rec.GetFrom(), rec.GetCorrelationId()),
				func() { a.queue(rec, h, refusal, true, true) })
		case rec.GetDeferred():
			a.watchTTL(rec)
		case rec.GetNextRunAt() != nil:
			a.runLater(rec, h, rec.GetNextRunAt().AsTime())
		default:
			a.inflow.take(rec.GetPayloadBytes())
			a.turns.pass(laneOf(h, rec.GetFrom(), rec.GetCorrelationId()),
				func() { a.queue(rec, h, refusal, true, true) })
		}
	}
	for _, rec := range a.buf.OwingIn() {
		a.pay(rec)
	}
}

// expiresAt is when the time to live of a received message ends, the zero time without one.
func expiresAt(rec *storagepb.InRecord) time.Time {
	if rec.GetTtlMs() == 0 {
		return time.Time{}
	}
	ttl := min(rec.GetTtlMs(), math.MaxInt64/uint64(time.Millisecond)) // what a peer sends may overflow
	return rec.GetReceivedAt().AsTime().Add(time.Duration(ttl) * time.Millisecond)
}

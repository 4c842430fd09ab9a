package agent

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

// What sendOnce sends is known by one of these, so that what waits for the router is bounded by what is stored and by what
// has come.
type (
	signalKey struct {
		to  string
		sig ack.Ack
	}
	frameKey  struct{ seq, run, n uint64 }
	answerKey struct{ seq, finished uint64 }
	closedKey struct {
		sender, to, token string
		run               uint64
	}
)

// signal sends an acknowledgement that is not stored: should it be lost, the sender asks and gets it again.
func (a *Agent) signal(to, correlation string, sig ack.Ack) {
	id := a.newID()
	build := func() (*commonpb.Envelope, error) { return a.ackEnvelope(correlation, sig, id), nil }
	a.sendOnce(signalKey{to, sig}, transportpb.Class_CLASS_SIGNAL, to, build, func(reason string) {
		a.log.Info("an acknowledgement was refused", "to", to, "stage", sig.Stage, "reason", reason)
	})
}

// sendOnce sends an envelope that is not stored as such to an agent, until the router has answered, and calls refused when
// it does not take it. build makes the envelope when it is sent; nothing is sent when what it is made of is gone. The same
// is not sent again before the router has answered: key says what is the same.
func (a *Agent) sendOnce(key any, class transportpb.Class, to string, build func() (*commonpb.Envelope, error), refused func(reason string)) {
	i := &item{key: key, class: class, order: a.order.Add(1), due: func() {}}
	i.build = func(session) *transportpb.Submit {
		env, err := build()
		if err != nil {
			if !errors.Is(err, activity.ErrUnknown) {
				a.log.Warn("what is to be told to another agent cannot be made", "to", to, "error", err)
			}
			a.outbox.remove(i)
			return nil
		}
		return a.submission(to, env)
	}
	i.answered = func(ans *transportpb.Answer, _ string) {
		a.outbox.remove(i)
		if ans.GetState() == transportpb.Answer_STATE_REFUSED {
			refused(ans.GetNote())
		}
	}
	a.outbox.addOnce(i)
}

// submission hands an acknowledgement or a reply to an agent.
func (a *Agent) submission(to string, env *commonpb.Envelope) *transportpb.Submit {
	return &transportpb.Submit{To: address.Agent(to).String(), Envelope: env, LowestOpen: a.buf.LowestOpenOut()}
}

// pay sends what a finished message owes, until the router has it; after its frames, so that they come first.
func (a *Agent) pay(rec *storagepb.InRecord) {
	a.whenDrained(rec, func() {
		for _, owed := range rec.GetOwed() {
			a.payOne(rec, owed)
		}
	})
}

func (a *Agent) payOne(rec *storagepb.InRecord, owed *storagepb.Owed) {
	class := transportpb.Class_CLASS_SIGNAL
	if owed.GetAckFor() == "" {
		class = transportpb.Class_CLASS_ANSWER
	}
	refused := 0
	i := &item{class: class, order: a.order.Add(1)}
	i.due = func() { a.outbox.makeReady(i) }
	paid := func() {
		a.outbox.remove(i)
		if err := a.buf.OwedSentIn(rec.GetSequence(), owed.GetMessageId()); err != nil {
			a.failure("note that an acknowledgement was sent", err)
		}
	}
	i.build = func(session) *transportpb.Submit {
		env, err := a.owedEnvelope(rec, owed)
		if err != nil {
			a.log.Error("cannot read a stored reply", "ref", a.inRef(rec.GetSequence()), "error", err)
			a.background(func(context.Context) { paid() })
			return nil
		}
		return a.submission(rec.GetFrom(), env)
	}
	i.answered = func(ans *transportpb.Answer, _ string) {
		if ans.GetState() == transportpb.Answer_STATE_REFUSED && ack.Code(ans.GetCode()).Temporary() {
			a.outbox.setTimer(i, time.Now().Add(doubled(refusedFirst, refused, refusedLast)))
			refused++
			return
		}
		if ans.GetState() == transportpb.Answer_STATE_REFUSED {
			a.log.Warn("what a message owes was refused for good", "ref", a.inRef(rec.GetSequence()), "to", rec.GetFrom(), "reason", ans.GetNote())
		}
		a.work.do("owed", paid)
	}
	a.outbox.add(i)
}

// answerAgain sends what a message was answered with once more, to a sender that asks for it: the reply, the tool's error,
// or the end of its stream, by which its reader knows whether frames are missing.
func (a *Agent) answerAgain(rec *storagepb.InRecord) {
	if !rec.GetHasReply() && !tellsEnd(rec) && !isToolError(rec) {
		return
	}
	id, key := a.newID(), answerKey{rec.GetSequence(), rec.GetFinished()}
	build := func() (*commonpb.Envelope, error) { return a.answerEnvelope(rec, id) }
	a.sendOnce(key, transportpb.Class_CLASS_ANSWER, rec.GetFrom(), build, func(string) {}) // the sender asks again
}

func (a *Agent) owedEnvelope(rec *storagepb.InRecord, owed *storagepb.Owed) (*commonpb.Envelope, error) {
	if owed.GetAckFor() != "" {
		return a.ackEnvelope(rec.GetCorrelationId(), ack.Ack{
			ForMessageID: owed.GetAckFor(), Stage: ack.Stage(owed.GetStage()), Code: ack.Code(owed.GetCode()), Note: owed.GetNote(),
		}, owed.GetMessageId()), nil
	}
	return a.answerEnvelope(rec, owed.GetMessageId())
}

// answerEnvelope makes what a finished message is answered with besides its acknowledgements.
func (a *Agent) answerEnvelope(rec *storagepb.InRecord, messageID string) (*commonpb.Envelope, error) {
	switch {
	case rec.GetHasReply():
		body, err := a.buf.InReply(rec.GetSequence())
		if err != nil {
			return nil, err
		}
		return a.replyEnvelope(rec, body, messageID), nil
	case tellsEnd(rec):
		return a.streamEnd(rec, messageID)
	default:
		return a.toolErrorEnvelope(rec, messageID)
	}
}

func (a *Agent) ackEnvelope(correlation string, sig ack.Ack, messageID string) *commonpb.Envelope {
	return a.reverse(messageID, correlation, commonpb.MessageType_ACKNOWLEDGEMENT, ack.ContentType, sig.Marshal())
}

func (a *Agent) replyEnvelope(rec *storagepb.InRecord, body *storagepb.Body, messageID string) *commonpb.Envelope {
	env := a.reverse(messageID, rec.GetCorrelationId(), resultType(rec), body.GetContentType(), body.GetPayload())
	if rec.GetToken() != "" {
		env.IdempotencyToken = envelope.ReplyToken(rec.GetToken())
	}
	return env
}

// reverse makes an envelope that goes back to a producer. It carries no sequence number of the operations, which are the
// only ones that the router counts.
func (a *Agent) reverse(id, correlation string, t commonpb.MessageType, contentType string, payload []byte) *commonpb.Envelope {
	return &commonpb.Envelope{
		MessageId: id, ProducerId: a.cfg.ID, CorrelationId: correlation, SequenceNumber: 1, MessageType: t,
		ContentType: contentType, ContentLength: uint64(len(payload)), Payload: payload,
		HlcTimestamp: a.clock.Now(), Timestamp: timestamppb.Now(), State: commonpb.EnvelopeState_ENVELOPE_STATE_SENT,
	}
}

package kv

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// The first words of the reasons for which the router itself ends a message.
const (
	reasonBudget    = "delivery_budget"
	reasonExpired   = "ttl_expired"
	reasonUnfetched = "unfetched"
	reasonPermanent = "permanent_failure"
	reasonLost      = "receiver_lost_state"
	noteWithdrawn   = "withdrawn"
)

// exhaust gives up a row that was handed out as often as it may be.
func (c *change) exhaust(r *row, now time.Time) error {
	note := fmt.Sprintf("%s exhausted: handed out %d times, and no agent has stored it", reasonBudget, r.deliveries)
	return c.giveUp(r, now, storagepb.QueueDeadLetter_CLASS_RETRYABLE, ack.AgentUnavailable, note)
}

// giveUp makes a row a dead letter, ends its operation as FAILED, and owes its producer the word of it, all in one batch.
// There is one database below, so one batch is enough; an engine whose addresses lie in several writes what it owes to an
// outbox beside the row and carries it over from there.
func (c *change) giveUp(r *row, now time.Time, class storagepb.QueueDeadLetter_Class, code ack.Code, note string) error {
	if r.copy {
		// The operation itself is in its custodian's hands.
		c.drop(r)
		return nil
	}
	if err := c.bury(r, class, code, note, now); err != nil {
		return err
	}
	if !r.work() {
		id, err := c.id(r.messageID)
		if err != nil || id == nil {
			return err
		}
		id.Done = true
		c.saveID(r.messageID, id)
		return nil
	}
	if err := c.fail(r, ack.Failed, code, note, now.UnixNano()); err != nil {
		return err
	}
	return c.owe(r, now, ack.Failed, code, note)
}

// fail ends the operation of a row by the router's own decision. diedAt is 0 when the row becomes no dead letter.
func (c *change) fail(r *row, stage ack.Stage, code ack.Code, note string, diedAt int64) error {
	t, err := c.token(r.token)
	if err != nil || t == nil {
		return err
	}
	t.State, t.DiedAt = storagepb.QueueToken_STATE_DONE, diedAt
	t.Stage, t.Code, t.Note = commonpb.AckStage(stage), commonpb.ErrorCode(code), shorten(note)
	if r.deliveries > 0 {
		t.Seen, t.LastAgent = true, r.lastAgent
	}
	c.saveToken(r.token, t)
	return nil
}

// owe queues an acknowledgement by the router for a row's producer.
func (c *change) owe(r *row, now time.Time, stage ack.Stage, code ack.Code, note string) error {
	of, err := c.e.envelope(r.seq)
	if err != nil {
		return err
	}
	return c.tell(r.producer, of, now, stage, code, note)
}

// tell queues an acknowledgement by the router for a producer.
func (c *change) tell(producer string, of *commonpb.Envelope, now time.Time, stage ack.Stage, code ack.Code, note string) error {
	if producer == address.RouterID {
		return nil
	}
	env := c.e.newAck(of, stage, code, note)
	if env.GetMessageId() == "" || len(env.GetMessageId()) > maxMessageID {
		env = c.e.routerAck(of, stage, code, note)
	}
	body, err := proto.Marshal(env)
	if err != nil {
		return fmt.Errorf("encode the acknowledgement of %s: %w", of.GetMessageId(), err)
	}
	return c.e.addControl(c, &submission{
		Message: queue.Message{
			Envelope: env,
			To:       address.Agent(producer).String(),
			Class:    transportpb.Class_CLASS_SIGNAL,
			From:     queue.Holder{Agent: address.RouterID},
			At:       now,
		},
		id:   env.GetMessageId(),
		body: body,
		ttl:  ttlOf(env),
	})
}

// routerAck builds an acknowledgement by the router.
func (e *Engine) routerAck(of *commonpb.Envelope, stage ack.Stage, code ack.Code, note string) *commonpb.Envelope {
	payload := ack.Ack{ForMessageID: of.GetMessageId(), Stage: stage, Code: code, Note: note}.Marshal()
	return &commonpb.Envelope{
		MessageId:      uuid.NewString(),
		ProducerId:     address.RouterID,
		CorrelationId:  of.GetCorrelationId(),
		SequenceNumber: 1,
		MessageType:    commonpb.MessageType_ACKNOWLEDGEMENT,
		ContentType:    ack.ContentType,
		ContentLength:  uint64(len(payload)),
		Timestamp:      timestamppb.New(e.now()),
		Payload:        payload,
	}
}

package router

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// handle starts what a frame asks for. An error says that the stream ends.
func (c *connection) handle(f *transportpb.AgentFrame) error {
	switch f := f.GetFrame().(type) {
	case *transportpb.AgentFrame_Submit:
		return c.submit(f.Submit)
	case *transportpb.AgentFrame_Withdraw:
		return c.withdraw(f.Withdraw)
	case *transportpb.AgentFrame_DeliveryAck:
		return c.deliveryAck(f.DeliveryAck)
	case *transportpb.AgentFrame_Credit:
		c.credit.add(f.Credit)
		c.waker.wake()
	case *transportpb.AgentFrame_Drain:
		c.drained.Store(true)
	case *transportpb.AgentFrame_Ping:
		c.out.say(c.taking, &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Pong{Pong: &transportpb.Pong{N: f.Ping.GetN()}}})
	default:
		// A second hello and frames of later versions change nothing.
	}
	return c.taking.Err()
}

// submit hands an envelope to the engine here, in the order of the stream, and lets a lane wait until the answer is
// durable.
func (c *connection) submit(f *transportpb.Submit) error {
	if refused, ok := c.turned.refuses(f); ok {
		c.answer(c.taking, f.GetN(), refused)
		return c.taking.Err()
	}
	m, err := c.router.prepare(c.taking, submission{
		envelope: f.GetEnvelope(), named: []string{f.GetTo()}, class: f.GetClass(), from: c.holder,
		deadlineLeft: milliseconds(uint64(max(f.GetDeadlineLeftMs(), 0))), lowestOpen: f.GetLowestOpen(),
	})
	if err != nil {
		if refused, ok := refusalOf(err); ok {
			c.turned.note(f, refused)
			c.answer(c.taking, f.GetN(), refused)
			return c.taking.Err()
		}
		err = c.router.failure(c.taking, "prepare", err)
		c.fail(err)
		return err
	}
	receipt, err := c.router.accept(c.taking, m)
	if err != nil {
		c.fail(err)
		return err
	}
	if refused, ok := receipt.Refusal(); ok {
		c.turned.note(f, refused)
	}
	settle := func(ctx context.Context) {
		answer, err := c.router.settle(ctx, m, receipt)
		if err != nil {
			c.fail(err)
			return
		}
		c.answer(ctx, f.GetN(), answer)
	}
	if err := c.lanes.add(c.taking, f.GetN(), proto.Size(m.Envelope), settle); err != nil {
		settle(c.taking) // it is accepted, although nobody will hear so
		return err
	}
	return nil
}

func (c *connection) answer(ctx context.Context, n uint64, a queue.Answer) {
	c.out.say(ctx, &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Answer{Answer: answerOf(n, a)}})
}

func (c *connection) withdraw(f *transportpb.Withdraw) error {
	return c.lanes.add(c.taking, f.GetN(), 0, func(ctx context.Context) {
		state, err := c.router.withdraw(ctx, queue.Withdrawal{
			From: c.holder, To: f.GetTo(), Token: f.GetToken(), MessageID: f.GetMessageId(),
		})
		if err != nil {
			c.fail(err)
			return
		}
		c.out.say(ctx, &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_WithdrawAnswer{
			WithdrawAnswer: &transportpb.WithdrawAnswer{N: f.GetN(), State: state},
		}})
	})
}

// withdraw takes a message back; where the sender left the recipient to the router, it is looked up.
func (r *Router) withdraw(ctx context.Context, w queue.Withdrawal) (transportpb.WithdrawAnswer_State, error) {
	if w.To == "" {
		origin, known, err := r.engine.Lookup(ctx, w.MessageID)
		if err != nil {
			return 0, r.failure(ctx, "look up", err)
		}
		if !known || origin.Producer != w.From.Agent {
			return transportpb.WithdrawAnswer_STATE_UNKNOWN, nil
		}
		w.To = origin.To
	}
	if _, err := address.Parse(w.To); err != nil {
		return transportpb.WithdrawAnswer_STATE_UNKNOWN, nil
	}
	state, err := r.engine.Withdraw(ctx, w)
	if err != nil {
		return 0, r.failure(ctx, "withdraw", err)
	}
	return state, nil
}

// deliveryAck records custody. What was sent to the agent itself need not be durable, and is recorded before any later
// frame is handled, such as the message's outcome. The agent starts what is contested only after the answer, which may
// therefore come in any order.
func (c *connection) deliveryAck(f *transportpb.DeliveryAck) error {
	do := func(ctx context.Context) {
		recorded, err := c.router.acknowledge(ctx, c.holder, delivered{
			seq: f.GetSeq(), messageID: f.GetMessageId(),
			dead: f.GetOutcome() == transportpb.DeliveryAck_OUTCOME_PERMANENT_FAILURE,
		})
		if err != nil {
			c.fail(err)
			return
		}
		c.out.say(ctx, &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_AckAnswer{
			AckAnswer: &transportpb.AckAnswer{Seq: f.GetSeq(), Recorded: recorded},
		}})
	}
	own, ok := c.window.take(f.GetSeq())
	if ok && !own.contested && f.GetOutcome() == transportpb.DeliveryAck_OUTCOME_DELIVERED_UNSPECIFIED {
		do(c.taking)
		return c.taking.Err()
	}
	return c.lanes.add(c.taking, uint64(f.GetSeq()), 0, do)
}

// delivered says what an agent did with a delivery.
type delivered struct {
	seq       int64
	messageID string
	// dead says that the agent discards it for good.
	dead bool
}

func (r *Router) acknowledge(ctx context.Context, h queue.Holder, d delivered) (bool, error) {
	if d.seq <= 0 || d.messageID == "" {
		return false, nil
	}
	var recorded bool
	var err error
	if d.dead {
		recorded, err = r.engine.Dead(ctx, h, d.seq, d.messageID, "permanent_failure: discarded by "+h.Agent)
	} else {
		recorded, err = r.engine.Custody(ctx, h, d.seq, d.messageID)
	}
	if err != nil {
		return false, r.failure(ctx, "acknowledge", err)
	}
	return recorded, nil
}

// maxBuffered is how much of one class waits to be written to one stream at most.
const (
	maxBufferedMessages = 256
	maxBufferedBytes    = 4 << 20
)

// room is what is left of a class's credit, as far as the stream keeps up.
func (c *connection) room(class transportpb.Class) (int, int64) {
	if class == transportpb.Class_CLASS_WORK && c.drained.Load() {
		return 0, 0 // what its running handlers wait for still comes
	}
	messages, bytes := c.credit.left(class)
	waiting, waitingBytes := c.out.waiting(class)
	return min(messages, maxBufferedMessages-waiting), min(bytes, maxBufferedBytes-waitingBytes)
}

func (c *connection) deliver(class transportpb.Class, ds []queue.Delivery, until time.Time) {
	c.credit.spend(class, ds)
	c.window.add(ds, until)
	c.window.open(class, time.Now()) // forgets old leases, so that the window does not grow with them
	c.out.deliver(class, ds)
}

func answerOf(n uint64, a queue.Answer) *transportpb.Answer {
	return &transportpb.Answer{
		N: n, State: a.State, Stage: stageOf(a.Stage), Code: codeOf(a.Code), Note: a.Note,
	}
}

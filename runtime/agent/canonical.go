package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

const (
	// rpcTimeout bounds one canonical RPC.
	rpcTimeout = 30 * time.Second
	// headerRouter is the response header by which a router of this module shows itself on the canonical RPCs.
	headerRouter = "sw4rm-router"
	// headerRouterStart is the one by which it tells its starts apart.
	headerRouterStart = "sw4rm-router-start"
	// headerPatience is how long the header is awaited, and headerPatienceOurs from a router that has shown itself before.
	headerPatience     = 2 * time.Second
	headerPatienceOurs = rpcTimeout
)

// errShownLate ends a session in which a router was taken for a foreign one until it showed itself.
var errShownLate = errors.New("the router has shown late that it is one of this module; the session is opened again")

// canonical is a session over sw4rm.router.RouterService, for routers that do not offer our stream.
type canonical struct {
	client  routerpb.RouterServiceClient
	in      grpc.ServerStreamingClient[routerpb.StreamItem]
	ctx     context.Context
	cancel  context.CancelCauseFunc
	agentID string
	// ours is the id of a router of this module, empty for a foreign one.
	ours   string
	start  string
	header chan header
	events events
	calls  *serial
	slots  chan struct{}
	noAcks atomic.Bool
}

func openCanonical(ctx context.Context, conn grpc.ClientConnInterface, hello *transportpb.Hello, ev events) (*canonical, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "sw4rm-instance", hello.GetStoreId()+"/"+strconv.FormatUint(hello.GetEpoch(), 10))
	// The stream outlives ctx for as long as it takes to leave; run sees to that.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	client := routerpb.NewRouterServiceClient(conn)
	in, err := client.StreamIncoming(ctx, &routerpb.StreamRequest{AgentId: hello.GetAgentId()})
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("open the canonical stream: %w", err)
	}
	c := &canonical{
		client: client, in: in, ctx: ctx, cancel: cancel, agentID: hello.GetAgentId(), events: ev,
		header: make(chan header, 1), calls: newSerial(), slots: make(chan struct{}, 64),
	}
	go func() { // ends with the stream at the latest
		md, err := in.Header()
		c.header <- header{md, err}
	}()
	return c, nil
}

// header is what a stream's header says.
type header struct {
	md  metadata.MD
	err error
}

// value returns the value under a key, empty when there is none.
func (h header) value(key string) string { return first(h.md.Get(key)...) }

// identify waits for the router's header, which tells a router of this module from a foreign one. Routers send it at once
// or with the first item; a foreign router may send nothing for as long as there is no item, so patience is short where
// nothing is known of the router. A stream that ends without a header says nothing about the router, and must not be taken
// for a foreign one's.
func (c *canonical) identify(ctx context.Context, patience time.Duration) error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case h := <-c.header:
		c.ours, c.start = h.value(headerRouter), h.value(headerRouterStart)
		if h.err == nil && h.md == nil {
			_, h.err = c.in.Recv()
		}
		if h.err != nil {
			return fmt.Errorf("open the canonical stream: %w", c.goodbye(h.err))
		}
	case <-timeout.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// watchHeader ends the session when the header comes after identify has given up, and is one of this module's.
func (c *canonical) watchHeader() {
	select {
	case h := <-c.header:
		if h.value(headerRouter) != "" {
			c.cancel(errShownLate)
		}
	case <-c.ctx.Done():
	}
}

func (c *canonical) asks() bool          { return c.ours != "" }
func (c *canonical) routerID() string    { return c.ours }
func (c *canonical) routerStart() string { return c.start }

// credit does nothing: the canonical stream has no credit, its lease and the router's window bound what is under way.
func (c *canonical) credit(transportpb.Class, uint32, uint64) {}

// drain does nothing: there is no canonical way to say so. What still comes is stored, and runs at the next start.
func (c *canonical) drain() {}

// call runs fn in order with others of its key, and never more than the slots at once.
func (c *canonical) call(key string, fn func(ctx context.Context)) {
	c.calls.do(key, func() {
		select {
		case c.slots <- struct{}{}:
			defer func() { <-c.slots }()
		case <-c.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, rpcTimeout)
		defer cancel()
		fn(ctx)
	})
}

func (c *canonical) submit(m *transportpb.Submit) {
	c.call(m.GetTo(), func(ctx context.Context) {
		env := m.GetEnvelope()
		// Other peers compare content types exactly, and an acknowledgement is matched by the message that it names.
		if c.ours == "" && env.GetMessageType() != commonpb.MessageType_ACKNOWLEDGEMENT {
			env = withRecipient(env, m.GetTo())
		}
		if m.GetTo() != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "sw4rm-to", m.GetTo())
		}
		res, err := c.client.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: env})
		answer, sure := answerFromStatus(err, c.ours != "")
		if err == nil {
			answer, sure = answerFromReason(res.GetAccepted(), res.GetReason()), true
		}
		if answer == nil {
			c.cancel(fmt.Errorf("send over the canonical RPC: %w", c.goodbye(err)))
			return
		}
		if !sure {
			c.events.doubted(m.GetN())
		}
		answer.N = m.GetN()
		c.events.answered(answer)
	})
}

// withdraw cannot be said on the canonical RPCs.
func (c *canonical) withdraw(m *transportpb.Withdraw) {
	c.call(m.GetTo(), func(context.Context) {
		c.events.withdrawn(&transportpb.WithdrawAnswer{N: m.GetN(), State: transportpb.WithdrawAnswer_STATE_TOO_LATE})
	})
}

func (c *canonical) ackDelivery(m *transportpb.DeliveryAck) {
	if m.GetSeq() == 0 || c.noAcks.Load() {
		return
	}
	c.call("ack/"+strconv.FormatInt(m.GetSeq(), 10), func(ctx context.Context) {
		res, err := c.client.AckDelivery(ctx, &routerpb.DeliveryAckRequest{
			AgentId: c.agentID, Seq: m.GetSeq(), MessageId: m.GetMessageId(), Outcome: routerpb.DeliveryAckOutcome(m.GetOutcome()),
		})
		switch {
		case status.Code(err) == codes.Unimplemented:
			c.noAcks.Store(true)
		case err != nil && c.ours == "": // nothing depends on it there, and the stream tells when the router is gone
		case err != nil:
			c.cancel(fmt.Errorf("acknowledge a delivery over the canonical RPC: %w", c.goodbye(err)))
		default:
			c.events.custody(&transportpb.AckAnswer{Seq: m.GetSeq(), Recorded: res.GetRecorded()})
		}
	})
}

func (c *canonical) run(ctx context.Context) error {
	var leaving sync.WaitGroup
	defer leaving.Wait()
	defer c.calls.wait()
	defer c.cancel(nil)
	leaving.Go(func() { c.heed(ctx) })
	leaving.Go(c.watchHeader)
	for {
		item, err := c.in.Recv()
		if err != nil {
			if cause := context.Cause(c.ctx); cause != nil {
				return cause
			}
			if errors.Is(err, io.EOF) {
				return errors.New("the router closed the canonical stream")
			}
			return fmt.Errorf("receive over the canonical stream: %w", c.goodbye(err))
		}
		if c.ours == "" {
			if md, err := c.in.Header(); err == nil && len(md.Get(headerRouter)) > 0 {
				return errShownLate // it delivers this again, and is answered as it expects
			}
		}
		c.deliver(item)
	}
}

// heed ends the session when ctx ends; for an agent that closes, once the router has taken what it was sent last.
func (c *canonical) heed(ctx context.Context) {
	select {
	case <-c.ctx.Done():
		return
	case <-ctx.Done():
	}
	if errors.Is(context.Cause(ctx), errDrain) {
		patience := time.AfterFunc(leavePatience, func() { c.cancel(context.Cause(ctx)) })
		defer patience.Stop()
		c.calls.wait()
	}
	c.cancel(context.Cause(ctx))
}

// goodbye returns the reason for which a router of this module ends the session, when the status is one: its message
// begins with the reason's name. Any other error is returned as it is.
func (c *canonical) goodbye(err error) error {
	word, note, ok := strings.Cut(status.Convert(err).Message(), ": ")
	reason, known := transportpb.Goodbye_Reason_value["REASON_"+strings.ToUpper(word)]
	if !ok || !known || c.ours == "" {
		return err
	}
	return &goodbyeError{transportpb.Goodbye_Reason(reason), note}
}

// deliver hands an item on, unless a broadcasting router sent what is addressed to somebody else.
func (c *canonical) deliver(item *routerpb.StreamItem) {
	env := item.GetMsg()
	if env == nil {
		return
	}
	to := c.addressOf(item)
	ct, err := envelope.ParseContentType(env.GetContentType())
	if err == nil && ct.To != "" {
		if a, err := address.Parse(ct.To); err == nil && a.Kind() == address.KindAgent && a.Name() != c.agentID {
			c.ackDelivery(&transportpb.DeliveryAck{Seq: item.GetSeq(), MessageId: env.GetMessageId()})
			return
		}
		to = ct.To
	}
	if err == nil && ct.To == "" && c.ours == "" && env.GetProducerId() == c.agentID {
		c.ackDelivery(&transportpb.DeliveryAck{Seq: item.GetSeq(), MessageId: env.GetMessageId()})
		return // this agent's own, come back from a router that broadcasts
	}
	c.events.delivered(&transportpb.Delivery{Seq: item.GetSeq(), To: to, Class: classOf(env, ct), Envelope: env})
}

// addressOf returns the address that a message was sent to, as far as the router says so: the agent's own otherwise.
func (c *canonical) addressOf(item *routerpb.StreamItem) string {
	var said transportpb.ItemAddress
	if err := proto.Unmarshal(item.ProtoReflect().GetUnknown(), &said); err == nil && c.ours != "" {
		if to, err := address.Parse(said.GetTo()); err == nil {
			return to.String()
		}
	}
	return address.Agent(c.agentID).String()
}

// classOf tells the class of an envelope that comes without one.
func classOf(env *commonpb.Envelope, ct envelope.ContentType) transportpb.Class {
	if env.GetMessageType() == commonpb.MessageType_ACKNOWLEDGEMENT {
		return transportpb.Class_CLASS_SIGNAL
	}
	if _, reply := envelope.RequestToken(env.GetIdempotencyToken()); reply || ct.Kind != "" {
		return transportpb.Class_CLASS_ANSWER
	}
	switch env.GetMessageType() {
	case commonpb.MessageType_TOOL_RESULT, commonpb.MessageType_TOOL_ERROR:
		return transportpb.Class_CLASS_ANSWER
	default:
		return transportpb.Class_CLASS_WORK
	}
}

// withRecipient writes the recipient into a content type of this module, for routers that know of no other place. Any
// other type is left alone, since it is meant for peers that compare it as it is.
func withRecipient(env *commonpb.Envelope, to string) *commonpb.Envelope {
	ct, err := envelope.ParseContentType(env.GetContentType())
	if err != nil || to == "" || ct.Message == "" {
		return env
	}
	ct.To = to
	out := proto.CloneOf(env)
	out.ContentType = ct.String()
	return out
}

// answerFromReason reads a router's answer to SendMessage, whose reason begins with one word at routers of this module.
func answerFromReason(accepted bool, reason string) *transportpb.Answer {
	word, rest, _ := strings.Cut(strings.TrimSpace(reason), " ")
	if !accepted {
		code, note, _ := strings.Cut(reason, ":")
		c, ok := ack.CodeByName(strings.TrimSpace(code))
		if !ok {
			// The reference router's only refusal is that nobody is there.
			c, note = ack.NoRoute, reason
		}
		return &transportpb.Answer{
			State: transportpb.Answer_STATE_REFUSED, Code: commonpb.ErrorCode(c), Note: strings.TrimSpace(note),
		}
	}
	switch word {
	case "queued":
		return &transportpb.Answer{State: transportpb.Answer_STATE_QUEUED}
	case "leased":
		return &transportpb.Answer{State: transportpb.Answer_STATE_LEASED}
	case "delivered":
		return &transportpb.Answer{State: transportpb.Answer_STATE_DELIVERED}
	case "lost":
		return &transportpb.Answer{State: transportpb.Answer_STATE_LOST}
	case "done":
		stage, code, _ := strings.Cut(rest, " ")
		code, note, _ := strings.Cut(code, ":")
		s, ok := commonpb.AckStage_value[strings.TrimSpace(stage)]
		if !ok {
			return &transportpb.Answer{State: transportpb.Answer_STATE_DELIVERED}
		}
		c, _ := ack.CodeByName(strings.TrimSpace(code))
		return &transportpb.Answer{
			State: transportpb.Answer_STATE_DONE, Stage: commonpb.AckStage(s), Code: commonpb.ErrorCode(c), Note: strings.TrimSpace(note),
		}
	default:
		return &transportpb.Answer{State: transportpb.Answer_STATE_NEW}
	}
}

// answerFromStatus maps a gRPC status to a refusal of the message, nil where it says nothing about the message and the
// session has to end. A failure that may be the message's own is repeated later, so that it does not hold up others; sure
// tells that the router has not taken it then.
func answerFromStatus(err error, ours bool) (answer *transportpb.Answer, sure bool) {
	code, sure := ack.AgentUnavailable, true
	switch status.Code(err) {
	case codes.OK, codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return nil, false
	case codes.InvalidArgument, codes.OutOfRange:
		code = ack.ValidationError
	case codes.ResourceExhausted:
		code = ack.OversizePayload
	case codes.NotFound, codes.Unimplemented:
		code = ack.NoRoute
	case codes.PermissionDenied, codes.Unauthenticated:
		if ours { // this instance is refused, not the message
			return nil, false
		}
	default: // it may have failed on what comes after the message was taken
		sure = false
	}
	return &transportpb.Answer{
		State: transportpb.Answer_STATE_REFUSED, Code: commonpb.ErrorCode(code), Note: status.Convert(err).Message(),
	}, sure
}

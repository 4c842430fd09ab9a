package torture

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/catalog"
)

// badMail sends each agent messages that it cannot understand, as a peer of another make might. It returns how many were
// refused with a code, and what is wrong about the others.
func badMail(ctx context.Context, router string, agents []string, x catalog.Exchange) (refused int, wrong []string, err error) {
	conn, err := grpc.NewClient(router, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, nil, fmt.Errorf("connect to the router: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := &stranger{id: "stranger-" + envelope.NewID(), router: routerpb.NewRouterServiceClient(conn)}
	if p.stream, err = p.router.StreamIncoming(ctx, &routerpb.StreamRequest{AgentId: p.id}); err == nil {
		_, err = p.stream.Header() // comes when the router has the stream
	}
	if err != nil {
		if ctx.Err() != nil { // gRPC says so with a status of its own
			err = context.Cause(ctx)
		}
		return 0, nil, fmt.Errorf("open a stream to the router: %w", err)
	}
	typed := func(message, method string) string {
		return envelope.ContentType{Media: "application/protobuf", Message: message, Method: method}.String()
	}
	for _, id := range agents {
		for _, m := range []struct{ name, contentType, payload string }{
			{"a payload that does not decode", typed(x.RequestName(), methodOf(x)), "\xff\xff\xff"},
			{"another message than the exchange's", typed("sw4rm.torture.v1.Other", methodOf(x)), ""},
			{"an exchange that nobody knows", typed("sw4rm.torture.v1.Other", "sw4rm.torture.v1.Nobody/Nothing"), ""},
			{"a content type that is neither protobuf nor JSON", "text/plain", "hello"},
		} {
			a, err := p.ask(ctx, id, m.contentType, []byte(m.payload), x)
			switch {
			case err != nil:
				wrong = append(wrong, fmt.Sprintf("%s, sent to %s: %v", m.name, id, err))
			case a.Stage == ack.Fulfilled || a.Code == ack.NoCode:
				wrong = append(wrong, fmt.Sprintf("%s, sent to %s, ended as %v with %v", m.name, id, a.Stage, a.Code))
			default:
				refused++
			}
		}
	}
	return refused, wrong, nil
}

// methodOf is what a content type names; a message that is sent by itself has no method, and this one cannot be decoded
// whatever it names.
func methodOf(x catalog.Exchange) string {
	if x.Standalone() {
		return ""
	}
	return x.Name()
}

// stranger is an agent that speaks the protocol's RPCs.
type stranger struct {
	id     string
	router routerpb.RouterServiceClient
	stream grpc.ServerStreamingClient[routerpb.StreamItem]
}

// ask sends a message and returns how it ended. One that the router refuses has ended too.
func (p *stranger) ask(ctx context.Context, to, contentType string, payload []byte, x catalog.Exchange) (ack.Ack, error) {
	e := &commonpb.Envelope{
		MessageId: envelope.NewID(), ProducerId: p.id, CorrelationId: envelope.NewID(), SequenceNumber: 1,
		MessageType: commonpb.MessageType(x.Policy().MessageType), ContentType: contentType,
		ContentLength: uint64(len(payload)), Payload: payload,
	}
	res, err := p.router.SendMessage(metadata.AppendToOutgoingContext(ctx, "sw4rm-to", "agent:"+to), &routerpb.SendMessageRequest{Msg: e})
	if err != nil {
		return ack.Ack{}, err
	}
	if !res.GetAccepted() {
		return ack.Ack{Stage: ack.Rejected, Code: ack.ValidationError, Note: res.GetReason()}, nil
	}
	for {
		item, err := p.stream.Recv()
		if err != nil {
			return ack.Ack{}, fmt.Errorf("no outcome came: %w", err)
		}
		got := item.GetMsg()
		if _, err := p.router.AckDelivery(ctx, &routerpb.DeliveryAckRequest{
			AgentId: p.id, Seq: item.GetSeq(), MessageId: got.GetMessageId(),
			Outcome: routerpb.DeliveryAckOutcome_DELIVERY_ACK_OUTCOME_DELIVERED,
		}); err != nil {
			return ack.Ack{}, err
		}
		if a, ok := outcome(got); ok && a.ForMessageID == e.GetMessageId() {
			return a, nil
		}
	}
}

package e2e

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
)

// SendMessage implements routerpb.RouterServiceServer.
func (r *relay) SendMessage(ctx context.Context, req *routerpb.SendMessageRequest) (*routerpb.SendMessageResponse, error) {
	return relayed(ctx, r, req.GetMsg().GetProducerId(), req, routerpb.NewRouterServiceClient(r.out).SendMessage)
}

// AckDelivery implements routerpb.RouterServiceServer.
func (r *relay) AckDelivery(ctx context.Context, req *routerpb.DeliveryAckRequest) (*routerpb.DeliveryAckResponse, error) {
	return relayed(ctx, r, req.GetAgentId(), req, routerpb.NewRouterServiceClient(r.out).AckDelivery)
}

// relayed passes on a call, with what the network does to request and answer.
func relayed[Q, S any](ctx context.Context, r *relay, agent string, req Q, call func(context.Context, Q, ...grpc.CallOption) (S, error)) (S, error) {
	var none S
	l := &line{relay: r, agent: agent, conn: r.connOf(ctx), sleeping: ctx}
	md, _ := metadata.FromIncomingContext(ctx)
	out := metadata.NewOutgoingContext(ctx, md)
	switch l.next(upwards) {
	case dropRequest:
		l.cut()
		return none, errCutOff
	case duplicate:
		if _, err := call(out, req); err != nil {
			return none, err
		}
	case delay:
		l.wait()
	case reset:
		l.tear()
	case halfOpen:
		return none, l.silenced()
	}
	var header metadata.MD
	res, err := call(out, req, grpc.Header(&header))
	if heading := grpc.SetHeader(ctx, plain(header)); heading != nil && err == nil {
		return none, heading
	}
	switch l.next(downwards) {
	case dropAnswer:
		l.cut()
		return none, errCutOff
	case delay:
		l.wait()
	case reset:
		l.tear()
	case halfOpen:
		return none, l.silenced()
	}
	return res, err
}

// silenced is silence for one call: the connection ends with it.
func (l *line) silenced() error {
	err := l.silence()
	l.cut()
	return err
}

// plain leaves out of headers what gRPC adds by itself.
func plain(md metadata.MD) metadata.MD {
	out := md.Copy()
	for _, name := range []string{"content-type", "date", "trailer"} {
		out.Delete(name)
	}
	return out
}

// StreamIncoming implements routerpb.RouterServiceServer.
func (r *relay) StreamIncoming(req *routerpb.StreamRequest, down grpc.ServerStreamingServer[routerpb.StreamItem]) error {
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	l := &line{relay: r, agent: req.GetAgentId(), conn: r.connOf(ctx), sleeping: ctx}
	md, _ := metadata.FromIncomingContext(ctx)
	up, err := routerpb.NewRouterServiceClient(r.out).StreamIncoming(metadata.NewOutgoingContext(ctx, md), req)
	if err != nil {
		return err
	}
	header, err := up.Header()
	if err != nil {
		return err
	}
	if err := down.SendHeader(plain(header)); err != nil {
		return err
	}
	for {
		item, err := up.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch l.next(downwards) {
		case dropAnswer:
			l.cut()
			return errCutOff
		case duplicate:
			if err := down.Send(item); err != nil {
				return err
			}
		case delay:
			l.sleep(slowFor + 100*time.Millisecond)
		case reset:
			l.tear()
		case halfOpen:
			return l.silenced()
		}
		if err := down.Send(item); err != nil {
			return err
		}
	}
}

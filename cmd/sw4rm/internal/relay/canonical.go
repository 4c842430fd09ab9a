package relay

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
)

// SendMessage implements routerpb.RouterServiceServer.
func (r *Relay) SendMessage(ctx context.Context, req *routerpb.SendMessageRequest) (*routerpb.SendMessageResponse, error) {
	return relayed(ctx, r, req.GetMsg().GetProducerId(), req, routerpb.NewRouterServiceClient(r.out).SendMessage)
}

// AckDelivery implements routerpb.RouterServiceServer.
func (r *Relay) AckDelivery(ctx context.Context, req *routerpb.DeliveryAckRequest) (*routerpb.DeliveryAckResponse, error) {
	return relayed(ctx, r, req.GetAgentId(), req, routerpb.NewRouterServiceClient(r.out).AckDelivery)
}

// relayed passes on a call, with what the network does to request and answer.
func relayed[Q, S any](ctx context.Context, r *Relay, agent string, req Q, call func(context.Context, Q, ...grpc.CallOption) (S, error)) (S, error) {
	var none S
	l := &line{relay: r, agent: agent, conn: r.connOf(ctx), sleeping: ctx}
	md, _ := metadata.FromIncomingContext(ctx)
	out := metadata.NewOutgoingContext(ctx, md)
	switch l.next(Upwards) {
	case DropRequest:
		l.cut()
		return none, errCutOff
	case Duplicate:
		if _, err := call(out, req); err != nil {
			return none, err
		}
	case Delay:
		l.wait()
	case Reset:
		l.tear()
	case HalfOpen:
		return none, l.silenced()
	}
	var header metadata.MD
	res, err := call(out, req, grpc.Header(&header))
	if heading := grpc.SetHeader(ctx, plain(header)); heading != nil && err == nil {
		return none, heading
	}
	switch l.next(Downwards) {
	case DropAnswer:
		l.cut()
		return none, errCutOff
	case Delay:
		l.wait()
	case Reset:
		l.tear()
	case HalfOpen:
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
func (r *Relay) StreamIncoming(req *routerpb.StreamRequest, down grpc.ServerStreamingServer[routerpb.StreamItem]) error {
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
		switch l.next(Downwards) {
		case DropAnswer:
			l.cut()
			return errCutOff
		case Duplicate:
			if err := down.Send(item); err != nil {
				return err
			}
		case Delay:
			l.wait()
		case Reset:
			l.tear()
		case HalfOpen:
			return l.silenced()
		}
		if err := down.Send(item); err != nil {
			return err
		}
	}
}

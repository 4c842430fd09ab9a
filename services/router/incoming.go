package router

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// A canonical stream has no credit; it gets at most this much of each class before it acknowledges.
const (
	windowMessages = 100
	windowBytes    = 16 << 20
)

// StreamIncoming delivers an agent's messages until the agent or the router ends the stream. The streams of an agent that
// names no instance compete for its messages.
func (s *routerService) StreamIncoming(req *routerpb.StreamRequest, stream grpc.ServerStreamingServer[routerpb.StreamItem]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	r := s.router
	if err := stream.SetHeader(r.header()); err != nil {
		return err
	}
	if err := checkAgent(req.GetAgentId()); err != nil {
		return err
	}
	md, _ := metadata.FromIncomingContext(ctx)
	h, err := r.caller(md, req.GetAgentId())
	if err != nil {
		return err
	}
	h.Stream = r.streams.Add(1)
	in := &incoming{
		router: r, stream: stream, holder: h,
		out: newOutbox(), window: newWindow(), waker: newWaker(),
		ending: make(chan ending, 1), failed: make(chan error, 1),
	}
	member := &session{holder: h, capabilities: in.capabilities, wake: in.waker.wake, end: in.end, window: in.window}
	refused, err := r.admit(ctx, member)
	if err != nil {
		return err
	}
	log := r.log.With("agent", h.Agent, "store", h.Store, "epoch", h.Epoch)
	if refused != nil {
		log.WarnContext(ctx, "agent refused", "reason", refused.reason.String())
		return refusedStatus(*refused)
	}
	log.InfoContext(ctx, "agent connected on the canonical stream")
	defer func() {
		if err := r.engine.Release(r.ctx, h); err != nil && r.ctx.Err() == nil {
			log.ErrorContext(ctx, "leases could not be given back", "error", err)
		}
		r.members.remove(member)
		log.InfoContext(ctx, "agent disconnected from the canonical stream")
	}()
	// The agent learns that it is connected, and to what, before the first message.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	return in.serve(ctx)
}

// incoming is one canonical stream.
type incoming struct {
	router *Router
	stream grpc.ServerStreamingServer[routerpb.StreamItem]
	holder queue.Holder
	out    *outbox
	window *window
	waker  *waker
	ending chan ending
	failed chan error
}

func (in *incoming) capabilities() []string {
	return in.router.directory.Capabilities(in.holder.Agent)
}

func (in *incoming) end(e ending) {
	select {
	case in.ending <- e:
	default:
	}
}

func (in *incoming) fail(err error) {
	select {
	case in.failed <- err:
	default:
	}
}

func (in *incoming) serve(ctx context.Context) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	written, pumped := make(chan struct{}), make(chan struct{})
	in.router.running.Go(func() {
		defer close(written)
		writeLoop(working, in.out, in.router.lease, in.send, in.waker.wake, in.fail)
	})
	in.router.running.Go(func() {
		defer close(pumped)
		p := &pump{router: in.router, holder: in.holder, capabilities: in.capabilities, outlet: in, waker: in.waker}
		if err := p.run(working); err != nil {
			in.fail(err)
		}
	})
	var err error
	select {
	case e := <-in.ending:
		err = refusedStatus(e)
	case err = <-in.failed:
	case <-ctx.Done():
		err = status.FromContextError(ctx.Err()).Err()
	}
	stop()
	<-pumped
	// A write that nobody reads ends with the call only, and so is not waited for without end.
	select {
	case <-written:
	case <-time.After(flushTimeout):
	case <-ctx.Done():
	}
	return err
}

func (in *incoming) send(batch []*transportpb.RouterFrame) error {
	for _, f := range batch {
		item, err := in.item(f.GetDelivery())
		if err != nil {
			return err
		}
		if err := in.stream.Send(item); err != nil {
			return status.Errorf(codes.Unavailable, "write to the stream: %v", err)
		}
	}
	return nil
}

// item is a delivery as the protocol has it. An agent of this module gets the address with it, by which it tells what other
// members of a capability may get too.
func (in *incoming) item(d *transportpb.Delivery) (*routerpb.StreamItem, error) {
	item := &routerpb.StreamItem{Msg: d.GetEnvelope(), Seq: d.GetSeq()}
	if in.holder.Store == "" || d.GetTo() == address.Agent(in.holder.Agent).String() {
		return item, nil
	}
	to, err := proto.Marshal(&transportpb.ItemAddress{To: d.GetTo()})
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode the address of %d: %v", d.GetSeq(), err)
	}
	item.ProtoReflect().SetUnknown(to)
	return item, nil
}

// room is what is left of a class's window.
func (in *incoming) room(class transportpb.Class) (int, int64) {
	messages, bytes := in.window.open(class, time.Now())
	return windowMessages - messages, windowBytes - bytes
}

func (in *incoming) deliver(class transportpb.Class, ds []queue.Delivery, until time.Time) {
	in.window.add(ds, until)
	in.out.deliver(class, ds)
}

package router

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// transportService serves the module's own stream.
type transportService struct {
	transportpb.UnimplementedTransportServiceServer
	router *Router
}

// Connect serves one agent's stream.
func (s *transportService) Connect(stream grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	c := &connection{
		router: s.router, stream: stream,
		in: make(chan *transportpb.ConnectRequest), inEnd: make(chan error, 1),
		out: newOutbox(), window: newWindow(), waker: newWaker(),
		ending: make(chan ending, 1), failed: make(chan error, 1),
	}
	c.taking, c.stopTaking = context.WithCancel(ctx)
	defer c.stopTaking()
	// Receiving ends when this call has returned, and so it cannot be waited for here.
	s.router.running.Go(func() { c.receive(ctx) })
	return c.serve(ctx)
}

// connection is one agent's stream. The goroutine of the call handles its frames in order; receiving, writing, leasing
// and the jobs that wait for the engine have goroutines of their own.
type connection struct {
	router *Router
	stream grpc.BidiStreamingServer[transportpb.ConnectRequest, transportpb.ConnectResponse]
	holder queue.Holder

	in    chan *transportpb.ConnectRequest
	inEnd chan error
	out   *outbox
	lanes *lanes

	// taking ends when no more frames of the agent are handled.
	taking     context.Context
	stopTaking context.CancelFunc
	ending     chan ending
	failed     chan error

	credit credit
	window *window
	waker  *waker
	heard  time.Time // when the engine was told last; used by frames alone
	turned turned    // used by frames alone
	// drained says that the agent takes no more work.
	drained atomic.Bool
}

// end asks the stream to end for a reason of the router's.
func (c *connection) end(e ending) {
	select {
	case c.ending <- e:
		c.stopTaking()
	default:
	}
}

// fail ends the stream with an error.
func (c *connection) fail(err error) {
	select {
	case c.failed <- err:
		c.stopTaking()
	default:
	}
}

func (c *connection) receive(ctx context.Context) {
	for {
		req, err := c.stream.Recv()
		if err != nil {
			c.inEnd <- err
			return
		}
		select {
		case c.in <- req:
		case <-ctx.Done():
			return
		}
	}
}

// serve admits the agent and works until somebody ends the stream.
func (c *connection) serve(ctx context.Context) error {
	hello, rest, err := c.hello(ctx)
	if err != nil {
		return err
	}
	holder, capabilities, err := c.router.holderOf(hello)
	if err != nil {
		return err
	}
	c.holder = holder
	for _, k := range hello.GetCredit() {
		c.credit.add(k)
	}
	offered := func() []string { return capabilities }
	s := &session{holder: holder, capabilities: offered, wake: c.waker.wake, end: c.end}
	refused, err := c.router.admit(ctx, s)
	if err != nil {
		return err
	}
	log := c.router.log.With("agent", holder.Agent, "store", holder.Store, "epoch", holder.Epoch)
	if refused != nil {
		log.WarnContext(ctx, "agent refused", "reason", refused.reason.String())
		return c.stream.Send(&transportpb.ConnectResponse{Frames: []*transportpb.RouterFrame{goodbyeFrame(*refused)}})
	}
	log.InfoContext(ctx, "agent connected", "version", hello.GetVersion(), "capabilities", len(capabilities))
	defer func() {
		// The agent's messages must not wait for their leases to end. The call's context has.
		if err := c.router.engine.Release(c.router.ctx, holder); err != nil && c.router.ctx.Err() == nil {
			log.ErrorContext(ctx, "leases could not be given back", "error", err)
		}
		c.router.members.remove(s)
		log.InfoContext(ctx, "agent disconnected")
	}()
	return c.work(ctx, offered, rest)
}

// hello waits for the first frame, and returns it with those that came along.
func (c *connection) hello(ctx context.Context) (*transportpb.Hello, []*transportpb.AgentFrame, error) {
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case req := <-c.in:
		frames := req.GetFrames()
		if len(frames) == 0 || frames[0].GetHello() == nil {
			return nil, nil, status.Error(codes.InvalidArgument, "the first frame is not a hello")
		}
		return frames[0].GetHello(), frames[1:], nil
	case err := <-c.inEnd:
		if errors.Is(err, io.EOF) {
			return nil, nil, status.Error(codes.InvalidArgument, "the stream ended before its hello")
		}
		return nil, nil, err
	case <-timer.C:
		return nil, nil, status.Error(codes.DeadlineExceeded, "no hello came")
	case <-ctx.Done():
		return nil, nil, status.FromContextError(ctx.Err()).Err()
	}
}

// work runs an admitted stream to its end.
func (c *connection) work(ctx context.Context, offered func() []string, frames []*transportpb.AgentFrame) error {
	c.out.say(ctx, c.welcome())
	jobs, cancelJobs := context.WithCancel(ctx)
	defer cancelJobs()
	c.lanes = newLanes(jobs)

	written := make(chan struct{})
	c.router.running.Go(func() {
		defer close(written)
		writeLoop(ctx, c.out, c.router.lease, c.send, c.waker.wake, c.fail)
	})
	pumping, stopPump := context.WithCancel(ctx)
	defer stopPump()
	pumped := make(chan struct{})
	c.router.running.Go(func() {
		defer close(pumped)
		p := &pump{router: c.router, holder: c.holder, capabilities: offered, outlet: c, waker: c.waker, audible: true}
		if err := p.run(pumping); err != nil {
			c.fail(err)
		}
	})

	final, err := c.frames(ctx, frames)

	// What was submitted before the end is still answered, as far as the agent reads and the engine works.
	c.stopTaking()
	stopPump()
	<-pumped
	impatience := time.AfterFunc(flushTimeout, cancelJobs)
	defer impatience.Stop()
	c.lanes.wait()
	c.out.close(final)
	select {
	case <-written:
	case <-jobs.Done():
	}
	return err
}

// frames handles the agent's frames until somebody ends the stream, and returns the last frame to write, if any, and the
// call's error.
func (c *connection) frames(ctx context.Context, frames []*transportpb.AgentFrame) (*transportpb.RouterFrame, error) {
	for {
		for _, f := range frames {
			if err := c.handle(f); err != nil {
				break
			}
		}
		frames = nil
		select {
		case e := <-c.ending:
			return goodbyeFrame(e), nil
		case err := <-c.failed:
			return nil, err
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case err := <-c.inEnd:
			if errors.Is(err, io.EOF) {
				return nil, nil
			}
			return nil, err
		case req := <-c.in:
			c.hear()
			frames = req.GetFrames()
		}
	}
}

// hear tells the engine that the agent is there, a few times in a lease at most.
func (c *connection) hear() {
	if now := time.Now(); now.Sub(c.heard) >= c.router.lease/8 {
		c.heard = now
		c.router.engine.Heard(c.holder, now)
	}
}

func (c *connection) send(batch []*transportpb.RouterFrame) error {
	return c.stream.Send(&transportpb.ConnectResponse{Frames: batch})
}

func (c *connection) welcome() *transportpb.RouterFrame {
	return &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Welcome{Welcome: &transportpb.Welcome{
		RouterStoreId:    c.router.engine.ID(),
		LeaseMs:          c.router.lease.Milliseconds(),
		MaxEnvelopeBytes: int64(c.router.maxBytes),
		RouterStart:      c.router.start,
	}}}
}

func goodbyeFrame(e ending) *transportpb.RouterFrame {
	return &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Goodbye{Goodbye: &transportpb.Goodbye{Reason: e.reason, Note: e.note}}}
}

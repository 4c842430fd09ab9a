package agenttest

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

// errCut is what a connection ends with when a fault ends it.
var errCut = status.Error(codes.Unavailable, "agenttest: the connection is cut")

// dialOptions put the instance between its agent and the router.
func (i *instance) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainStreamInterceptor(i.connect), grpc.WithChainUnaryInterceptor(i.call)}
}

// call lets the agent call the registry until the connection is cut.
func (i *instance) call(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	select {
	case <-i.cut:
		return errCut
	default:
		return invoke(ctx, method, req, reply, cc, opts...)
	}
}

// connect taps the agent's stream.
func (i *instance) connect(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	select {
	case <-i.cut:
		return nil, errCut
	default:
	}
	if method != transportpb.TransportService_Connect_FullMethodName {
		return streamer(ctx, desc, cc, method, opts...)
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		cancel()
		return nil, err
	}
	if c := i.faults.current(); c != nil {
		c.connected()
	}
	t := &tap{ClientStream: s, i: i, ctx: ctx, cancel: cancel, incoming: make(chan batch), work: map[uint64]struct{}{}}
	go t.pump()
	return t, nil
}

// tap is an agent's stream to the router with the faults that act on it. One goroutine calls SendMsg, one RecvMsg, as for
// every stream.
type tap struct {
	grpc.ClientStream
	i      *instance
	ctx    context.Context
	cancel context.CancelFunc

	incoming chan batch
	held     []heldFrame // deliveries that are late, in order
	err      error       // what RecvMsg has ended with

	mu   sync.Mutex
	work map[uint64]struct{} // the submissions of work that are not answered
}

type batch struct {
	frames []*transportpb.RouterFrame
	err    error
}

type heldFrame struct {
	at    time.Time
	frame *transportpb.RouterFrame
}

// pump reads what the router sends until the stream ends, so that RecvMsg can wait for what is late at the same time.
func (t *tap) pump() {
	for {
		res := &transportpb.ConnectResponse{}
		err := t.ClientStream.RecvMsg(res)
		select {
		case t.incoming <- batch{res.GetFrames(), err}:
		case <-t.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// SendMsg implements grpc.ClientStream.
func (t *tap) SendMsg(m any) error {
	req, ok := m.(*transportpb.ConnectRequest)
	if !ok {
		return t.ClientStream.SendMsg(m)
	}
	select {
	case <-t.i.cut:
		return io.EOF
	default:
	}
	out := &transportpb.ConnectRequest{}
	for _, f := range req.GetFrames() {
		c := t.i.faults.current()
		if c != nil {
			passes, crashes := c.leaving(f)
			if crashes {
				t.i.crash(c)
				return io.EOF
			}
			if !passes {
				break
			}
		}
		if s := f.GetSubmit(); s.GetClass() == transportpb.Class_CLASS_WORK {
			t.mu.Lock()
			t.work[s.GetN()] = struct{}{}
			t.mu.Unlock()
		}
		out.Frames = append(out.Frames, f)
	}
	if len(out.GetFrames()) == 0 {
		return nil
	}
	return t.ClientStream.SendMsg(out)
}

// RecvMsg implements grpc.ClientStream.
func (t *tap) RecvMsg(m any) error {
	res, ok := m.(*transportpb.ConnectResponse)
	if !ok {
		return t.ClientStream.RecvMsg(m)
	}
	for t.err == nil {
		if frames := t.receive(); len(frames) > 0 {
			proto.Reset(res)
			res.Frames = frames
			return nil
		}
	}
	t.cancel()
	return t.err
}

// receive waits for what comes next, and returns the frames that are due.
func (t *tap) receive() []*transportpb.RouterFrame {
	var due <-chan time.Time
	if len(t.held) > 0 {
		timer := time.NewTimer(time.Until(t.held[0].at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-t.i.cut:
		t.err = errCut
	case b := <-t.incoming:
		t.err = b.err
		return t.take(b.frames)
	case <-due:
		frame := t.held[0].frame
		t.held = t.held[1:]
		return []*transportpb.RouterFrame{frame}
	case <-t.ctx.Done():
		t.err = status.FromContextError(t.ctx.Err()).Err()
	}
	return nil
}

// take applies the faults to what the router has sent, and returns what the agent gets of it now.
func (t *tap) take(frames []*transportpb.RouterFrame) []*transportpb.RouterFrame {
	var now []*transportpb.RouterFrame
	for _, f := range frames {
		switch {
		case f.GetAnswer() != nil:
			if t.lost(f.GetAnswer()) {
				t.err = errCut
				t.cancel()
				return now
			}
			now = append(now, f)
		case f.GetDelivery() != nil && f.GetDelivery().GetClass() != transportpb.Class_CLASS_SIGNAL:
			now = append(now, t.deliver(f)...)
		default:
			now = append(now, f)
		}
	}
	return now
}

// lost tells whether the router's answer does not reach the agent.
func (t *tap) lost(ans *transportpb.Answer) bool {
	if c := t.i.faults.current(); c != nil {
		c.answered(ans.GetN())
	}
	t.mu.Lock()
	_, work := t.work[ans.GetN()]
	delete(t.work, ans.GetN())
	t.mu.Unlock()
	return work && ans.GetState() != transportpb.Answer_STATE_REFUSED && t.i.faults.drop()
}

// deliver returns the copies of a delivery that the agent gets now, and keeps those that are late.
func (t *tap) deliver(f *transportpb.RouterFrame) []*transportpb.RouterFrame {
	if c := t.i.faults.current(); c != nil {
		c.meet(f.GetDelivery())
	}
	copies, delay := t.i.faults.delivery()
	out := []*transportpb.RouterFrame{f}
	if copies > 1 {
		out = append(out, proto.CloneOf(f))
	}
	if delay <= 0 && len(t.held) == 0 {
		return out
	}
	at := time.Now().Add(delay)
	if n := len(t.held); n > 0 && at.Before(t.held[n-1].at) {
		at = t.held[n-1].at
	}
	for _, f := range out {
		t.held = append(t.held, heldFrame{at, f})
	}
	return nil
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

const (
	// pingEvery and silenceLimit find a connection that is dead without saying so.
	pingEvery    = 15 * time.Second
	silenceLimit = 45 * time.Second
	// openTimeout bounds the time from opening a stream to the router's welcome.
	openTimeout = 10 * time.Second
	// leavePatience is how long a closing agent waits for the router to take what it was sent last.
	leavePatience = time.Second
)

var (
	errNoWelcome = errors.New("the router does not welcome the agent")
	errSilent    = errors.New("the router has been silent")
)

// stream is a session over sw4rm.transport.v1.
type stream struct {
	s       grpc.BidiStreamingClient[transportpb.ConnectRequest, transportpb.ConnectResponse]
	ctx     context.Context
	cancel  context.CancelCauseFunc
	queue   *frameQueue
	welcome *transportpb.Welcome
	early   []*transportpb.RouterFrame // what came in one batch with the welcome
	events  events
	// began is when the stream was opened, heard how long after that the last frame came from the router: a wall clock that is
	// set anew changes neither.
	began time.Time
	heard atomic.Int64
}

// goodbyeError is the router's reason to end a stream.
type goodbyeError struct {
	reason transportpb.Goodbye_Reason
	note   string
}

func (e *goodbyeError) Error() string {
	return fmt.Sprintf("the router ended the stream: %s %s", e.reason, e.note)
}

// openStream says hello and waits for the router's welcome.
func openStream(ctx context.Context, conn grpc.ClientConnInterface, hello *transportpb.Hello, ev events) (*stream, error) {
	// The stream outlives ctx for as long as it takes to leave; run sees to that.
	opening := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer context.AfterFunc(opening, func() { cancel(context.Cause(opening)) })()
	timeout := time.AfterFunc(openTimeout, func() { cancel(errNoWelcome) })
	defer timeout.Stop()
	c, err := transportpb.NewTransportServiceClient(conn).Connect(ctx)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("open the stream: %w", err)
	}
	s := &stream{s: c, ctx: ctx, cancel: cancel, queue: newFrameQueue(), events: ev, began: time.Now()}
	if err := s.greet(hello); err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errNoWelcome) {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	s.hear()
	return s, nil
}

func (s *stream) greet(hello *transportpb.Hello) error {
	frame := &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Hello{Hello: hello}}
	if err := s.s.Send(&transportpb.ConnectRequest{Frames: []*transportpb.AgentFrame{frame}}); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("say hello: %w", err)
	}
	for {
		res, err := s.s.Recv()
		if err != nil {
			return fmt.Errorf("wait for the router's welcome: %w", err)
		}
		for i, f := range res.GetFrames() {
			switch f := f.GetFrame().(type) {
			case *transportpb.RouterFrame_Welcome:
				s.welcome, s.early = f.Welcome, res.GetFrames()[i+1:]
				return nil
			case *transportpb.RouterFrame_Goodbye:
				return &goodbyeError{f.Goodbye.GetReason(), f.Goodbye.GetNote()}
			}
		}
	}
}

func (s *stream) submit(m *transportpb.Submit) {
	s.queue.push(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Submit{Submit: m}})
}

func (s *stream) withdraw(m *transportpb.Withdraw) {
	s.queue.push(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Withdraw{Withdraw: m}})
}

func (s *stream) ackDelivery(m *transportpb.DeliveryAck) {
	s.queue.push(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_DeliveryAck{DeliveryAck: m}})
}

func (s *stream) credit(class transportpb.Class, messages uint32, bytes uint64) {
	s.queue.grant(class, messages, bytes)
}

func (s *stream) drain() {
	s.queue.push(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Drain{Drain: &transportpb.Drain{}}})
}

func (s *stream) asks() bool { return true }

func (s *stream) routerID() string    { return s.welcome.GetRouterStoreId() }
func (s *stream) routerStart() string { return s.welcome.GetRouterStart() }

func (s *stream) run(ctx context.Context) error {
	defer s.cancel(nil)
	received := make(chan error, 1)
	go func() { received <- s.receive() }()
	var listening sync.WaitGroup
	listening.Go(s.listen)
	listening.Go(func() { s.heed(ctx) })
	err := s.send(ctx, received)
	s.cancel(nil)
	listening.Wait()
	if ended := <-received; ended != nil && err == nil {
		err = ended
	}
	if cause := context.Cause(s.ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// heed ends the stream when ctx ends; for an agent that closes, once it had the time to leave.
func (s *stream) heed(ctx context.Context) {
	select {
	case <-s.ctx.Done():
		return
	case <-ctx.Done():
	}
	if errors.Is(context.Cause(ctx), errDrain) {
		patience := time.NewTimer(leavePatience)
		defer patience.Stop()
		select {
		case <-s.ctx.Done():
		case <-patience.C:
		}
	}
	s.cancel(context.Cause(ctx))
}

// leave hands over what is queued, and waits until the router has taken it and ends the stream.
func (s *stream) leave(received chan error) error {
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.s.CloseSend(); err != nil {
		return fmt.Errorf("close the stream: %w", err)
	}
	err := <-received // at the latest when heed ends the stream
	received <- nil
	return err
}

// hear notes that something came from the router.
func (s *stream) hear() { s.heard.Store(int64(time.Since(s.began))) }

// listen ends the stream when the router falls silent. It is not for send to do, which such a router holds up.
func (s *stream) listen() {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for n := uint64(1); ; n++ {
		select {
		case <-s.ctx.Done():
			return
		case <-ping.C:
			if silent := time.Since(s.began) - time.Duration(s.heard.Load()); silent > silenceLimit {
				s.cancel(fmt.Errorf("%w for %v", errSilent, silent.Round(time.Second)))
				return
			}
			s.queue.push(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Ping{Ping: &transportpb.Ping{N: n}}})
		}
	}
}

// send writes batches until the receiving side has ended, or ctx ends.
func (s *stream) send(ctx context.Context, received chan error) error {
	for {
		select {
		case err := <-received:
			received <- nil
			return err
		case <-ctx.Done():
			return s.leave(received)
		case <-s.queue.ready:
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
}

func (s *stream) flush() error {
	for {
		batch, more := s.queue.take()
		if len(batch) == 0 {
			return nil
		}
		if err := s.s.Send(&transportpb.ConnectRequest{Frames: batch}); err != nil {
			if errors.Is(err, io.EOF) {
				return nil // the receiving side knows why
			}
			return fmt.Errorf("send to the router: %w", err)
		}
		if !more {
			return nil
		}
	}
}

func (s *stream) receive() error {
	if err := s.dispatch(s.early); err != nil {
		return err
	}
	for {
		res, err := s.s.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the router closed the stream")
		}
		if err != nil {
			return fmt.Errorf("receive from the router: %w", err)
		}
		s.hear()
		if err := s.dispatch(res.GetFrames()); err != nil {
			return err
		}
	}
}

func (s *stream) dispatch(frames []*transportpb.RouterFrame) error {
	for _, f := range frames {
		switch f := f.GetFrame().(type) {
		case *transportpb.RouterFrame_Answer:
			s.events.answered(f.Answer)
		case *transportpb.RouterFrame_WithdrawAnswer:
			s.events.withdrawn(f.WithdrawAnswer)
		case *transportpb.RouterFrame_Delivery:
			s.events.delivered(f.Delivery)
		case *transportpb.RouterFrame_AckAnswer:
			s.events.custody(f.AckAnswer)
		case *transportpb.RouterFrame_Goodbye:
			return &goodbyeError{f.Goodbye.GetReason(), f.Goodbye.GetNote()}
		}
	}
	return nil
}

package exchange

import (
	"context"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
)

// Sender stores and sends messages. *agent.Agent is one.
type Sender interface {
	// Send stores out durably and returns its operation. It does not wait for the router.
	Send(ctx context.Context, out *Outgoing) (Operation, error)
	// Resume returns a stored operation of the exchange, ErrUnknownRef when the record is gone.
	Resume(ctx context.Context, d *Descriptor, ref Ref) (Operation, error)
}

// Registrar takes handlers before an agent starts. *agent.Agent is one. Mistakes are kept and returned when it starts.
type Registrar interface {
	// Service announces a service that the agent handles.
	Service(s Service)
	// Handle registers the handler of one exchange.
	Handle(d *Descriptor, fn Handler)
	// HandleReply registers what gets the results of an exchange that no call waits for.
	HandleReply(d *Descriptor, fn ReplyHandler)
	// Mistake records a wrong registration.
	Mistake(err error)
}

// Responder answers a message whose handler returned ErrDeferred. *agent.Agent is one.
type Responder interface {
	// Respond ends the received message with reply or err. A second answer is ErrAnswered.
	Respond(ctx context.Context, d *Descriptor, ref Ref, reply proto.Message, err error) error
	// RespondFrames lets send add frames to a stream, and ends it when send returns nil. See Stream.Reply.
	RespondFrames(ctx context.Context, d *Descriptor, ref Ref, send func(FrameWriter) error) error
}

// Handler handles one exchange's requests. The handler of a one-way exchange, or of a stream, returns a nil reply.
type Handler func(ctx context.Context, req proto.Message) (proto.Message, error)

// ReplyHandler gets the original request with its reply or error; for a stream, reply is nil and the frames are in the
// context. It is called again, with backoff, until it returns nil.
type ReplyHandler func(ctx context.Context, req, reply proto.Message, err error) error

// Service is what an agent announces when it handles a service.
type Service struct {
	// Name is the service's full name.
	Name string
	// Capability is the address under which the agent is reached besides its id. Empty: Name.
	Capability string
	// File is the schema that declares the service.
	File protoreflect.FileDescriptor
}

// Outgoing is a message on its way out, as interceptors see it.
type Outgoing struct {
	Exchange *Descriptor
	To       address.Address
	Message  proto.Message
	// Policy is the exchange's with the call's overrides.
	Policy Policy
	// Key is the caller's own key; empty for none.
	Key string
	// CorrelationID, when empty, is that of the message being handled, else a new one.
	CorrelationID       string
	ParentCorrelationID string
	RepoID, WorktreeID  string
	// Caller tells that a Call waits for the result, so that Policy.ReplyTimeout ends the operation.
	Caller bool

	key keyFunc // the call's own; nil for the exchange's
}

// Incoming is a message on its way to its handler, as interceptors see it.
type Incoming struct {
	Exchange *Descriptor
	Info     Info
	Message  proto.Message
}

// Operation is a stored message on its way to one outcome. Its methods may be called from any goroutine.
type Operation interface {
	// Ref names the operation, in this and later processes of the agent.
	Ref() Ref
	// Status returns what is known now.
	Status() Status
	// Wait blocks until an attempt has reached stage or the operation has ended. An end other than FULFILLED is an
	// *ack.Error; an end of ctx an *Unfinished.
	Wait(ctx context.Context, stage ack.Stage) error
	// Result blocks until the operation has ended, and returns the reply, nil for a one-way exchange. Errors are those
	// of Wait.
	Result(ctx context.Context) (proto.Message, error)
}

// StreamOperation is the Operation of a stream: what Sender's methods return for KindStream.
type StreamOperation interface {
	Operation
	// Frames returns an iterator over the frames, from the first that is stored, as PendingStream.Frames does.
	Frames(ctx context.Context) iter.Seq2[proto.Message, error]
}

// FrameWriter takes the frames of a stream from its handler. Runtimes put one into the handler's context.
type FrameWriter interface {
	// Send is Frames.Send.
	Send(frame proto.Message) error
	// Recorded is Frames.Recorded.
	Recorded() int
	// Last returns the last stored frame, nil when there is none.
	Last() (proto.Message, error)
}

// Ref names an operation, or a received message, of one agent. It is meant to be stored.
type Ref string

// Status is what is known of an operation.
type Status struct {
	Ref Ref
	// Stage is the furthest that any attempt has come, and the outcome's once Done.
	Stage    ack.Stage
	Attempts []Attempt
	Done     bool
	// Err is the outcome when it is not FULFILLED. While the operation is open, it tells what keeps it from moving,
	// such as an unreachable router.
	Err error
}

// Attempt is one transmission of an operation. Times that have not come are zero.
type Attempt struct {
	MessageID                                          string
	RetryCount                                         int
	CreatedAt, AcceptedAt, ReceivedAt, ReadAt, EndedAt time.Time
	Stage                                              ack.Stage
	Code                                               ack.Code
	Note                                               string
}

// SendFunc sends one message.
type SendFunc func(ctx context.Context, out *Outgoing) (Operation, error)

// HandleFunc handles one message.
type HandleFunc func(ctx context.Context, in *Incoming) (proto.Message, error)

// Interceptor wraps what an agent sends and handles. Either method may return its argument.
type Interceptor interface {
	WrapSend(next SendFunc) SendFunc
	WrapHandle(next HandleFunc) HandleFunc
}

// Register announces s to r for the handler h, and tells whether its exchanges are to be registered: not when h is nil.
// Generated code calls it.
func Register(r Registrar, s Service, h any) bool {
	if r == nil {
		return false
	}
	if h == nil {
		r.Mistake(&RegistrationError{Exchange: s.Name, Problem: "the handler is nil", Fix: "pass a value that implements the handler interface"})
		return false
	}
	r.Service(s)
	return true
}

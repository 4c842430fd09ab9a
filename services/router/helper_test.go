package router

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	work   = transportpb.Class_CLASS_WORK
	answer = transportpb.Class_CLASS_ANSWER
	signal = transportpb.Class_CLASS_SIGNAL
)

// world is a served router. It stops with the test, or with stop.
type world struct {
	t      testing.TB
	router *Router
	server *server.Server
	conn   *grpc.ClientConn
	stop   func()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serve serves a router over s on a socket of the machine, or in memory.
func serve(t testing.TB, s store.Store, o Options, inMemory bool) *world {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet()
	}
	r, err := Open(t.Context(), s, o)
	require.NoError(t, err)
	w := &world{t: t, router: r}
	w.server = server.New(server.Config{Register: r.Register, Drain: r.Drain})
	dial := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	var l net.Listener
	target := "passthrough:///router"
	if inMemory {
		b := bufconn.Listen(1 << 20)
		l = b
		dial = append(dial, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return b.DialContext(ctx) }))
	} else {
		l, err = server.Listen(t.Context(), "--router", "localhost:0")
		require.NoError(t, err)
		target = l.Addr().String()
	}
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(l) }()
	w.conn, err = grpc.NewClient(target, dial...)
	require.NoError(t, err)
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			require.NoError(t, w.conn.Close())
			ctx, cancel := context.WithTimeout(context.Background(), server.Grace)
			defer cancel()
			w.server.Shutdown(ctx)
			r.Close()
			require.NoError(t, <-served)
		})
	}
	t.Cleanup(w.stop)
	return w
}

// newWorld serves a router over an empty store in memory on a socket.
func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	return serve(t, store.NewMemory(), o, false)
}

func (w *world) canonical() routerpb.RouterServiceClient {
	return routerpb.NewRouterServiceClient(w.conn)
}

// send sends on the canonical RPC with pairs of metadata.
func (w *world) send(e *commonpb.Envelope, kv ...string) (*routerpb.SendMessageResponse, error) {
	ctx := metadata.AppendToOutgoingContext(context.Background(), kv...)
	return w.canonical().SendMessage(ctx, &routerpb.SendMessageRequest{Msg: e})
}

// reason sends and returns the reason, with a ! before it when the message was not accepted.
func (w *world) reason(e *commonpb.Envelope, kv ...string) string {
	w.t.Helper()
	got, err := w.send(e, kv...)
	require.NoError(w.t, err)
	if !got.GetAccepted() {
		return "!" + got.GetReason()
	}
	return got.GetReason()
}

// incoming opens a canonical stream.
func (w *world) incoming(agent string, kv ...string) *reader {
	w.t.Helper()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), kv...))
	stream, err := w.canonical().StreamIncoming(ctx, &routerpb.StreamRequest{AgentId: agent})
	require.NoError(w.t, err)
	r := &reader{t: w.t, items: make(chan *routerpb.StreamItem, 1000), done: make(chan struct{}), cancel: cancel, stream: stream}
	go func() {
		defer close(r.done)
		for {
			item, err := stream.Recv()
			if err != nil {
				r.err = err
				return
			}
			r.items <- item
		}
	}()
	w.t.Cleanup(r.close)
	_, err = stream.Header() // the agent is known from here on
	require.NoError(w.t, err)
	return r
}

// reader reads a canonical stream.
type reader struct {
	t      testing.TB
	stream grpc.ServerStreamingClient[routerpb.StreamItem]
	items  chan *routerpb.StreamItem
	done   chan struct{}
	err    error
	cancel func()
}

func (r *reader) close() {
	r.cancel()
	<-r.done
}

func (r *reader) next() *routerpb.StreamItem {
	r.t.Helper()
	return wait(r.t, r.items)
}

// patience is how long tests wait for what must come.
const patience = 10 * time.Second

func wait[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// none checks that nothing is in c, after what was already under way had its chance.
func none[T any](t *testing.T, c <-chan T) {
	t.Helper()
	select {
	case v := <-c:
		require.Failf(t, "something came", "%v", v)
	default:
	}
}

// peer is an agent on the module's own stream.
type peer struct {
	t      testing.TB
	stream grpc.BidiStreamingClient[transportpb.ConnectRequest, transportpb.ConnectResponse]
	cancel func()
	done   chan struct{}
	err    error
	n      uint64

	welcomes   chan *transportpb.Welcome
	answers    chan *transportpb.Answer
	withdrawn  chan *transportpb.WithdrawAnswer
	deliveries [classes]chan *transportpb.Delivery
	acks       chan *transportpb.AckAnswer
	goodbyes   chan *transportpb.Goodbye
	pongs      chan *transportpb.Pong
}

func hello(agent, store string, epoch uint64, capabilities ...string) *transportpb.Hello {
	return &transportpb.Hello{
		AgentId: agent, StoreId: store, Epoch: epoch, Version: "test", Capabilities: capabilities,
		Credit: []*transportpb.Credit{
			{Class: work, Messages: 1000, Bytes: 1 << 30},
			{Class: answer, Messages: 1000, Bytes: 1 << 30},
			{Class: signal, Messages: 1000, Bytes: 1 << 30},
		},
	}
}

// dial opens a stream and says hello, without waiting for the answer.
func (w *world) dial(h *transportpb.Hello) *peer {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := transportpb.NewTransportServiceClient(w.conn).Connect(ctx)
	require.NoError(w.t, err)
	p := &peer{
		t: w.t, stream: stream, cancel: cancel, done: make(chan struct{}),
		welcomes: make(chan *transportpb.Welcome, 10), answers: make(chan *transportpb.Answer, 100_000),
		withdrawn: make(chan *transportpb.WithdrawAnswer, 100), acks: make(chan *transportpb.AckAnswer, 100_000),
		goodbyes: make(chan *transportpb.Goodbye, 10), pongs: make(chan *transportpb.Pong, 100),
	}
	for i := range p.deliveries {
		p.deliveries[i] = make(chan *transportpb.Delivery, 100_000)
	}
	go p.read()
	w.t.Cleanup(p.close)
	p.frames(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Hello{Hello: h}})
	return p
}

// connect opens a stream and waits until it is admitted.
func (w *world) connect(h *transportpb.Hello) *peer {
	w.t.Helper()
	p := w.dial(h)
	wait(w.t, p.welcomes)
	return p
}

func (p *peer) close() {
	p.cancel()
	<-p.done
}

func (p *peer) read() {
	defer close(p.done)
	for {
		res, err := p.stream.Recv()
		if err != nil {
			p.err = err
			return
		}
		for _, f := range res.GetFrames() {
			switch f := f.GetFrame().(type) {
			case *transportpb.RouterFrame_Welcome:
				p.welcomes <- f.Welcome
			case *transportpb.RouterFrame_Answer:
				p.answers <- f.Answer
			case *transportpb.RouterFrame_WithdrawAnswer:
				p.withdrawn <- f.WithdrawAnswer
			case *transportpb.RouterFrame_Delivery:
				p.deliveries[f.Delivery.GetClass()] <- f.Delivery
			case *transportpb.RouterFrame_AckAnswer:
				p.acks <- f.AckAnswer
			case *transportpb.RouterFrame_Goodbye:
				p.goodbyes <- f.Goodbye
			case *transportpb.RouterFrame_Pong:
				p.pongs <- f.Pong
			}
		}
	}
}

func (p *peer) frames(fs ...*transportpb.AgentFrame) {
	p.t.Helper()
	require.NoError(p.t, p.stream.Send(&transportpb.ConnectRequest{Frames: fs}))
}

func (p *peer) submitFrame(to string, e *commonpb.Envelope) *transportpb.AgentFrame {
	p.n++
	return &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Submit{Submit: &transportpb.Submit{N: p.n, To: to, Envelope: e}}}
}

// submit submits and waits for the answer.
func (p *peer) submit(to string, e *commonpb.Envelope) *transportpb.Answer {
	p.t.Helper()
	p.frames(p.submitFrame(to, e))
	a := wait(p.t, p.answers)
	require.Equal(p.t, p.n, a.GetN())
	return a
}

func (p *peer) ack(d *transportpb.Delivery, outcome transportpb.DeliveryAck_Outcome) bool {
	p.t.Helper()
	p.frames(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_DeliveryAck{DeliveryAck: &transportpb.DeliveryAck{
		Seq: d.GetSeq(), MessageId: d.GetEnvelope().GetMessageId(), Outcome: outcome,
	}}})
	a := wait(p.t, p.acks)
	require.Equal(p.t, d.GetSeq(), a.GetSeq())
	return a.GetRecorded()
}

func (p *peer) give(class transportpb.Class, messages uint32) {
	p.t.Helper()
	p.frames(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Credit{Credit: &transportpb.Credit{Class: class, Messages: messages, Bytes: 1 << 30}}})
}

// ping waits until the router has handled every frame before it.
func (p *peer) ping() {
	p.t.Helper()
	p.n++
	p.frames(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Ping{Ping: &transportpb.Ping{N: p.n}}})
	require.Equal(p.t, p.n, wait(p.t, p.pongs).GetN())
}

// envelopeOf returns a message that envelope.Validate lets through.
func envelopeOf(id, producer string) *commonpb.Envelope {
	return &commonpb.Envelope{
		MessageId: id, ProducerId: producer, CorrelationId: "c-" + id, IdempotencyToken: producer + ":op:" + id,
		SequenceNumber: 1, MessageType: commonpb.MessageType_DATA,
		ContentType: "application/json", Payload: []byte("{}"), ContentLength: 2,
	}
}

// withType returns e with another content type.
func withType(e *commonpb.Envelope, contentType string) *commonpb.Envelope {
	e.ContentType = contentType
	return e
}

// withPayload returns e with another payload.
func withPayload(e *commonpb.Envelope, payload string) *commonpb.Envelope {
	e.Payload, e.ContentLength = []byte(payload), uint64(len(payload))
	return e
}

// ackOf returns an acknowledgement.
func ackOf(id, producer, of string, stage ack.Stage, code ack.Code) *commonpb.Envelope {
	e := envelopeOf(id, producer)
	e.MessageType, e.IdempotencyToken = commonpb.MessageType_ACKNOWLEDGEMENT, ""
	return withPayload(e, string(ack.Ack{ForMessageID: of, Stage: stage, Code: code}.Marshal()))
}

func ids(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return all
}

// table is a Directory.
type table struct {
	mu     sync.Mutex
	agents map[string][]string
}

func (d *table) Capabilities(agent string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.agents[agent]
}

func (d *table) set(agent string, capabilities ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.agents[agent] = capabilities
}

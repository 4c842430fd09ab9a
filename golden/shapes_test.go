package golden

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/golden/exchanges"
	"github.com/sw4rm/sw4rm-go/golden/suffix"
	"github.com/sw4rm/sw4rm-go/golden/suffix/suffixsw4rm"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// worker handles exchanges of every kind, and records with which message types they came.
type worker struct {
	exchanges.UnimplementedWorkerHandler
	exchanges.UnimplementedToolsHandler
	exchanges.UnimplementedForeignHandler
	types map[string]exchange.MessageType
	human exchange.Ref
}

func (w *worker) note(ctx context.Context) exchange.Info {
	info, _ := exchange.InfoFrom(ctx)
	w.types[info.Exchange] = info.MessageType
	return info
}

func (w *worker) tell(ctx context.Context, _ *exchanges.Request) error {
	w.note(ctx)
	return nil
}

func (w *worker) ask(ctx context.Context, req *exchanges.Request) (*exchanges.Reply, error) {
	w.note(ctx)
	if req.GetText() == "" {
		return nil, ack.Rejectf(ack.ValidationError, "the text is empty")
	}
	return &exchanges.Reply{Text: "re: " + req.GetText()}, nil
}

func (w *worker) stream(ctx context.Context, req *exchanges.Request, out *exchange.Frames[*exchanges.Reply]) error {
	w.note(ctx)
	for i := range 3 {
		if err := out.Send(&exchanges.Reply{Text: fmt.Sprint(req.GetText(), i)}); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) Tell(ctx context.Context, msg *exchanges.Request) error   { return w.tell(ctx, msg) }
func (w *worker) Notify(ctx context.Context, msg *exchanges.Request) error { return w.tell(ctx, msg) }
func (w *worker) Stop(ctx context.Context, msg *exchanges.Request) error   { return w.tell(ctx, msg) }
func (w *worker) Note(ctx context.Context, msg *exchanges.Request) error   { return w.tell(ctx, msg) }

func (w *worker) Ask(ctx context.Context, req *exchanges.Request) (*exchanges.Reply, error) {
	return w.ask(ctx, req)
}

func (w *worker) Bind(ctx context.Context, req *exchanges.Request) (*exchanges.Reply, error) {
	return w.ask(ctx, req)
}

func (w *worker) Search(ctx context.Context, req *exchanges.Request) (*exchanges.Reply, error) {
	return w.ask(ctx, req)
}

func (w *worker) Submit(ctx context.Context, req *exchanges.Request) (*exchanges.Reply, error) {
	return w.ask(ctx, req)
}

// Approve leaves the answer to a human.
func (w *worker) Approve(ctx context.Context, _ *exchanges.Request) (*exchanges.Reply, error) {
	w.human = w.note(ctx).Ref()
	return nil, exchange.ErrDeferred
}

func (w *worker) Watch(ctx context.Context, req *exchanges.Request, out *exchange.Frames[*exchanges.Reply]) error {
	return w.stream(ctx, req, out)
}

func (w *worker) Follow(ctx context.Context, req *exchanges.Request, out *exchange.Frames[*exchanges.Reply]) error {
	return w.stream(ctx, req, out)
}

func (w *worker) Propose(ctx context.Context, req *exchanges.Request, out *exchange.Frames[*exchanges.Reply]) error {
	return w.stream(ctx, req, out)
}

func (w *worker) Scan(ctx context.Context, req *exchanges.Request, out *exchange.Frames[*exchanges.Reply]) error {
	return w.stream(ctx, req, out)
}

// inNet runs test with a worker and a client on the router.
func inNet(t *testing.T, test func(t *testing.T, w *worker, server, client *agent.Agent)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.New(t)
		server, client := net.Agent("worker"), net.Agent("client")
		w := &worker{types: make(map[string]exchange.MessageType)}
		exchanges.HandleWorker(server, w)
		exchanges.HandleTools(server, w)
		exchanges.HandleForeign(server, w)
		beats := func(ctx context.Context, _ *exchanges.Heartbeat) error { w.note(ctx); return nil }
		exchanges.HandleHeartbeat(server, beats)
		pulses := func(ctx context.Context, msg *exchanges.Heartbeat_Pulse) error {
			w.note(ctx)
			if msg.GetBeat() < 0 {
				return ack.Rejectf(ack.ValidationError, "the beat is negative")
			}
			return nil
		}
		exchanges.HandleHeartbeat_Pulse(server, pulses)
		require.NoError(t, server.Start(t.Context()))
		require.NoError(t, client.Start(t.Context()))
		test(t, w, server, client)
	})
}

func texts(t *testing.T, frames iter.Seq2[*exchanges.Reply, error]) []string {
	t.Helper()
	var got []string
	for reply, err := range frames {
		require.NoError(t, err)
		got = append(got, reply.GetText())
	}
	return got
}

// TestCallers calls every shape and type of exchange through the router.
func TestCallers(t *testing.T) {
	inNet(t, func(t *testing.T, w *worker, _, client *agent.Agent) {
		ctx, req := t.Context(), &exchanges.Request{Text: "a"}
		c := exchanges.NewWorkerCaller(client, address.Capability("golden.work"))
		require.NoError(t, c.Tell(ctx, req))
		require.NoError(t, c.Notify(ctx, req))
		require.NoError(t, c.Stop(ctx, req))
		for _, call := range []func(context.Context, *exchanges.Request, ...exchange.SendOption) (*exchanges.Reply, error){
			c.Ask, c.Bind,
			exchanges.NewToolsCaller(client, address.Capability("golden.tools")).Search,
			exchanges.NewForeignCaller(client, address.Agent("worker")).Submit,
		} {
			res, err := call(ctx, req)
			require.NoError(t, err)
			require.Equal(t, "re: a", res.GetText())
			_, err = call(ctx, &exchanges.Request{})
			require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
			require.ErrorContains(t, err, "the text is empty")
		}
		for _, stream := range []func(context.Context, *exchanges.Request, ...exchange.SendOption) iter.Seq2[*exchanges.Reply, error]{
			c.Watch, c.Follow, c.Propose,
			exchanges.NewToolsCaller(client, address.Capability("golden.tools")).Scan,
		} {
			require.Equal(t, []string{"a0", "a1", "a2"}, texts(t, stream(ctx, req)))
		}
		require.NoError(t, exchanges.NewForeignCaller(client, address.Agent("worker")).Note(ctx, req))
		require.Equal(t, map[string]exchange.MessageType{
			"golden.exchanges.Worker/Tell":    exchange.Data,
			"golden.exchanges.Worker/Ask":     exchange.Data,
			"golden.exchanges.Worker/Watch":   exchange.Data,
			"golden.exchanges.Worker/Follow":  exchange.Data,
			"golden.exchanges.Worker/Notify":  exchange.Notification,
			"golden.exchanges.Worker/Stop":    exchange.Control,
			"golden.exchanges.Worker/Bind":    exchange.WorktreeControl,
			"golden.exchanges.Worker/Propose": exchange.Negotiation,
			"golden.exchanges.Tools/Search":   exchange.ToolCall,
			"golden.exchanges.Tools/Scan":     exchange.ToolCall,
			"golden.exchanges.Foreign/Submit": exchange.Data,
			"golden.exchanges.Foreign/Note":   exchange.Notification,
		}, w.types)
	})
}

// TestSenders sends every shape, waits by its handle, and finds it again.
func TestSenders(t *testing.T) {
	inNet(t, func(t *testing.T, _ *worker, _, client *agent.Agent) {
		ctx, req := t.Context(), &exchanges.Request{Text: "a"}
		s := exchanges.NewWorkerSender(client, address.Agent("worker"))
		told, err := s.Tell(ctx, req)
		require.NoError(t, err)
		require.NoError(t, told.Wait(ctx, ack.Fulfilled))

		asked, err := s.Ask(ctx, req)
		require.NoError(t, err)
		res, err := asked.Response(ctx)
		require.NoError(t, err)
		require.Equal(t, "re: a", res.GetText())
		again, err := exchanges.WorkerExchanges.Ask.Resume(ctx, client, asked.Ref())
		require.NoError(t, err)
		res, err = again.Response(ctx)
		require.NoError(t, err)
		require.Equal(t, "re: a", res.GetText())

		for _, send := range []func(context.Context, *exchanges.Request, ...exchange.SendOption) (*exchange.PendingStream[*exchanges.Reply], error){
			s.Watch, s.Follow, exchanges.NewToolsSender(client, address.Agent("worker")).Scan,
		} {
			stream, err := send(ctx, req)
			require.NoError(t, err)
			require.Equal(t, []string{"a0", "a1", "a2"}, texts(t, stream.Frames(ctx)))
		}
		require.Len(t, agenttest.Sent(client, exchanges.WorkerExchanges.Tell), 1)
	})
}

// TestHumanInTheLoop answers hours later.
func TestHumanInTheLoop(t *testing.T) {
	inNet(t, func(t *testing.T, w *worker, server, client *agent.Agent) {
		ctx := t.Context()
		asked, err := exchanges.NewWorkerSender(client, address.Agent("worker")).Approve(ctx, &exchanges.Request{Text: "a"})
		require.NoError(t, err)
		require.NoError(t, asked.Wait(ctx, ack.Read))
		time.Sleep(3 * time.Hour)
		require.Equal(t, exchange.HITLInvocation, w.types["golden.exchanges.Worker/Approve"])
		require.NoError(t, exchanges.WorkerExchanges.Approve.Reply(ctx, server, w.human, &exchanges.Reply{Text: "yes"}))
		res, err := asked.Response(ctx)
		require.NoError(t, err)
		require.Equal(t, "yes", res.GetText())
	})
}

// TestPayloads sends messages that have no service.
func TestPayloads(t *testing.T) {
	inNet(t, func(t *testing.T, w *worker, _, client *agent.Agent) {
		ctx, to := t.Context(), address.Agent("worker")
		sent, err := exchanges.SendHeartbeat(ctx, client, to, &exchanges.Heartbeat{Agent: "client"})
		require.NoError(t, err)
		require.NoError(t, sent.Wait(ctx, ack.Fulfilled))
		for beat, want := range map[int64]error{1: nil, -1: &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError}} {
			sent, err := exchanges.SendHeartbeat_Pulse(ctx, client, to, &exchanges.Heartbeat_Pulse{Beat: beat}, exchange.TTL(time.Minute))
			require.NoError(t, err)
			require.ErrorIs(t, sent.Wait(ctx, ack.Fulfilled), want)
		}
		require.Equal(t, map[string]exchange.MessageType{
			"golden.exchanges.Heartbeat":       exchange.Data,
			"golden.exchanges.Heartbeat.Pulse": exchange.Notification,
		}, w.types)
	})
}

type suffixWorker struct {
	suffixsw4rm.UnimplementedWorkerHandler
}

func (suffixWorker) Ask(context.Context, *suffix.Request) (*suffix.Reply, error) {
	return &suffix.Reply{}, nil
}

// TestPackageOfItsOwn calls through code that is beside the messages' package, and what a handler does not implement.
func TestPackageOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.New(t)
		server, client := net.Agent("worker"), net.Agent("client")
		suffixsw4rm.HandleWorker(server, suffixWorker{})
		require.NoError(t, server.Start(t.Context()))
		require.NoError(t, client.Start(t.Context()))
		c := suffixsw4rm.NewWorkerCaller(client, address.Capability("golden.suffix.Worker"))
		_, err := c.Ask(t.Context(), &suffix.Request{Text: "a"})
		require.NoError(t, err)
		require.ErrorIs(t, c.Tell(t.Context(), &suffix.Request{}), &ack.Error{Stage: ack.Rejected, Code: ack.UnsupportedMessageType})
		for _, err := range c.Watch(t.Context(), &suffix.Request{}) {
			require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.UnsupportedMessageType})
		}
	})
}

package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

func TestMistakesOfRegistrationComeTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		a := net.Agent("a")
		say.Handle(a, echo)
		say.Handle(a, echo)
		tell.Handle(a, nil)
		say.HandleReply(a, nil)
		exchange.NewCall[text, text]("no slash").Handle(a, echo)
		a.Service(exchange.Service{Name: "test.v1.Echo", Capability: "not a name"})
		exchange.Register(a, exchange.Service{Name: "test.v1.Nil"}, nil)
		err := a.Start(t.Context())
		for _, want := range []string{
			"test.v1.Echo/Say: the exchange has a handler already", "test.v1.Echo/Tell: the handler is nil",
			"test.v1.Echo/Say: the reply handler is nil", `exchange "no slash"`, `capability "not a name"`, "test.v1.Nil: the handler is nil",
		} {
			assert.ErrorContains(t, err, want)
		}
	})
}

func TestNilAgentsAndRegistrarsDoNotPanic(t *testing.T) {
	var a *agent.Agent
	say.Handle(a, echo)
	say.Handle(nil, echo)
	say.HandleReply(nil, nil)
	exchange.Register(nil, exchange.Service{}, 1)
	_, err := say.Call(t.Context(), exchange.NewClient(a, address.Agent("x")), str("x"))
	require.Error(t, err)
	_, err = say.Call(t.Context(), exchange.NewClient(nil, address.Agent("x")), str("x"))
	require.Error(t, err)
	_, err = say.Call(t.Context(), exchange.Client{}, nil)
	require.Error(t, err)
	require.Error(t, a.Start(t.Context()))
	require.NoError(t, a.Close())
	require.Error(t, say.Reply(t.Context(), nil, "ref", str("x")))
}

func TestConfigIsChecked(t *testing.T) {
	t.Setenv("AGENT_ID", "")
	for want, cfg := range map[string]agent.Config{
		"no id":          {},
		`agent id "a b"`: {ID: "a b"},
		"router's own":   {ID: "sw4rm-router"},
		"MaxHandlers":    {ID: "a", MaxHandlers: -1},
		"DrainTimeout":   {ID: "a", DrainTimeout: -1},
		"MaxOut":         {ID: "a", MaxOut: -1},
		"TLS":            {ID: "a", RouterAddr: "https://localhost:1"},
		"HOST:PORT":      {ID: "a", RouterAddr: "localhost"},
		`port "99999"`:   {ID: "a", RegistryAddr: "localhost:99999"},
	} {
		_, err := agent.NewMemory(cfg)
		assert.ErrorContains(t, err, want)
	}
	t.Setenv("AGENT_ID", "from-env")
	t.Setenv("SW4RM_ROUTER_ADDR", "http://localhost:1")
	cfg, err := agent.Config{}.Complete()
	require.NoError(t, err)
	assert.Equal(t, "from-env", cfg.ID)
	assert.Equal(t, "localhost:1", cfg.RouterAddr)
}

func TestRefusalsOfASend(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		a := net.Agent("a")
		_, err := say.Call(t.Context(), to(a, "b"), str("x"))
		require.ErrorIs(t, err, agent.ErrNotStarted)
		start(t, a)
		for want, send := range map[string]func() error{
			"the message is nil": func() error { _, err := say.Send(t.Context(), to(a, "b"), nil); return err },
			"agent id":           func() error { _, err := say.Send(t.Context(), to(a, "b c"), str("x")); return err },
			"address is empty": func() error {
				_, err := say.Send(t.Context(), exchange.NewClient(a, address.Address{}), str("x"))
				return err
			},
			"correlation id": func() error {
				_, err := say.Send(t.Context(), to(a, "b"), str("x"), exchange.WithCorrelation("a\nb"))
				return err
			},
			"attempts": func() error {
				_, err := say.Send(t.Context(), to(a, "b"), str("x"), exchange.MaxAttempts(0))
				return err
			},
			"the key has": func() error {
				_, err := say.Send(t.Context(), to(a, "b"), str("x"), exchange.WithKey(strings.Repeat("k", 2000)))
				return err
			},
		} {
			err := send()
			require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError}, want)
			assert.ErrorContains(t, err, want)
		}
		_, err = say.Send(t.Context(), to(a, "b"), str(strings.Repeat("x", 4<<20)))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.OversizePayload})
		assert.Empty(t, a.Buffer().OpenOut(), "nothing refused is stored")
		require.NoError(t, a.Close())
		_, err = say.Send(t.Context(), to(a, "b"), str("x"))
		require.ErrorIs(t, err, agent.ErrClosed)
	})
}

func TestBufferFullIsTyped(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		a := net.AgentOn(agent.Config{ID: "a", MaxOut: 2}, store.NewMemory())
		for range 2 {
			_, err := say.Send(t.Context(), to(a, "b"), str("x"))
			require.NoError(t, err)
		}
		_, err := say.Send(t.Context(), to(a, "b"), str("x"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.BufferFull})
	})
}

func TestUnhandledExchangesAreRejected(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		say.Handle(server, echo)
		start(t, server, client)
		err := tell.Call(t.Context(), to(client, "server"), str("x"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.UnsupportedMessageType, From: "server"})
	})
}

func TestARouterThatIsDownIsSaidOnceWithTheRemedy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		net := agenttest.New(t, agenttest.Logger(slog.New(slog.NewTextHandler(&log, nil))))
		net.StopRouter()
		server, client := net.Agent("server"), net.Agent("client")
		say.Handle(server, echo)
		start(t, client, server)
		ctx, cancel := context.WithTimeout(t.Context(), 1100*time.Millisecond)
		defer cancel()
		_, err := say.Call(ctx, to(client, "server"), str("x"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, agent.ErrUnreachable)
		unfinished := (*exchange.Unfinished)(nil)
		require.ErrorAs(t, err, &unfinished)
		line := "router localhost:50051 is not reachable; the message is stored and will be sent when it is. Start one with: sw4rm up"
		assert.ErrorContains(t, err, line)
		time.Sleep(time.Minute)
		assert.Equal(t, 1, strings.Count(log.String(), line+"\" agent=client"))
		p, err := say.Resume(t.Context(), client, unfinished.Ref())
		require.NoError(t, err)
		require.ErrorIs(t, p.Status().Err, agent.ErrUnreachable)
		net.StartRouter()
		res, err := p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "x", res.GetValue())
		net.StopRouter()
		time.Sleep(time.Minute)
		assert.Equal(t, 2, strings.Count(log.String(), line+"\" agent=client"), "again after each recovery")
		net.StartRouter()
		_, err = tell.Resume(t.Context(), client, p.Ref())
		require.ErrorIs(t, err, exchange.ErrUnknownRef, "a reference of another exchange")
		_, err = say.Resume(t.Context(), client, "out/nonsense/1")
		require.ErrorIs(t, err, exchange.ErrUnknownRef)
	})
}

func TestDeferredReplies(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		disk := store.NewMemory()
		server, client := net.AgentOn(agent.Config{ID: "server"}, disk), net.Agent("client")
		refs := make(chan exchange.Ref, 2)
		deferred := func(ctx context.Context, _ *text) (*text, error) {
			info, _ := exchange.InfoFrom(ctx)
			refs <- info.Ref()
			return nil, exchange.ErrDeferred
		}
		say.Handle(server, deferred)
		start(t, server, client)
		p, err := say.Send(t.Context(), to(client, "server"), str("may I?"))
		require.NoError(t, err)
		ref := <-refs
		time.Sleep(5 * time.Hour)
		assert.Equal(t, ack.Read, p.Status().Stage)
		require.NoError(t, say.Reply(t.Context(), server, ref, str("yes")))
		require.ErrorIs(t, say.Reply(t.Context(), server, ref, str("no")), exchange.ErrAnswered)
		require.ErrorIs(t, say.Fail(t.Context(), server, ref, errors.New("no")), exchange.ErrAnswered)
		require.ErrorIs(t, tell.Reply(t.Context(), server, ref), exchange.ErrUnknownRef)
		require.ErrorIs(t, say.Reply(t.Context(), server, "in/x/1", str("no")), exchange.ErrUnknownRef)
		res, err := p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "yes", res.GetValue())

		p, err = say.Send(t.Context(), to(client, "server"), str("and now?"))
		require.NoError(t, err)
		ref = <-refs
		synctest.Wait()
		require.NoError(t, server.Close())
		again := net.AgentOn(agent.Config{ID: "server"}, disk.Reopen())
		say.Handle(again, deferred)
		start(t, again)
		time.Sleep(time.Hour)
		require.NoError(t, say.Fail(t.Context(), again, ref, ack.Rejectf(ack.PermissionDenied, "no")))
		_, err = p.Response(t.Context())
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied, Note: "no"})
		assert.Empty(t, refs, "a deferred message does not run again")
	})
}

func TestRetryAfterRunsTheHandlerAgainHere(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		var times []time.Duration
		began := time.Now()
		say.Handle(server, func(_ context.Context, req *text) (*text, error) {
			times = append(times, time.Since(began).Round(time.Second))
			if len(times) <= 8 {
				return nil, ack.RetryAfter(errors.New("not yet"), time.Minute)
			}
			return req, nil
		})
		start(t, server, client)
		p, err := say.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		_, err = p.Response(t.Context())
		require.NoError(t, err, "waiting counts neither as an attempt nor as a crash")
		assert.Len(t, times, 9)
		assert.Equal(t, 8*time.Minute, times[8])
		assert.Len(t, p.Status().Attempts, 1)
	})
}

func TestHandlerTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		hurry.Handle(server, func(ctx context.Context, req *text) (*text, error) {
			<-ctx.Done()
			time.Sleep(10 * time.Second) // heeds nothing for a while
			return req, nil
		})
		start(t, server, client)
		began := time.Now()
		_, err := hurry.Call(t.Context(), to(client, "server"), str("x"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.InternalError})
		assert.ErrorContains(t, err, "handler_timeout")
		assert.InDelta(t, time.Minute, time.Since(began), float64(time.Second))
	})
}

func TestWhatWasSentBeforeStartOrACrashGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		disk := store.NewMemory()
		first := net.AgentOn(agent.Config{ID: "client"}, disk)
		_, err := say.Send(t.Context(), to(first, "server"), str("x"))
		require.NoError(t, err, "a sender stores before Start")
		require.NoError(t, first.Close())

		server := net.Agent("server")
		say.Handle(server, echo)
		start(t, server)
		second := net.AgentOn(agent.Config{ID: "client"}, disk.Reopen())
		results := make(chan string, 10)
		fail := true
		say.HandleReply(second, func(_ context.Context, req, res *text, err error) error {
			if fail {
				fail = false
				return errors.New("not now")
			}
			results <- fmt.Sprint(req.GetValue(), " ", res.GetValue(), " ", err)
			return nil
		})
		start(t, second)
		assert.Equal(t, "x x <nil>", <-results, "offered until it is taken")
		time.Sleep(time.Hour)
		assert.Empty(t, results)
		res, err := say.Call(t.Context(), to(second, "server"), str("y"))
		require.NoError(t, err)
		assert.Equal(t, "y", res.GetValue())
		time.Sleep(time.Hour)
		assert.Empty(t, results, "a waiting call takes the result")
	})
}

func TestSendsOfARerunHandlerAreNotRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, middle, client := net.Agent("server"), net.Agent("middle"), net.Agent("client")
		var runs, sent atomic.Int32
		say.Handle(server, func(_ context.Context, req *text) (*text, error) {
			return str(fmt.Sprint(req.GetValue(), sent.Add(1))), nil
		})
		ask.Handle(middle, func(ctx context.Context, req *text) (*text, error) {
			res, err := say.Call(ctx, to(middle, "server"), req)
			if err != nil {
				return nil, err
			}
			if runs.Add(1) == 1 {
				return nil, ack.RetryAfter(nil, time.Second)
			}
			return res, nil
		})
		start(t, server, middle, client)
		res, err := ask.Call(t.Context(), to(client, "middle"), str("n"))
		require.NoError(t, err)
		assert.Equal(t, "n1", res.GetValue())
		assert.EqualValues(t, 2, runs.Load())
		assert.EqualValues(t, 1, sent.Load())
	})
}

func TestCloseDrains(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		disk := store.NewMemory()
		server, client := net.AgentOn(agent.Config{ID: "server", MaxHandlers: 2}, disk), net.Agent("client")
		var runs atomic.Int32
		slow := func(_ context.Context, req *text) (*text, error) {
			runs.Add(1)
			time.Sleep(10 * time.Second)
			return req, nil
		}
		say.Handle(server, slow)
		start(t, server, client)
		var pending []*exchange.Pending[*text]
		for range 6 {
			p, err := say.Send(t.Context(), to(client, "server"), str("x"))
			require.NoError(t, err)
			pending = append(pending, p)
		}
		time.Sleep(time.Second)
		began := time.Now()
		require.NoError(t, server.Close())
		assert.InDelta(t, 9*time.Second, time.Since(began), float64(time.Second), "running handlers end, waiting ones do not begin")
		assert.EqualValues(t, 2, runs.Load())
		again := net.AgentOn(agent.Config{ID: "server"}, disk.Reopen())
		say.Handle(again, slow)
		start(t, again)
		for _, p := range pending {
			_, err := p.Response(t.Context())
			require.NoError(t, err)
		}
		assert.EqualValues(t, 6, runs.Load(), "nothing lost, nothing twice")
	})
}

func TestStoreFailureStopsTheAgent(t *testing.T) {
	for name, test := range map[string]struct {
		cause error
		fix   string
	}{
		"full disk": {errors.New("no space left on device"), "see to the disk of its directory"},
		"damage":    {&store.DamagedError{File: "000005.sst", Offset: -1, Err: errors.New("the checksum does not match")}, "restore the directory from a backup"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				disk := store.NewMemory()
				a, err := agent.New(agent.Config{ID: "a", Logger: slog.New(slog.DiscardHandler), DialOptions: []grpc.DialOption{net.Dial()}}, disk)
				require.NoError(t, err)
				ended := make(chan error, 1)
				go func() { ended <- a.Run(t.Context()) }()
				synctest.Wait()
				disk.Fail(test.cause)
				err = <-ended
				require.ErrorIs(t, err, agent.ErrStoreFailed)
				require.ErrorIs(t, err, test.cause)
				require.ErrorContains(t, err, "Fix: "+test.fix)
				require.Equal(t, 1, strings.Count(err.Error(), "Fix: "), err)
				_, err = say.Send(t.Context(), to(a, "b"), str("x"))
				require.Error(t, err)
			})
		})
	}
}

func TestInterceptorsWrapBothSides(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		var log []string
		server := net.AgentOn(agent.Config{ID: "server", Interceptors: []exchange.Interceptor{recorder{&log, "1"}, recorder{&log, "2"}}}, store.NewMemory())
		client := net.AgentOn(agent.Config{ID: "client", Interceptors: []exchange.Interceptor{recorder{&log, "3"}}}, store.NewMemory())
		say.Handle(server, echo)
		start(t, server, client)
		_, err := say.Call(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		assert.Equal(t, []string{"send 3 agent:server", "handle 1 client", "handle 2 client"}, log)
	})
}

type recorder struct {
	log  *[]string
	name string
}

func (r recorder) WrapSend(next exchange.SendFunc) exchange.SendFunc {
	return func(ctx context.Context, out *exchange.Outgoing) (exchange.Operation, error) {
		*r.log = append(*r.log, fmt.Sprintf("send %s %s", r.name, out.To))
		return next(ctx, out)
	}
}

func (r recorder) WrapHandle(next exchange.HandleFunc) exchange.HandleFunc {
	return func(ctx context.Context, in *exchange.Incoming) (reply proto.Message, err error) {
		*r.log = append(*r.log, fmt.Sprintf("handle %s %s", r.name, in.Info.From))
		return next(ctx, in)
	}
}

// syncBuffer is a bytes.Buffer for several writers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

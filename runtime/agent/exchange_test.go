package agent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

func TestCallReturnsTheReply(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		say.Handle(server, func(ctx context.Context, req *text) (*text, error) {
			info, ok := exchange.InfoFrom(ctx)
			assert.True(t, ok)
			assert.Equal(t, "client", info.From)
			assert.Equal(t, "agent:server", info.To)
			assert.Equal(t, 1, info.Attempt)
			assert.Equal(t, 1, info.Run)
			return str(strings.ToUpper(req.GetValue())), nil
		})
		start(t, server, client)
		for _, format := range []exchange.Format{exchange.Protobuf, exchange.JSON} {
			res, err := say.Call(t.Context(), to(client, "server"), str("hello"), format)
			require.NoError(t, err)
			assert.Equal(t, "HELLO", res.GetValue())
		}
	})
}

func TestOneWayBlocksToItsOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		var got []string
		tell.Handle(server, func(_ context.Context, m *text) error {
			got = append(got, m.GetValue()) // one lane, so one at a time
			return nil
		})
		start(t, server, client)
		var want []string
		var deliveries []*exchange.Delivery
		for n := range 50 {
			want = append(want, fmt.Sprint(n))
			d, err := tell.Send(t.Context(), to(client, "server"), str(want[n]), exchange.WithCorrelation("talk"))
			require.NoError(t, err)
			deliveries = append(deliveries, d)
		}
		for _, d := range deliveries {
			require.NoError(t, d.Wait(t.Context(), ack.Received))
			require.NoError(t, d.Outcome(t.Context()))
		}
		assert.Equal(t, want, got, "one conversation keeps its order")
		status := deliveries[0].Status()
		assert.Equal(t, ack.Fulfilled, status.Stage)
		assert.True(t, status.Done)
		require.Len(t, status.Attempts, 1)
		assert.False(t, status.Attempts[0].AcceptedAt.IsZero())
		assert.False(t, status.Attempts[0].ReceivedAt.IsZero())
		assert.False(t, status.Attempts[0].ReadAt.IsZero())
	})
}

func TestCapabilityReachesAnAgentThatOffersIt(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		server.Service(exchange.Service{Name: "test.v1.Echo", Capability: "echo"})
		say.Handle(server, echo)
		start(t, server, client)
		for _, name := range []string{"echo", "test.v1.Echo"} {
			res, err := say.Call(t.Context(), exchange.NewClient(client, address.Capability(name)), str(name))
			require.NoError(t, err)
			assert.Equal(t, name, res.GetValue())
		}
	})
}

func TestOutcomesOfHandlers(t *testing.T) {
	outcomes := map[string]struct {
		handle func(context.Context, *text) (*text, error)
		want   ack.Error
	}{
		"rejected": {
			func(context.Context, *text) (*text, error) { return nil, ack.Rejectf(ack.PermissionDenied, "not you") },
			ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied, Note: "not you"},
		},
		"wrapped": {
			func(context.Context, *text) (*text, error) {
				return nil, fmt.Errorf("check: %w", ack.Failf(ack.ToolTimeout, "slow"))
			},
			ack.Error{Stage: ack.Failed, Code: ack.ToolTimeout},
		},
		"plain": {
			func(context.Context, *text) (*text, error) { return nil, errors.New("disk on fire") },
			ack.Error{Stage: ack.Failed, Code: ack.InternalError, Note: "disk on fire"},
		},
		"panic": {
			func(context.Context, *text) (*text, error) { panic("secret") },
			ack.Error{Stage: ack.Failed, Code: ack.InternalError, Note: "the handler of test.v1.Echo/Say panicked"},
		},
		"neither": {
			func(context.Context, *text) (*text, error) { return nil, nil },
			ack.Error{Stage: ack.Failed, Code: ack.InternalError, Note: "the handler of test.v1.Echo/Say returned neither a reply nor an error"},
		},
		"oversize reply": {
			func(context.Context, *text) (*text, error) { return str(strings.Repeat("x", 4<<20)), nil },
			ack.Error{Stage: ack.Failed, Code: ack.OversizePayload},
		},
	}
	for name, o := range outcomes {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				server, client := net.Agent("server"), net.Agent("client")
				say.Handle(server, o.handle)
				start(t, server, client)
				_, err := say.Call(t.Context(), to(client, "server"), str("x"), exchange.MaxAttempts(1))
				require.ErrorIs(t, err, &o.want)
				got := (*ack.Error)(nil)
				require.ErrorAs(t, err, &got)
				assert.Equal(t, "server", got.From)
			})
		})
	}
}

func TestRetryableFailureSucceedsOnTheSecondAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		var attempts []int
		say.Handle(server, func(ctx context.Context, req *text) (*text, error) {
			info, _ := exchange.InfoFrom(ctx)
			attempts = append(attempts, info.Attempt)
			if info.Attempt == 1 {
				return nil, ack.Failf(ack.Overloaded, "come back")
			}
			return req, nil
		})
		start(t, server, client)
		began := time.Now()
		p, err := say.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		res, err := p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "x", res.GetValue())
		assert.Equal(t, []int{1, 2}, attempts)
		assert.Len(t, p.Status().Attempts, 2)
		assert.InDelta(t, 750*time.Millisecond, time.Since(began), float64(300*time.Millisecond), "between half and the whole of 1 s")
	})
}

func TestAttemptsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		var runs atomic.Int32
		say.Handle(server, func(context.Context, *text) (*text, error) {
			runs.Add(1)
			return nil, errors.New("never")
		})
		start(t, server, client)
		_, err := say.Call(t.Context(), to(client, "server"), str("x"), exchange.MaxAttempts(3))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.InternalError})
		assert.EqualValues(t, 3, runs.Load())
	})
}

func TestEqualSendsAreTwoOperationsUnlessTheyHaveAKey(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		var runs atomic.Int32
		count := func(_ context.Context, req *text) (*text, error) {
			return str(fmt.Sprint(runs.Add(1))), nil
		}
		say.Handle(server, count)
		once.Handle(server, count)
		start(t, server, client)
		c := to(client, "server")
		call := func(x *exchange.Call[*text, *text], payload string, opts ...exchange.SendOption) string {
			res, err := x.Call(t.Context(), c, str(payload), opts...)
			require.NoError(t, err)
			return res.GetValue()
		}
		assert.Equal(t, "1", call(say, "same"))
		assert.Equal(t, "2", call(say, "same"), "each call is its own operation")
		assert.Equal(t, "3", call(once, "same"))
		assert.Equal(t, "3", call(once, "same"), "the recorded reply is returned")
		assert.Equal(t, "4", call(once, "other"))
		assert.Equal(t, "5", call(say, "same", exchange.WithKey("k")))
		assert.Equal(t, "5", call(say, "same", exchange.WithKey("k")))
		_, err := say.Call(t.Context(), c, str("another payload"), exchange.WithKey("k"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
		assert.ErrorContains(t, err, "token_reused")
		time.Sleep(2 * time.Hour) // fake: beyond the deduplication window
		assert.Equal(t, "6", call(once, "same"))
	})
}

func TestAMessageForAnAbsentAgentWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		client := net.Agent("client")
		start(t, client)
		p, err := say.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		time.Sleep(60 * time.Second)
		assert.False(t, p.Status().Done)
		assert.NoError(t, p.Status().Err)
		assert.Equal(t, ack.None, p.Status().Stage)
		server := net.Agent("server")
		say.Handle(server, echo)
		start(t, server)
		res, err := p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "x", res.GetValue())
		assert.Len(t, p.Status().Attempts, 1)
	})
}

func TestDeadlineEndsAMessageThatNobodyTook(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		client := net.Agent("client")
		start(t, client)
		began := time.Now()
		_, err := say.Call(t.Context(), to(client, "server"), str("x"), exchange.ReplyTimeout(time.Minute))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.TimedOut, Code: ack.AckTimeout, Note: "never_delivered"})
		assert.InDelta(t, time.Minute, time.Since(began), float64(time.Second))

		server := net.Agent("server")
		say.Handle(server, func(context.Context, *text) (*text, error) {
			t.Error("a withdrawn message must not run")
			return nil, nil
		})
		start(t, server)
		time.Sleep(time.Minute)
	})
}

func TestDeadlineWithAnUnknownOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		release := make(chan struct{})
		say.Handle(server, func(_ context.Context, req *text) (*text, error) {
			<-release
			return req, nil
		})
		late := make(chan string, 2)
		say.HandleReply(client, func(ctx context.Context, req, res *text, err error) error {
			info, _ := exchange.InfoFrom(ctx)
			late <- fmt.Sprint(info.Late, " ", res.GetValue(), " ", err)
			return nil
		})
		start(t, server, client)
		_, err := say.Call(t.Context(), to(client, "server"), str("x"), exchange.ReplyTimeout(time.Minute), exchange.WithKey("k"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.TimedOut, Note: "outcome_unknown"})
		close(release)
		assert.Equal(t, "true x <nil>", <-late, "what comes after the end is kept and handed on")
		_, err = say.Call(t.Context(), to(client, "server"), str("x"), exchange.WithKey("k"))
		assert.ErrorIs(t, err, &ack.Error{Stage: ack.TimedOut, Note: "outcome_unknown"}, "the first outcome stays")
		time.Sleep(time.Hour)
		assert.Empty(t, late, "the acknowledgement beside it is no other result")
	})
}

func TestTTLEndsAMessageBeforeItsHandlerStarts(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		var ran []string
		ask.Handle(server, func(_ context.Context, req *text) (*text, error) {
			ran = append(ran, req.GetValue())
			time.Sleep(time.Minute)
			return req, nil
		})
		start(t, server, client)
		first, err := ask.Send(t.Context(), to(client, "server"), str("first"), exchange.TTL(10*time.Second))
		require.NoError(t, err)
		second, err := ask.Send(t.Context(), to(client, "server"), str("second"), exchange.TTL(10*time.Second))
		require.NoError(t, err)
		_, err = first.Response(t.Context())
		require.NoError(t, err, "a started handler may take longer: %v", ran)
		_, err = second.Response(t.Context())
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.TTLExpired})
		assert.Equal(t, []string{"first"}, ran)

		_, err = ask.Call(t.Context(), to(client, "nobody"), str("x"), exchange.TTL(10*time.Second))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.TTLExpired}, "in the router's queue")
		net.StopRouter()
		synctest.Wait() // the client knows: what it sends is not with the router
		_, err = ask.Call(t.Context(), to(client, "server"), str("x"), exchange.TTL(10*time.Second))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.TTLExpired}, "in the sender's outbox")
	})
}

func TestAgentsThatCallEachOtherFinishWithEveryLimitAtOne(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		tight := func(id string) *agent.Agent {
			return net.AgentOn(agent.Config{ID: id, MaxHandlers: 1, MaxInbound: 1, MaxInboundBytes: 1}, store.NewMemory())
		}
		a, b := tight("a"), tight("b")
		play := func(self *agent.Agent, other string) func(context.Context, *text) (*text, error) {
			return func(ctx context.Context, req *text) (*text, error) {
				if len(req.GetValue()) >= 8 {
					return req, nil
				}
				return ask.Call(ctx, to(self, other), str(req.GetValue()+"."))
			}
		}
		ask.Handle(a, play(a, "b"))
		ask.Handle(b, play(b, "a"))
		start(t, a, b)
		first, err := ask.Send(t.Context(), to(a, "b"), str("1"))
		require.NoError(t, err)
		second, err := ask.Send(t.Context(), to(b, "a"), str("2"))
		require.NoError(t, err)
		for p, want := range map[*exchange.Pending[*text]]string{first: "1.......", second: "2......."} {
			res, err := p.Response(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, res.GetValue())
		}
	})
}

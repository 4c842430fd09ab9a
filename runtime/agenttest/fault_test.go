package agenttest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type text = wrapperspb.StringValue

var (
	say  = exchange.NewCall[text, text]("test.v1.Echo/Say")
	tell = exchange.NewOneWay[text]("test.v1.Echo/Tell")
)

func str(s string) *text { return wrapperspb.String(s) }

func start(t *testing.T, agents ...*agent.Agent) {
	t.Helper()
	for _, a := range agents {
		require.NoError(t, a.Start(t.Context()))
	}
}

func to(a exchange.Sender, id string) exchange.Client {
	return exchange.NewClient(a, address.Agent(id))
}

// spent tells whether every fault of the agent has struck.
func (n *Net) spent(id string) bool {
	f := n.faultsOf(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drops == 0 && f.duplicates == 0 && len(f.delays) == 0 && f.crash == nil
}

func TestFaultsStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := New(t, Lease(time.Hour))
		server, client := net.Agent("server"), net.Agent("client")
		var got []string
		tell.Handle(server, func(_ context.Context, m *text) error {
			got = append(got, m.GetValue())
			return nil
		})
		start(t, server, client)
		send := func(s string) *exchange.Delivery {
			d, err := tell.Send(t.Context(), to(client, "server"), str(s), exchange.WithCorrelation("talk"))
			require.NoError(t, err)
			return d
		}
		net.DropAnswer("client", 1)
		require.NoError(t, send("a").Outcome(t.Context()))
		synctest.Wait()
		assert.True(t, net.spent("client"))
		net.Duplicate("server", 2)
		require.NoError(t, send("b").Outcome(t.Context()))
		require.NoError(t, send("c").Outcome(t.Context()))
		synctest.Wait()
		assert.True(t, net.spent("server"))

		began := time.Now()
		net.Delay("server", 1, 40*time.Second)
		late, behind := send("d"), send("e")
		require.NoError(t, late.Outcome(t.Context()))
		assert.InDelta(t, 40*time.Second, time.Since(began), float64(time.Second))
		require.NoError(t, behind.Outcome(t.Context()))
		assert.InDelta(t, 40*time.Second, time.Since(began), float64(time.Second))
		assert.True(t, net.spent("server"))
		assert.Equal(t, []string{"a", "b", "c", "d", "e"}, got)
	})
}

func TestDelaysHoldTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := New(t, Lease(time.Hour))
		server, client := net.Agent("server"), net.Agent("client")
		var at []time.Duration
		began := time.Now()
		tell.Handle(server, func(context.Context, *text) error {
			at = append(at, time.Since(began).Round(time.Second))
			return nil
		})
		start(t, server, client)
		net.Delay("server", 1, 30*time.Second)
		net.Delay("server", 1, 10*time.Second)
		net.Delay("server", 1, 35*time.Second)
		var sent []*exchange.Delivery
		for range 4 {
			d, err := tell.Send(t.Context(), to(client, "server"), str("x"), exchange.WithCorrelation("talk"))
			require.NoError(t, err)
			sent = append(sent, d)
		}
		for _, d := range sent {
			require.NoError(t, d.Outcome(t.Context()))
		}
		assert.Equal(t, []time.Duration{30 * time.Second, 30 * time.Second, 35 * time.Second, 35 * time.Second}, at)
	})
}

func TestCrashedAgentStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := New(t)
		server, client := net.Agent("server"), net.Agent("client")
		tell.Handle(server, func(context.Context, *text) error { return nil })
		start(t, server, client)
		crashed := net.CrashAt("server", AfterRead)
		d, err := tell.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		<-crashed
		synctest.Wait()
		require.ErrorIs(t, server.Err(), agent.ErrStoreFailed)
		assert.Equal(t, ack.Read, d.Status().Stage)
		require.ErrorIs(t, tell.Call(t.Context(), to(server, "client"), str("x")), agent.ErrStoreFailed)
	})
}

// TestCrashSurvivesALostConnection loses the answer to the last acknowledgement, which is then sent again.
func TestCrashSurvivesALostConnection(t *testing.T) {
	c := &crash{at: AfterRead, told: make(chan struct{})}
	c.meet(&transportpb.Delivery{Class: transportpb.Class_CLASS_SIGNAL, Envelope: &commonpb.Envelope{MessageId: "s"}})
	assert.False(t, c.targets("s"))
	c.meet(&transportpb.Delivery{Class: transportpb.Class_CLASS_WORK, Envelope: &commonpb.Envelope{MessageId: "m"}})
	c.meet(&transportpb.Delivery{Class: transportpb.Class_CLASS_WORK, Envelope: &commonpb.Envelope{MessageId: "later"}})
	assert.True(t, c.targets("m"))
	leaves := func(n uint64, stage ack.Stage) bool {
		passes, crashes := c.leaving(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Submit{Submit: &transportpb.Submit{
			N: n, Class: transportpb.Class_CLASS_SIGNAL, Envelope: &commonpb.Envelope{
				ContentType: ack.ContentType, Payload: ack.Ack{ForMessageID: "m", Stage: stage}.Marshal(),
			},
		}}})
		assert.False(t, crashes)
		return passes
	}
	for n := uint64(1); n < 10; n += 3 {
		assert.True(t, leaves(n, ack.Received))
		assert.True(t, leaves(n+1, ack.Read))
		assert.False(t, leaves(n+2, ack.Fulfilled))
		c.answered(n)
		c.connected()
	}
	assert.True(t, leaves(20, ack.Read))
	c.answered(20)
	<-c.told
	c.connected()
	assert.False(t, leaves(21, ack.Fulfilled), "what was told stays the last")
}

func TestCrashUnderACapability(t *testing.T) {
	for _, point := range []CrashPoint{AfterReceived, AfterRead, BeforeOutcome, AfterOutcome} {
		t.Run(point.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := New(t)
				server, client := net.Agent("server"), net.Agent("client")
				serve := func(a *agent.Agent) {
					a.Service(exchange.Service{Name: "test.v1.Echo"})
					say.Handle(a, func(_ context.Context, m *text) (*text, error) { return m, nil })
					start(t, a)
				}
				serve(server)
				start(t, client)
				crashed := net.CrashAt("server", point)
				p, err := say.Send(t.Context(), exchange.NewClient(client, address.Capability("test.v1.Echo")), str("x"))
				require.NoError(t, err)
				<-crashed
				serve(net.Reopen("server"))
				res, err := p.Response(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "x", res.GetValue())
			})
		})
	}
}

func TestReopenWithoutACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := New(t)
		client := net.Agent("client")
		start(t, client)
		d, err := tell.Send(t.Context(), to(client, "nobody"), str("x"))
		require.NoError(t, err)
		again := net.Reopen("client")
		start(t, again)
		require.ErrorIs(t, client.Start(t.Context()), agent.ErrClosed)
		resumed, err := tell.Resume(t.Context(), again, d.Ref())
		require.NoError(t, err)
		assert.False(t, resumed.Status().Done)
		assert.Len(t, Sent(again, tell), 1)
		assert.Empty(t, Sent(client, tell), "closed")
	})
}

func TestSentKeepsOneEntryPerOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := New(t)
		server, client := net.Agent("server"), net.Agent("client")
		attempts := 0
		say.Handle(server, func(_ context.Context, m *text) (*text, error) {
			if attempts++; attempts == 1 {
				return nil, ack.Failf(ack.Overloaded, "busy")
			}
			return m, nil
		})
		start(t, server, client)
		_, err := say.Call(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		p, err := say.Send(t.Context(), to(client, "nobody"), str("y"))
		require.NoError(t, err)
		assert.Equal(t, []string{"x", "y"}, values(Sent(client, say)), "open ones too")
		assert.Equal(t, []string{"x"}, values(Handled(server, say)))
		assert.False(t, p.Status().Done)
	})
}

func values(messages []*text) []string {
	var out []string
	for _, m := range messages {
		out = append(out, m.GetValue())
	}
	return out
}

func TestCrashPointNames(t *testing.T) {
	assert.Equal(t, "BeforeOutcome", BeforeOutcome.String())
	assert.Equal(t, "CrashPoint(9)", CrashPoint(9).String())
}

var errGiven = errors.New("given")

// TestCrashOfAStream crashes the handling agent of a stream, which goes on after the frames that are stored.
func TestCrashOfAStream(t *testing.T) {
	count := exchange.NewStream[text, text]("test.v1.Echo/Count", exchange.ContinueOnResume)
	for _, point := range []CrashPoint{AfterReceived, AfterRead, BeforeOutcome, AfterOutcome} {
		t.Run(point.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := New(t)
				server, client := net.Agent("server"), net.Agent("client")
				serve := func(a *agent.Agent) {
					count.Handle(a, func(_ context.Context, _ *text, out *exchange.Frames[*text]) error {
						for n := out.Recorded(); n < 3; n++ {
							if err := out.Send(str(string(rune('a' + n)))); err != nil {
								return err
							}
						}
						return nil
					})
					start(t, a)
				}
				serve(server)
				start(t, client)
				net.Duplicate("client", 2)
				crashed := net.CrashAt("server", point)
				p, err := count.Send(t.Context(), to(client, "server"), str("x"))
				require.NoError(t, err)
				<-crashed
				serve(net.Reopen("server"))
				var got []*text
				for frame, err := range p.Frames(t.Context()) {
					require.NoError(t, err)
					got = append(got, frame)
				}
				assert.Equal(t, []string{"a", "b", "c"}, values(got))
				assert.Equal(t, []string{"x"}, values(Sent(client, count)))
				assert.True(t, net.spent("client"))
			})
		})
	}
}

package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// approve asks a person, who has a day to answer.
var approve = exchange.NewCall[text, text]("test.v1.Echo/Approve", exchange.HITLInvocation, exchange.TTL(20*time.Hour))

// deferring returns a handler that leaves each answer to a person, and where it puts the references.
func deferring() (func(context.Context, *text) (*text, error), chan exchange.Ref) {
	refs := make(chan exchange.Ref, 10)
	return func(ctx context.Context, _ *text) (*text, error) {
		info, _ := exchange.InfoFrom(ctx)
		refs <- info.Ref()
		return nil, exchange.ErrDeferred
	}, refs
}

func TestAPersonAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		desk, client := net.Agent("desk"), net.Agent("client")
		handle, refs := deferring()
		approve.Handle(desk, handle)
		start(t, desk, client)
		p, err := approve.Send(t.Context(), to(client, "desk"), str("may I?"))
		require.NoError(t, err)
		ref := <-refs
		time.Sleep(19 * time.Hour)
		assert.Equal(t, ack.Read, p.Status().Stage)
		assert.False(t, p.Status().Done)
		desk = net.Reopen("desk")
		approve.Handle(desk, handle)
		start(t, desk)
		require.NoError(t, approve.Reply(t.Context(), desk, ref, str("yes")))
		require.ErrorIs(t, approve.Reply(t.Context(), desk, ref, str("no")), exchange.ErrAnswered)
		require.ErrorIs(t, approve.Fail(t.Context(), desk, ref, errors.New("no")), exchange.ErrAnswered)
		res, err := p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "yes", res.GetValue())
		assert.Empty(t, refs, "a deferred message does not run again")
		assert.Len(t, p.Status().Attempts, 1)
	})
}

func TestAPersonAnswersTooLate(t *testing.T) {
	for _, restart := range []bool{false, true} {
		inBubble(t, func(t *testing.T, net *agenttest.Net) {
			desk, client := net.Agent("desk"), net.Agent("client")
			handle, refs := deferring()
			approve.Handle(desk, handle)
			start(t, desk, client)
			p, err := approve.Send(t.Context(), to(client, "desk"), str("may I?"))
			require.NoError(t, err)
			ref := <-refs
			synctest.Wait()
			if restart {
				net.Crash("desk")
				desk = net.Reopen("desk")
				approve.Handle(desk, handle)
				time.Sleep(time.Hour)
				start(t, desk)
			}
			began := time.Now()
			_, err = p.Response(t.Context())
			require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.TTLExpired, From: "desk"})
			assert.Greater(t, time.Since(began), 18*time.Hour)
			require.ErrorIs(t, approve.Reply(t.Context(), desk, ref, str("yes")), exchange.ErrAnswered)
		})
	}
}

// TestAnAnswerStopsTheTimeToLive has a message that is answered, tried again under the same record, and deferred anew: the
// time to live of the first attempt must not end the second.
func TestAnAnswerStopsTheTimeToLive(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		var log syncBuffer
		desk := net.AgentOn(agent.Config{ID: "desk", Logger: slog.New(slog.NewTextHandler(&log, nil))}, store.NewMemory())
		client := net.Agent("client")
		handle, refs := deferring()
		approve.Handle(desk, handle)
		start(t, desk, client)
		p, err := approve.Send(t.Context(), to(client, "desk"), str("may I?"), exchange.TTL(time.Hour))
		require.NoError(t, err)
		ref := <-refs
		time.Sleep(time.Minute)
		require.NoError(t, approve.Fail(t.Context(), desk, ref, ack.Failf(ack.Overloaded, "come back")))
		ref = <-refs
		synctest.Wait()
		require.NoError(t, approve.Reply(t.Context(), desk, ref, str("yes")))
		res, err := p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "yes", res.GetValue())
		time.Sleep(2 * time.Hour)
		assert.NotContains(t, log.String(), "has its outcome already")
	})
}

func TestARunThatWaitsIsAnsweredInstead(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		refs := make(chan exchange.Ref, 10)
		say.Handle(server, func(ctx context.Context, _ *text) (*text, error) {
			info, _ := exchange.InfoFrom(ctx)
			refs <- info.Ref()
			return nil, ack.RetryAfter(nil, time.Hour)
		})
		start(t, server, client)
		p, err := say.Send(t.Context(), to(client, "server"), str("x"))
		require.NoError(t, err)
		ref := <-refs
		synctest.Wait()
		require.NoError(t, say.Reply(t.Context(), server, ref, str("now")))
		res, err := p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "now", res.GetValue())
		time.Sleep(2 * time.Hour)
		assert.Empty(t, refs, "it does not run again")
	})
}

// TestHandlerAnswersAndDefers has a handler that answers its message itself, with a failure that is tried again, and
// returns only when the next attempt is here: that one is not deferred.
func TestHandlerAnswersAndDefers(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		disk := store.NewMemory()
		desk, client := net.AgentOn(agent.Config{ID: "desk"}, disk), net.Agent("client")
		attempts := make(chan int, 10)
		say.Handle(desk, func(ctx context.Context, _ *text) (*text, error) {
			info, _ := exchange.InfoFrom(ctx)
			attempts <- info.Attempt
			if info.Attempt > 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			err := say.Fail(ctx, desk, info.Ref(), ack.Failf(ack.Overloaded, "not now"))
			assert.NoError(t, err)
			time.Sleep(time.Minute)
			return nil, exchange.ErrDeferred
		})
		start(t, desk, client)
		p, err := say.Send(t.Context(), to(client, "desk"), str("x"))
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		assert.Equal(t, []int{1, 2}, []int{<-attempts, <-attempts})
		require.NoError(t, desk.Close())
		desk = net.AgentOn(agent.Config{ID: "desk"}, disk.Reopen())
		say.Handle(desk, echo)
		start(t, desk)
		res, err := p.Response(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "x", res.GetValue())
	})
}

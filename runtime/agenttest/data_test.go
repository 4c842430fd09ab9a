package agenttest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// keeper has data of its own: an agent or a Fake.
type keeper interface {
	Data(ctx context.Context, fn func(tx *exchange.Tx) error) error
}

// dataOf is all that it has.
func dataOf(t *testing.T, k keeper) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, k.Data(t.Context(), func(tx *exchange.Tx) error {
		clear(found)
		for e, err := range tx.Scan("") {
			if err != nil {
				return err
			}
			found[e.Key] = string(e.Value)
		}
		return nil
	}))
	return found
}

// add adds one to a number in a handler's data.
func add(ctx context.Context, key string) error {
	tx := exchange.TxFrom(ctx)
	text, err := tx.Get(key)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(text))
	return tx.Set(key, []byte(strconv.Itoa(n+1)))
}

// onBoth runs a test with a real agent and with a Fake; client sends to the handlers that are registered with server.
func onBoth(t *testing.T, handle func(r exchange.Registrar), fn func(t *testing.T, client exchange.Sender, server interface {
	keeper
	exchange.Responder
})) {
	t.Run("net", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			net := New(t)
			server, client := net.Agent("server"), net.Agent("client")
			handle(server)
			start(t, server, client)
			fn(t, client, server)
		})
	})
	t.Run("fake", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := NewFake(t)
			handle(f)
			fn(t, f, f)
		})
	})
}

// TestDataOfOutcomes keeps what a fulfilled run has written, and nothing of another one, for each kind of exchange.
func TestDataOfOutcomes(t *testing.T) {
	runs := map[string]int{}
	behave := func(ctx context.Context, m *text) error {
		info, _ := exchange.InfoFrom(ctx)
		runs[m.GetValue()]++
		if err := add(ctx, m.GetValue()); err != nil {
			return err
		}
		switch {
		case m.GetValue() == "fails":
			return ack.Failf(ack.ValidationError, "no")
		case m.GetValue() == "panics":
			panic("no")
		case m.GetValue() == "retries" && info.Run < 3:
			return ack.RetryAfter(errGiven, time.Minute)
		}
		return nil
	}
	onBoth(t, func(r exchange.Registrar) {
		clear(runs)
		tell.Handle(r, behave)
		say.Handle(r, func(ctx context.Context, m *text) (*text, error) { return m, behave(ctx, m) })
		watch.Handle(r, func(ctx context.Context, m *text, out *exchange.Frames[*text]) error {
			return errors.Join(out.Send(m), behave(ctx, m))
		})
	}, func(t *testing.T, client exchange.Sender, server interface {
		keeper
		exchange.Responder
	}) {
		ctx, c := t.Context(), to(client, "server")
		require.NoError(t, tell.Call(ctx, c, str("tells")))
		_, err := say.Call(ctx, c, str("says"))
		require.NoError(t, err)
		for _, err := range watch.Call(ctx, c, str("watches")) {
			require.NoError(t, err)
		}
		require.Error(t, tell.Call(ctx, c, str("fails")))
		require.Error(t, tell.Call(ctx, c, str("panics"), exchange.MaxAttempts(1)))
		require.NoError(t, tell.Call(ctx, c, str("retries")))
		assert.Equal(t, 3, runs["retries"])
		assert.Equal(t, map[string]string{"tells": "1", "says": "1", "watches": "1", "retries": "1"}, dataOf(t, server))
	})
}

// TestDataOfDeferrals keeps what a handler wrote that left its answer to later, and what is written with the answer.
func TestDataOfDeferrals(t *testing.T) {
	refs := make(chan exchange.Ref, 2)
	onBoth(t, func(r exchange.Registrar) {
		say.Handle(r, func(ctx context.Context, m *text) (*text, error) {
			info, _ := exchange.InfoFrom(ctx)
			if err := exchange.TxFrom(ctx).Set("waits/"+m.GetValue(), []byte(info.Ref())); err != nil {
				return nil, err
			}
			refs <- info.Ref()
			return nil, exchange.ErrDeferred
		})
	}, func(t *testing.T, client exchange.Sender, server interface {
		keeper
		exchange.Responder
	}) {
		ctx := t.Context()
		p, err := say.Send(ctx, to(client, "server"), str("a"))
		require.NoError(t, err)
		ref := <-refs
		synctest.Wait()
		require.Equal(t, map[string]string{"waits/a": string(ref)}, dataOf(t, server))

		require.ErrorIs(t, say.Reply(exchange.WithWrites(ctx, func(*exchange.Tx) error { return errGiven }), server, ref, str("x")), errGiven)
		decide := exchange.WithWrites(ctx, func(tx *exchange.Tx) error {
			return errors.Join(tx.Delete("waits/a"), tx.Set("decided/a", []byte("yes")))
		})
		require.NoError(t, say.Reply(decide, server, ref, str("yes")))
		res, err := p.Response(ctx)
		require.NoError(t, err)
		require.Equal(t, "yes", res.GetValue())
		again := exchange.WithWrites(ctx, func(tx *exchange.Tx) error { return tx.Set("decided/a", []byte("no")) })
		require.ErrorIs(t, say.Reply(again, server, ref, str("no")), exchange.ErrAnswered)
		require.Equal(t, map[string]string{"decided/a": "yes"}, dataOf(t, server))

		p, err = say.Send(ctx, to(client, "server"), str("b"))
		require.NoError(t, err)
		refuse := exchange.WithWrites(ctx, func(tx *exchange.Tx) error { return tx.Set("decided/b", []byte("no")) })
		require.NoError(t, say.Fail(refuse, server, <-refs, ack.Rejectf(ack.PermissionDenied, "no")))
		_, err = p.Response(ctx)
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied, Note: "no", From: from(server)})
		require.Equal(t, "no", dataOf(t, server)["decided/b"])
	})
}

func from(server any) string {
	if a, ok := server.(*agent.Agent); ok {
		return a.ID()
	}
	return fakeID
}

// TestDataMeets lets two handlers read the same number at the same time: the later one runs again, and both count.
func TestDataMeets(t *testing.T) {
	var mu sync.Mutex
	var meeting chan struct{}
	runs := map[string][]int{}
	onBoth(t, func(r exchange.Registrar) {
		meeting = make(chan struct{})
		clear(runs)
		say.Handle(r, func(ctx context.Context, m *text) (*text, error) {
			info, _ := exchange.InfoFrom(ctx)
			mu.Lock()
			runs[m.GetValue()] = append(runs[m.GetValue()], info.Run)
			mu.Unlock()
			if err := add(ctx, "n"); err != nil {
				return nil, err
			}
			if info.Run == 1 {
				<-meeting
			}
			return m, nil
		})
	}, func(t *testing.T, client exchange.Sender, server interface {
		keeper
		exchange.Responder
	}) {
		one, err := say.Send(t.Context(), to(client, "server"), str("one"))
		require.NoError(t, err)
		two, err := say.Send(t.Context(), to(client, "server"), str("two"))
		require.NoError(t, err)
		synctest.Wait()
		close(meeting)
		for _, p := range []*exchange.Pending[*text]{one, two} {
			_, err := p.Response(t.Context())
			require.NoError(t, err)
		}
		require.Equal(t, map[string]string{"n": "2"}, dataOf(t, server))
		mu.Lock()
		defer mu.Unlock()
		require.ElementsMatch(t, []int{1, 1, 2}, append(runs["one"], runs["two"]...))
	})
}

// TestDataMeetsOutside calls what works on data outside of handlers again, too, and stops when its context ends.
func TestDataMeetsOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(t).Agent("a")
		calls := 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		meet := func(tx *exchange.Tx) error {
			calls++
			if _, err := tx.Get("k"); err != nil {
				return err
			}
			if calls == 4 {
				cancel()
			}
			if calls != 3 {
				if err := a.Data(t.Context(), func(tx *exchange.Tx) error { return tx.Set("k", []byte{byte(calls)}) }); err != nil {
					return err
				}
			}
			return tx.Set("mine", []byte(strconv.Itoa(calls)))
		}
		require.NoError(t, a.Data(ctx, meet))
		require.Equal(t, 3, calls)
		require.ErrorIs(t, a.Data(ctx, meet), context.Canceled)
		require.Equal(t, "3", dataOf(t, a)["mine"])
		require.ErrorIs(t, a.Data(t.Context(), func(*exchange.Tx) error { return errGiven }), errGiven)
		require.NoError(t, a.Close())
		require.ErrorIs(t, a.Data(t.Context(), meet), agent.ErrClosed)
	})
}

// TestDataOverCrashes crashes an agent at each moment of a message that writes: outcome and data are both there or neither.
func TestDataOverCrashes(t *testing.T) {
	for _, at := range []CrashPoint{AfterReceived, AfterRead, BeforeOutcome, AfterOutcome} {
		t.Run(at.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := New(t)
				server, client := net.Agent("server"), net.Agent("client")
				handle := func(ctx context.Context, m *text) error { return add(ctx, m.GetValue()) }
				tell.Handle(server, handle)
				start(t, server, client)
				crashed := net.CrashAt("server", at)
				d, err := tell.Send(t.Context(), to(client, "server"), str("n"))
				require.NoError(t, err)
				<-crashed
				again := net.Reopen("server")
				want := map[string]string{}
				if at == AfterOutcome {
					want["n"] = "1"
				}
				require.Equal(t, want, dataOf(t, again))
				tell.Handle(again, handle)
				start(t, again)
				require.NoError(t, d.Outcome(t.Context()))
				require.Equal(t, map[string]string{"n": "1"}, dataOf(t, again))
			})
		})
	}
}

// TestDataBounds ends a message whose handler writes too much, or too late.
func TestDataBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.ErrorIs(t, exchange.TxFrom(t.Context()).Set("a", nil), exchange.ErrNoTx)
		require.ErrorIs(t, exchange.TxFrom(t.Context()).Delete("a"), exchange.ErrNoTx)
		_, err := exchange.TxFrom(t.Context()).Get("a")
		require.ErrorIs(t, err, exchange.ErrNoTx)
		for _, err := range exchange.TxFrom(t.Context()).Scan("") {
			require.ErrorIs(t, err, exchange.ErrNoTx)
		}

		net := New(t)
		server := net.AgentOn(agent.Config{ID: "server", MaxDataBytes: 1000}, store.NewMemory())
		client := net.Agent("client")
		slow := exchange.NewOneWay[text]("test.v1.Echo/Slow", exchange.HandlerTimeout(time.Second))
		release, late := make(chan struct{}), make(chan error, 1)
		slow.Handle(server, func(ctx context.Context, m *text) error {
			tx := exchange.TxFrom(ctx)
			err := tx.Set("slow", nil)
			<-release
			go func() { late <- tx.Set("after", nil) }()
			return err
		})
		tell.Handle(server, func(ctx context.Context, m *text) error {
			n, _ := strconv.Atoi(m.GetValue())
			_ = exchange.TxFrom(ctx).Set("k", []byte(strings.Repeat("x", n))) // the outcome says so
			return nil
		})
		start(t, server, client)
		var e *ack.Error
		require.ErrorAs(t, tell.Call(t.Context(), to(client, "server"), str("1000"), exchange.MaxAttempts(1)), &e)
		require.Equal(t, ack.BufferFull, e.Code)
		require.Contains(t, e.Note, "data_limit")
		require.ErrorAs(t, tell.Call(t.Context(), to(client, "server"), str(fmt.Sprint(2<<20)), exchange.MaxAttempts(1)), &e)
		require.Equal(t, ack.OversizePayload, e.Code)
		require.NoError(t, tell.Call(t.Context(), to(client, "server"), str("999")))
		require.ErrorAs(t, slow.Call(t.Context(), to(client, "server"), str("x"), exchange.MaxAttempts(1)), &e)
		require.Contains(t, e.Note, "handler_timeout")
		close(release)
		require.NotContains(t, dataOf(t, server), "slow")
		<-late
		require.NotContains(t, dataOf(t, server), "after")
	})
}

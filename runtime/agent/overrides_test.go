package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestResumeOfOneCall crashes the handling agent of a stream after 20 frames. The call says where the next run goes on.
func TestResumeOfOneCall(t *testing.T) {
	for name, test := range map[string]struct {
		stream *exchange.Stream[*text, *text]
		option exchange.SendOption
		want   []string
	}{
		"continue": {count, exchange.ContinueOnResume, upTo(30)},
		"restart":  {resume, exchange.RestartOnResume, append(append(upTo(20), "restarted"), upTo(30)...)},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				server, client := net.Agent("server"), net.Agent("client")
				reached := make(chan struct{})
				test.stream.Handle(server, stuckAt(20, reached))
				start(t, server, client)
				p, err := test.stream.Send(t.Context(), to(client, "server"), str("x"), test.option)
				require.NoError(t, err)
				<-reached
				var got []string
				read := make(chan struct{})
				go func() {
					defer close(read)
					var err error
					got, err = collect(p.Frames(t.Context()))
					assert.NoError(t, err)
				}()
				synctest.Wait()
				net.Crash("server")
				server = net.Reopen("server")
				test.stream.Handle(server, counting(30))
				start(t, server)
				<-read
				assert.Equal(t, test.want, got)
			})
		})
	}
}

// TestTimesOfOneCall has an exchange whose settings are the defaults, and calls with their own.
func TestTimesOfOneCall(t *testing.T) {
	overloaded := ack.Error{Stage: ack.Failed, Code: ack.Overloaded}
	for name, test := range map[string]struct {
		to       string
		options  []exchange.SendOption
		want     ack.Error
		after    time.Duration
		attempts int
	}{
		"reply timeout": {"nobody", []exchange.SendOption{exchange.ReplyTimeout(time.Minute)}, ack.Error{Stage: ack.TimedOut}, time.Minute, 1},
		"deadline":      {"nobody", []exchange.SendOption{exchange.Deadline(time.Minute)}, ack.Error{Stage: ack.TimedOut}, time.Minute, 1},
		"earlier of both": {
			"nobody", []exchange.SendOption{exchange.ReplyTimeout(time.Hour), exchange.Deadline(time.Minute)},
			ack.Error{Stage: ack.TimedOut}, time.Minute, 1,
		},
		"time to live": {"nobody", []exchange.SendOption{exchange.TTL(time.Minute)}, ack.Error{Stage: ack.Failed, Code: ack.TTLExpired}, time.Minute, 1},
		"attempts":     {"busy", []exchange.SendOption{exchange.MaxAttempts(1)}, overloaded, 0, 1},
		"codes":        {"busy", []exchange.SendOption{exchange.RetryOn()}, overloaded, 0, 1},
		"backoff": {
			"busy", []exchange.SendOption{exchange.MaxAttempts(3), exchange.Backoff(time.Hour, time.Hour, 1)}, overloaded, 90 * time.Minute, 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				busy, client := net.Agent("busy"), net.Agent("client")
				attempts := 0
				say.Handle(busy, func(context.Context, *text) (*text, error) {
					attempts++
					return nil, ack.Failf(ack.Overloaded, "not now")
				})
				start(t, busy, client)
				began := time.Now()
				_, err := say.Call(t.Context(), to(client, test.to), str("x"), test.options...)
				require.ErrorIs(t, err, &test.want)
				took := time.Since(began)
				if test.to == "busy" {
					assert.Equal(t, test.attempts, attempts)
				}
				// Waits are jittered between half and full, and an end may need a question to the router.
				assert.GreaterOrEqual(t, took, test.after*2/3)
				assert.LessOrEqual(t, took, test.after*3/2+10*time.Second)
			})
		})
	}
}

// TestTheAckTimeoutOfOneCall has a router that answers no questions, so that a new attempt is made when the time is over.
func TestTheAckTimeoutOfOneCall(t *testing.T) {
	for timeout, opts := range map[time.Duration][]exchange.SendOption{
		exchange.DefaultAckTimeout: nil,
		3 * time.Minute:            {exchange.AckTimeout(3 * time.Minute)},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBroadcaster()
			client := newPeer(t, b.register).agent("client")
			start(t, client)
			d, err := tell.Send(t.Context(), to(client, "nobody"), str("x"), opts...)
			require.NoError(t, err)
			time.Sleep(timeout + 5*time.Second)
			attempts := d.Status().Attempts
			require.Len(t, attempts, 2)
			assert.InDelta(t, timeout, attempts[1].CreatedAt.Sub(attempts[0].AcceptedAt), float64(time.Second))
		})
	}
}

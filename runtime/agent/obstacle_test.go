package agent_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// TestAnEndNamesItsObstacle ends messages that could not get on, and expects the note to say why.
func TestAnEndNamesItsObstacle(t *testing.T) {
	const span = time.Minute
	for name, limit := range map[string]func(time.Duration) exchange.PolicyOption{"deadline": exchange.Deadline, "time to live": exchange.TTL} {
		want := "never_delivered; "
		if name != "deadline" {
			want = "ttl_expired: it was still with its sender; "
		}
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *agenttest.Net) {
				client := net.Agent("client")
				start(t, client)
				net.StopRouter()
				p, err := tell.Send(t.Context(), to(client, "absent"), str("x"), limit(span))
				require.NoError(t, err)
				require.ErrorContains(t, p.Outcome(t.Context()), want+"no router was reached at localhost:50051")
			})
			synctest.Test(t, func(t *testing.T) {
				net := agenttest.New(t, agenttest.Limits(queue.Limits{MaxWork: 1}))
				client := net.Agent("client")
				start(t, client)
				var sent []*exchange.Delivery
				talk := envelope.NewID()
				for _, limit := range []exchange.SendOption{exchange.Deadline(time.Hour), limit(span), limit(span / 2)} {
					p, err := tell.Send(t.Context(), to(client, "absent"), str("x"), exchange.WithCorrelation(talk), limit)
					require.NoError(t, err)
					sent = append(sent, p)
					synctest.Wait() // for the answer
				}
				time.Sleep(span / 4)
				assert.NoError(t, sent[0].Status().Err)
				assert.ErrorIs(t, sent[1].Status().Err, &ack.Error{Stage: ack.Rejected, Code: ack.BufferFull})
				assert.ErrorContains(t, sent[2].Status().Err, "it waits behind one of its conversation, which the router last refused with REJECTED BUFFER_FULL")
				const full = "with BUFFER_FULL: max_work: 1 messages of this class wait at agent:absent"
				require.ErrorContains(t, sent[2].Outcome(t.Context()), want+"it waited behind one of its conversation, which the router last refused "+full)
				require.ErrorContains(t, sent[1].Outcome(t.Context()), want+"the router last refused it "+full)
			})
		})
	}
}

// TestAFailedCallIsNoRefusal has a router of another make take a message and then fail, and from then on refuse it.
func TestAFailedCallIsNoRefusal(t *testing.T) {
	for name, test := range map[string]struct {
		first error
		want  string
	}{
		"internal":  {status.Error(codes.Internal, "the log cannot be written"), "outcome_unknown; "},
		"not found": {status.Error(codes.NotFound, "nobody is there"), "never_delivered; "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroadcaster()
				calls := 0
				b.fail = func(*commonpb.Envelope) error {
					if calls++; calls == 1 {
						return test.first
					}
					return status.Error(codes.NotFound, "nobody is there")
				}
				client := newPeer(t, b.register).agent("client")
				start(t, client)
				err := tell.Call(t.Context(), to(client, "x"), str("x"), exchange.Deadline(time.Minute))
				require.ErrorIs(t, err, &ack.Error{Stage: ack.TimedOut, Note: test.want + "the router last refused it with NO_ROUTE: nobody is there"})
				assert.Greater(t, calls, 1)
			})
		})
	}
}

// TestRefusalsAreLoggedOnce sends more than a queue takes, and expects one line for its address; another one when it is
// refused again after it was accepted.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		net := agenttest.New(t, agenttest.Limits(queue.Limits{MaxWork: 1}), agenttest.Logger(slog.New(slog.NewTextHandler(&log, nil))))
		client := net.Agent("client")
		start(t, client)
		lines := func(address string) (n int) {
			synctest.Wait()
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, "the router refuses messages to an address for now") && strings.Contains(line, "to=agent:"+address+" ") {
					assert.Contains(t, line, "level=WARN")
					assert.Contains(t, line, "code=BUFFER_FULL")
					n++
				}
			}
			return n
		}
		send := func(address string, n int, ttl time.Duration) {
			for i := range n {
				_, err := tell.Send(t.Context(), to(client, address), str(fmt.Sprint(i)), exchange.TTL(ttl))
				require.NoError(t, err)
			}
		}
		send("full", 1, 10*time.Minute)
		assert.Zero(t, lines("full"))
		send("full", 20, 11*time.Minute)
		send("other", 1, 11*time.Minute)
		assert.Zero(t, lines("other"))
		send("other", 1, 11*time.Minute)
		time.Sleep(5 * time.Minute)
		assert.Equal(t, 1, lines("full"), "however many are refused, and however often")
		assert.Equal(t, 1, lines("other"))
		time.Sleep(7 * time.Minute) // the first has made room for another meanwhile
		assert.Equal(t, 2, lines("full"))
		assert.Equal(t, 1, lines("other"), "none was accepted")
	})
}

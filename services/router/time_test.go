package router

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// bubble runs fn on a clock of its own, with a router served in memory.
func bubble(t *testing.T, o Options, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, store.NewMemory(), o, true)
		// Nobody can tell who is live before a lease has passed.
		time.Sleep(DefaultLease)
		fn(t, w)
		w.stop()
	})
}

func TestUnacknowledgedDeliveryComesAgainAfterTheLease(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, w *world) {
		b := w.connect(hello("b", "sb", 1))
		c := w.incoming("c")
		require.Equal(t, "new", w.reason(envelopeOf("m1", "a"), MetadataTo, "agent:b"))
		require.Equal(t, "new", w.reason(envelopeOf("m2", "a"), MetadataTo, "agent:c"))
		first, firstItem := wait(t, b.deliveries[work]), c.next()
		began := time.Now()
		time.Sleep(DefaultLease - time.Millisecond)
		synctest.Wait()
		none(t, b.deliveries[work])
		none(t, c.items)
		again, againItem := wait(t, b.deliveries[work]), c.next()
		require.InDelta(t, DefaultLease.Seconds(), time.Since(began).Seconds(), 0.1)
		require.Equal(t, first.GetSeq(), again.GetSeq())
		require.Equal(t, firstItem.GetSeq(), againItem.GetSeq())
		require.True(t, b.ack(again, 0))
		require.True(t, w.acknowledge("c", againItem, 0))
		time.Sleep(time.Hour)
		synctest.Wait()
		none(t, b.deliveries[work])
		none(t, c.items)
	})
}

func TestLeaseIsConfigurable(t *testing.T) {
	bubble(t, Options{Lease: 2 * time.Second}, func(t *testing.T, w *world) {
		b := w.connect(hello("b", "sb", 1))
		require.Equal(t, "new", w.reason(envelopeOf("m1", "a"), MetadataTo, "agent:b"))
		wait(t, b.deliveries[work])
		began := time.Now()
		wait(t, b.deliveries[work])
		require.InDelta(t, 2, time.Since(began).Seconds(), 0.1)
	})
}

func TestExpiredLeaseGoesToAnotherMember(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, w *world) {
		x := w.connect(hello("x", "sx", 1, "cap"))
		require.Equal(t, "new", w.reason(envelopeOf("m1", "a"), MetadataTo, "capability:cap"))
		first := wait(t, x.deliveries[work])
		x.frames(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Drain{Drain: &transportpb.Drain{}}})
		x.ping()
		y := w.connect(hello("y", "sy", 1, "cap"))
		time.Sleep(DefaultLease + time.Second)
		again := wait(t, y.deliveries[work])
		require.Equal(t, first.GetSeq(), again.GetSeq())
		require.False(t, x.ack(first, 0), "it is somebody else's now")
		require.True(t, y.ack(again, 0))
	})
}

func TestMessagesWaitForAnAbsentAgent(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, w *world) {
		a := w.connect(hello("a", "sa", 1))
		for _, id := range ids("m", 50) {
			require.Equal(t, transportpb.Answer_STATE_NEW, a.submit("agent:b", envelopeOf(id, "a")).GetState())
		}
		time.Sleep(time.Minute)
		require.Equal(t, transportpb.Answer_STATE_QUEUED, a.submit("agent:b", envelopeOf("m-0000", "a")).GetState())
		b := w.connect(hello("b", "sb", 1))
		for _, id := range ids("m", 50) {
			require.Equal(t, id, wait(t, b.deliveries[work]).GetEnvelope().GetMessageId())
		}
		none(t, a.deliveries[signal])
	})
}

func TestExpiredMessageEndsOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, w *world) {
		a := w.connect(hello("a", "sa", 1))
		e := envelopeOf("m1", "a")
		e.TtlMs = 5_000
		require.Equal(t, transportpb.Answer_STATE_NEW, a.submit("agent:b", e).GetState())
		began := time.Now()
		s := wait(t, a.deliveries[signal]).GetEnvelope()
		require.InDelta(t, 5, time.Since(began).Seconds(), 0.1)
		got, err := ack.Parse(s.GetContentType(), s.GetPayload())
		require.NoError(t, err)
		require.Equal(t, ack.Ack{ForMessageID: "m1", Stage: ack.Failed, Code: ack.TTLExpired, Note: got.Note}, got)
		b := w.connect(hello("b", "sb", 1))
		time.Sleep(time.Second)
		synctest.Wait()
		none(t, b.deliveries[work])
		require.Equal(t, transportpb.Answer_STATE_DONE, a.submit("agent:b", envelopeOf("m1", "a")).GetState())
		// A time to live beyond every clock is none.
		e = envelopeOf("m2", "a")
		e.TtlMs = 1<<64 - 1
		require.Equal(t, transportpb.Answer_STATE_NEW, a.submit("agent:c", e).GetState())
	})
}

func TestDeliveredTimeToLiveIsWhatIsLeft(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, w *world) {
		e := envelopeOf("m1", "a")
		e.TtlMs = 10_000
		require.Equal(t, "new", w.reason(e, MetadataTo, "agent:b"))
		time.Sleep(4 * time.Second)
		b := w.connect(hello("b", "sb", 1))
		require.InDelta(t, 6000, wait(t, b.deliveries[work]).GetEnvelope().GetTtlMs(), 50)
	})
}

func TestMessageThatNobodyAcknowledgesBecomesADeadLetter(t *testing.T) {
	bubble(t, Options{Limits: queue.Limits{DeliveryBudget: 3}}, func(t *testing.T, w *world) {
		a := w.connect(hello("a", "sa", 1))
		b := w.connect(hello("b", "sb", 1))
		a.submit("agent:b", envelopeOf("m1", "a"))
		for range 10 { // nobody knows whether a silent agent got it
			wait(t, b.deliveries[work])
			time.Sleep(DefaultLease)
		}
		for range 3 {
			wait(t, b.deliveries[work])
			time.Sleep(DefaultLease / 2)
			b.ping()
			time.Sleep(DefaultLease / 2)
		}
		require.Contains(t, string(wait(t, a.deliveries[signal]).GetEnvelope().GetPayload()), "m1")
		time.Sleep(time.Hour)
		synctest.Wait()
		none(t, b.deliveries[work])
	})
}

func TestBrokenConnectionsMakeNoDeadLetter(t *testing.T) {
	bubble(t, Options{Limits: queue.Limits{DeliveryBudget: 3}}, func(t *testing.T, w *world) {
		a := w.connect(hello("a", "sa", 1))
		a.submit("agent:b", envelopeOf("m1", "a"))
		for range 30 {
			b := w.connect(hello("b", "sb", 1))
			wait(t, b.deliveries[work])
			b.close()
			synctest.Wait()
			none(t, b.deliveries[work])
		}
		b := w.connect(hello("b", "sb", 1))
		require.True(t, b.ack(wait(t, b.deliveries[work]), 0))
		none(t, a.deliveries[signal])
	})
}

func TestAnotherStoreIsAdmittedWhenTheFirstHasGone(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, w *world) {
		a := w.connect(hello("a", "sa", 1))
		require.Equal(t, transportpb.Answer_STATE_NEW, a.submit("agent:b", envelopeOf("m1", "a")).GetState())
		b := w.connect(hello("b", "sb", 3))
		require.True(t, b.ack(wait(t, b.deliveries[work]), 0))
		b.close()
		synctest.Wait()
		time.Sleep(DefaultLease - time.Second)
		p := w.dial(hello("b", "new", 1))
		require.Equal(t, transportpb.Goodbye_REASON_DUPLICATE_AGENT, wait(t, p.goodbyes).GetReason())
		p.close()
		time.Sleep(2 * time.Second)
		w.connect(hello("b", "new", 1))
		require.Contains(t, string(wait(t, a.deliveries[signal]).GetEnvelope().GetPayload()), "receiver_lost_state")
		answer := a.submit("agent:b", envelopeOf("m1", "a"))
		require.Equal(t, transportpb.Answer_STATE_DONE, answer.GetState())
		require.Equal(t, codeOf(ack.AgentUnavailable), answer.GetCode())
		p = w.dial(hello("b", "sb", 4))
		require.Equal(t, transportpb.Goodbye_REASON_STORE_ROLLED_BACK, wait(t, p.goodbyes).GetReason(), "it was replaced")
	})
}

func TestAfterARestartAKnownAgentCountsAsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		w := serve(t, s, Options{}, true)
		w.connect(hello("b", "sb", 1)).close()
		w.stop()
		time.Sleep(time.Hour)
		w = serve(t, s.Reopen(), Options{}, true)
		p := w.dial(hello("b", "new", 1))
		require.Equal(t, transportpb.Goodbye_REASON_DUPLICATE_AGENT, wait(t, p.goodbyes).GetReason())
		w.connect(hello("unknown", "s", 1)).close()
		w.connect(hello("b", "sb", 2)).close()
		time.Sleep(DefaultLease + time.Second)
		w.connect(hello("b", "new", 1))
		w.stop()
	})
}

func TestSilentStreamEnds(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, w *world) {
		stream, err := transportpb.NewTransportServiceClient(w.conn).Connect(t.Context())
		require.NoError(t, err)
		began := time.Now()
		_, err = stream.Recv()
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))
		require.Equal(t, helloTimeout, time.Since(began))
	})
}

func TestStuckReaderLosesItsMessagesToAnother(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, w *world) {
		// This agent gives credit and reads nothing after the welcome.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := transportpb.NewTransportServiceClient(w.conn).Connect(ctx)
		require.NoError(t, err)
		require.NoError(t, stream.Send(&transportpb.ConnectRequest{Frames: []*transportpb.AgentFrame{
			{Frame: &transportpb.AgentFrame_Hello{Hello: hello("x", "sx", 1, "cap")}},
		}}))
		_, err = stream.Recv()
		require.NoError(t, err)
		big := strings.Repeat("x", 256<<10)
		const n = 40
		for i := range n {
			require.Equal(t, "new", w.reason(withPayload(envelopeOf(fmt.Sprint("m", i), "a"), big), MetadataTo, "capability:cap"))
		}
		synctest.Wait()
		require.Len(t, w.router.members.of("x"), 1)
		time.Sleep(2 * DefaultLease)
		synctest.Wait()
		require.Empty(t, w.router.members.of("x"), "the stream has ended")
		y := w.connect(hello("y", "sy", 1, "cap"))
		for range n {
			require.True(t, y.ack(wait(t, y.deliveries[work]), 0))
		}
	})
}

func TestMembersAreForgotten(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, w *world) {
		for _, id := range ids("agent", 50) {
			w.connect(hello(id, "s", 1)).close()
			require.Equal(t, "new", w.reason(envelopeOf("m-"+id, "p-"+id), MetadataTo, "agent:x", MetadataInstance, "s/1"))
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		w.router.members.mu.Lock()
		defer w.router.members.mu.Unlock()
		require.Empty(t, w.router.members.agents)
	})
}

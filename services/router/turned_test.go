package router

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// TestNothingOvertakesWhatIsSubmittedAgain submits a conversation in one go to a queue that is full, and that has room when
// only the first message was refused.
func TestNothingOvertakesWhatIsSubmittedAgain(t *testing.T) {
	bubble(t, Options{Limits: queue.Limits{MaxWork: 1}}, func(t *testing.T, w *world) {
		a := w.connect(hello("a", "sa", 1))
		submit := func(n uint64, conversation string, after bool) *transportpb.Answer {
			e := envelopeOf(fmt.Sprintf("m%d", n), "a")
			e.SequenceNumber, e.CorrelationId = n, conversation
			f := a.submitFrame("agent:b", e)
			f.GetSubmit().Class, f.GetSubmit().AfterRefusal = work, after
			a.frames(f)
			return wait(t, a.answers)
		}
		refused := func(answer *transportpb.Answer) {
			t.Helper()
			require.Equal(t, transportpb.Answer_STATE_REFUSED, answer.GetState())
			require.EqualValues(t, ack.BufferFull, answer.GetCode())
		}
		require.Equal(t, transportpb.Answer_STATE_NEW, submit(1, "c1", false).GetState())
		refused(submit(2, "c1", false))
		b := w.connect(hello("b", "sb", 1))
		require.True(t, b.ack(wait(t, b.deliveries[work]), 0)) // there is room again
		refused(submit(3, "c1", false))
		require.Equal(t, transportpb.Answer_STATE_DELIVERED, submit(1, "c1", false).GetState(), "what was accepted before may be asked about")
		require.True(t, b.ack(wait(t, b.deliveries[work]), 0)) // the question
		require.Equal(t, transportpb.Answer_STATE_NEW, submit(4, "c2", false).GetState(), "another conversation goes on")
		require.True(t, b.ack(wait(t, b.deliveries[work]), 0))
		require.Equal(t, transportpb.Answer_STATE_NEW, submit(2, "c1", true).GetState())
		require.True(t, b.ack(wait(t, b.deliveries[work]), 0))
		require.Equal(t, transportpb.Answer_STATE_NEW, submit(3, "c1", false).GetState())
	})
}

// TestTurnedIsBounded notes more refusals than are kept.
func TestTurnedIsBounded(t *testing.T) {
	var kept turned
	full := queue.Answer{State: transportpb.Answer_STATE_REFUSED, Code: ack.BufferFull}
	at := func(n, lowest uint64) *transportpb.Submit {
		e := envelopeOf("m", "a")
		e.SequenceNumber, e.CorrelationId = n, fmt.Sprint("c", n)
		return &transportpb.Submit{To: "agent:b", Class: work, Envelope: e, LowestOpen: lowest}
	}
	for n := range uint64(mostTurned) {
		kept.note(at(n, 0), full)
	}
	require.Len(t, kept, mostTurned)
	kept.note(at(mostTurned, mostTurned-9), full)
	require.Len(t, kept, 10, "those stay whose message is open")
	for n := range uint64(2 * mostTurned) {
		kept.note(at(n, 0), full)
		require.LessOrEqual(t, len(kept), mostTurned)
	}
	kept = nil
	kept.note(at(1, 0), queue.Answer{State: transportpb.Answer_STATE_REFUSED, Code: ack.ValidationError})
	require.Empty(t, kept, "what is refused for good is not submitted again")
}

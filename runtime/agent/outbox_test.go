package agent

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// taker is a session of a router that takes everything, and remembers it.
type taker struct {
	quietSession
	a *Agent

	mu  sync.Mutex
	got []*transportpb.Submit
}

func (s *taker) submit(m *transportpb.Submit) {
	s.mu.Lock()
	s.got = append(s.got, m)
	s.mu.Unlock()
	s.a.outbox.answer(&transportpb.Answer{N: m.GetN(), State: transportpb.Answer_STATE_NEW})
}

// taken returns what was taken since the last call, once the agent has nothing more to do.
func (s *taker) taken() []*transportpb.Submit {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

// offline is an agent without a router, whose outbox works.
func offline(t *testing.T, id string, register func(a *Agent)) *Agent {
	t.Helper()
	a, err := NewMemory(Config{ID: id, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	register(a)
	require.NoError(t, a.reg.freeze())
	a.background(a.outbox.run)
	return a
}

// request is the delivery of an exchange's message with a number.
func request(n int, d *exchange.Descriptor, params ...envelope.Param) *transportpb.Delivery {
	return &transportpb.Delivery{
		Seq: int64(n), To: "agent:server", Class: transportpb.Class_CLASS_WORK,
		Envelope: &commonpb.Envelope{
			MessageId: envelope.NewID(), ProducerId: "client", CorrelationId: envelope.NewID(), SequenceNumber: uint64(n),
			IdempotencyToken: "client:" + strconv.Itoa(n) + ":0", MessageType: commonpb.MessageType_DATA,
			ContentType: envelope.ContentType{
				Media: envelope.MediaProtobuf, Message: "google.protobuf.StringValue", Method: d.Name(), Extra: params,
			}.String(),
		},
	}
}

// waits counts what is in the outbox for the router, ready or in flight.
func waits(a *Agent) (signals, answers int) {
	a.outbox.mu.Lock()
	defer a.outbox.mu.Unlock()
	count := func(c transportpb.Class) int { return a.outbox.ready[c].Len() + a.outbox.counts[c] }
	return count(transportpb.Class_CLASS_SIGNAL), count(transportpb.Class_CLASS_ANSWER)
}

// TestRunsAddNothingToTheOutbox runs handlers again and again while there is no router.
func TestRunsAddNothingToTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tell := exchange.NewOneWay[wrapperspb.StringValue]("test.v1.Work/Tell")
		var runs atomic.Int32
		a := offline(t, "server", func(a *Agent) {
			tell.Handle(a, func(context.Context, *wrapperspb.StringValue) error {
				runs.Add(1)
				return ack.RetryAfter(errors.New("not yet"), time.Second)
			})
		})
		for n := range 10 {
			a.delivered(request(n+1, tell.Descriptor()))
		}
		time.Sleep(5*time.Minute + time.Second/2)
		synctest.Wait()
		require.EqualValues(t, 10*301, runs.Load())
		signals, answers := waits(a)
		assert.Equal(t, 2*10, signals, "of each message that it was received and read")
		assert.Zero(t, answers)

		s := &taker{a: a}
		a.outbox.use(s)
		stages := map[string][]ack.Stage{}
		for _, m := range s.taken() {
			sig, err := ack.Parse(m.GetEnvelope().GetContentType(), m.GetEnvelope().GetPayload())
			require.NoError(t, err)
			stages[sig.ForMessageID] = append(stages[sig.ForMessageID], sig.Stage)
		}
		require.Len(t, stages, 10)
		for _, of := range stages {
			assert.Equal(t, []ack.Stage{ack.Received, ack.Read}, of)
		}
	})
}

// TestRemindersWaitOnce has a handler wait for its reader for an hour while there is no router, and a reader that asked for
// the frames that it misses again and again before. Each frame waits once, and is sent when there is a router.
func TestRemindersWaitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		count := exchange.NewStream[wrapperspb.StringValue, wrapperspb.StringValue]("test.v1.Work/Count")
		a := offline(t, "server", func(a *Agent) {
			count.Handle(a, func(_ context.Context, _ *wrapperspb.StringValue, out *exchange.Frames[*wrapperspb.StringValue]) error {
				for n := range exchange.FrameWindow + 1 {
					if err := out.Send(wrapperspb.String(strconv.Itoa(n + 1))); err != nil {
						return err
					}
				}
				return nil
			})
		})
		s := &taker{a: a}
		a.outbox.use(s)
		d := request(1, count.Descriptor(), envelope.Param{Name: paramWindow, Value: strconv.Itoa(exchange.FrameWindow)})
		a.delivered(d)
		var last *commonpb.Envelope
		for _, m := range s.taken() {
			if m.GetClass() == transportpb.Class_CLASS_ANSWER {
				last = m.GetEnvelope()
			}
		}
		require.NotNil(t, last)
		_, run, n, _ := envelope.ParseFrameToken(last.GetIdempotencyToken())
		require.EqualValues(t, exchange.FrameWindow, n)

		a.outbox.use(nil)
		for range 3 {
			time.Sleep(2 * time.Second)
			a.existingFlow(a.buf.OpenIn()[0].GetSequence()).told(&transportpb.StreamWindow{Run: run, Stored: n - 2, Missing: true})
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		_, answers := waits(a)
		assert.Equal(t, 2, answers, "the frame before the last, and the last")

		a.outbox.use(s)
		sent := s.taken()
		var again []uint64
		for _, m := range sent {
			_, _, n, _ := envelope.ParseFrameToken(m.GetEnvelope().GetIdempotencyToken())
			again = append(again, n)
		}
		assert.ElementsMatch(t, []uint64{n - 1, n}, again)
		assert.NotEqual(t, last.GetMessageId(), sent[len(sent)-1].GetEnvelope().GetMessageId(), "the router has that already")
		time.Sleep(2 * time.Minute)
		assert.NotEmpty(t, s.taken(), "the reader is reminded again")
	})
}

// TestRepeatedQuestionsAreAnsweredOnce asks again and again for an outcome, while the router answers nothing.
func TestRepeatedQuestionsAreAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		say := exchange.NewCall[wrapperspb.StringValue, wrapperspb.StringValue]("test.v1.Work/Say")
		a := offline(t, "server", func(a *Agent) {
			say.Handle(a, func(_ context.Context, m *wrapperspb.StringValue) (*wrapperspb.StringValue, error) { return m, nil })
		})
		d := request(1, say.Descriptor())
		s := &taker{a: a}
		a.outbox.use(s)
		a.delivered(d)
		require.NotEmpty(t, s.taken())
		a.outbox.use(quietSession{})
		for range 1000 {
			a.delivered(d)
		}
		synctest.Wait()
		signals, answers := waits(a)
		assert.Equal(t, 1, signals)
		assert.Equal(t, 1, answers)
		a.outbox.use(s)
		require.Len(t, s.taken(), 2)
		a.delivered(d)
		assert.Len(t, s.taken(), 2, "what was sent is sent again when it is asked for again")
		signals, answers = waits(a)
		assert.Zero(t, signals+answers)
		assert.Empty(t, a.outbox.keyed)
	})
}

// TestAnAttemptThatIsDueWhileAQuestionIsBuiltIsSent makes the next attempt of a message in the moment in which the outbox has
// found that there is nothing to ask about the last one.
func TestAnAttemptThatIsDueWhileAQuestionIsBuiltIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := offline(t, "client", func(*Agent) {})
		s := &taker{a: a}
		tell := exchange.NewOneWay[wrapperspb.StringValue]("test.v1.Work/Tell")
		p, err := tell.Send(t.Context(), exchange.NewClient(a, address.Agent("server")), wrapperspb.String("x"))
		require.NoError(t, err)
		var o *operation
		for _, o = range a.ops {
		}
		synctest.Wait()
		build := o.item.build
		o.item.build = func(to session) *transportpb.Submit {
			m := build(to)
			if m == nil {
				o.attempt()
			}
			return m
		}
		a.outbox.use(s)
		require.Len(t, s.taken(), 1)
		ch, err := a.buf.AckOut(t.Context(), ack.Ack{
			ForMessageID: p.Status().Attempts[0].MessageID, Stage: ack.Failed, Code: ack.AgentUnavailable,
		}, "server")
		o.change(ch, err)
		require.Len(t, p.Status().Attempts, 1)
		a.outbox.makeReady(o.item)
		sent := s.taken()
		require.Len(t, p.Status().Attempts, 2)
		require.Len(t, sent, 1)
		assert.Equal(t, p.Status().Attempts[1].MessageID, sent[0].GetEnvelope().GetMessageId())
	})
}

// TestAnAnswerDecidesWhatIsNext makes an item ready while it is in flight: its answer is all that counts.
func TestAnAnswerDecidesWhatIsNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := offline(t, "client", func(*Agent) {})
		answered, built := 0, 0
		i := &item{class: transportpb.Class_CLASS_WORK, due: func() {}, answered: func(*transportpb.Answer, string) { answered++ }}
		i.build = func(session) *transportpb.Submit {
			if built++; built == 2 { // after the first one was answered
				return nil
			}
			return &transportpb.Submit{}
		}
		a.outbox.use(quietSession{})
		a.outbox.add(i)
		synctest.Wait()
		a.outbox.makeReady(i)
		a.outbox.answer(&transportpb.Answer{N: i.n})
		synctest.Wait()
		assert.Equal(t, 1, answered)
		assert.Equal(t, 1, built)
		a.outbox.makeReady(i)
		synctest.Wait()
		assert.Equal(t, 2, built, "nothing to submit, and nothing that asks for it anew")
	})
}

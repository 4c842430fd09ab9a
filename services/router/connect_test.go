package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

func TestMessageTravelsToItsOutcome(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.connect(hello("a", "sa", 1))
	b := w.connect(hello("b", "sb", 1))

	require.Equal(t, transportpb.Answer_STATE_NEW, a.submit("agent:b", envelopeOf("m1", "a")).GetState())
	d := wait(t, b.deliveries[work])
	require.Equal(t, "agent:b", d.GetTo())
	require.Equal(t, "m1", d.GetEnvelope().GetMessageId())
	require.Positive(t, d.GetSeq())
	require.Equal(t, transportpb.Answer_STATE_LEASED, a.submit("agent:b", envelopeOf("m1", "a")).GetState())
	require.True(t, b.ack(d, 0))
	require.Equal(t, transportpb.Answer_STATE_DELIVERED, a.submit("agent:b", envelopeOf("m1", "a")).GetState())

	require.Equal(t, transportpb.Answer_STATE_NEW, b.submit("", ackOf("k1", "b", "m1", ack.Fulfilled, 0)).GetState())
	s := wait(t, a.deliveries[signal])
	require.Equal(t, "agent:a", s.GetTo())
	require.True(t, a.ack(s, 0))
	done := a.submit("agent:b", envelopeOf("m1", "a"))
	require.Equal(t, transportpb.Answer_STATE_DONE, done.GetState())
	require.Equal(t, commonpb.AckStage_FULFILLED, done.GetStage())
}

func TestWelcomeTellsTheLimits(t *testing.T) {
	w := newWorld(t, Options{})
	p := w.dial(hello("a", "sa", 1))
	got := wait(t, p.welcomes)
	require.Equal(t, w.router.engine.ID(), got.GetRouterStoreId())
	require.Equal(t, DefaultLease.Milliseconds(), got.GetLeaseMs())
	require.EqualValues(t, 4<<20-64<<10, got.GetMaxEnvelopeBytes())
}

func TestBadHellos(t *testing.T) {
	w := newWorld(t, Options{})
	many := make([]string, maxCapabilities+1)
	for name, test := range map[string]struct {
		hello *transportpb.Hello
		code  codes.Code
	}{
		"no agent":       {hello("", "s", 1), codes.InvalidArgument},
		"bad agent":      {hello("a b", "s", 1), codes.InvalidArgument},
		"long agent":     {hello(strings.Repeat("a", 129), "s", 1), codes.InvalidArgument},
		"reserved agent": {hello(address.RouterID, "s", 1), codes.PermissionDenied},
		"no store":       {hello("a", "", 1), codes.InvalidArgument},
		"no epoch":       {hello("a", "s", 0), codes.InvalidArgument},
		"bad capability": {hello("a", "s", 1, "ok", "not ok"), codes.InvalidArgument},
		"too many":       {hello("a", "s", 1, many...), codes.InvalidArgument},
	} {
		p := w.dial(test.hello)
		<-p.done
		require.Equal(t, test.code, status.Code(p.err), name)
	}
	// Anything else than a hello comes first.
	p := w.dial(nil)
	<-p.done
	require.Equal(t, codes.InvalidArgument, status.Code(p.err))
	stream, err := transportpb.NewTransportServiceClient(w.conn).Connect(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestNewerStreamSupersedes(t *testing.T) {
	for name, epoch := range map[string]uint64{"same epoch": 1, "higher epoch": 2} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			old := w.connect(hello("a", "sa", 1))
			require.Equal(t, transportpb.Answer_STATE_NEW, old.submit("agent:a", envelopeOf("m1", "a")).GetState())
			first := wait(t, old.deliveries[work])

			next := w.connect(hello("a", "sa", epoch))
			require.Equal(t, transportpb.Goodbye_REASON_SUPERSEDED, wait(t, old.goodbyes).GetReason())
			<-old.done
			require.ErrorIs(t, old.err, io.EOF)
			// What the old stream had not acknowledged comes again, under the same number.
			again := wait(t, next.deliveries[work])
			require.Equal(t, first.GetSeq(), again.GetSeq())
			require.True(t, next.ack(again, 0))
		})
	}
}

func TestAnotherStoreOrAnOlderOneIsRefused(t *testing.T) {
	w := newWorld(t, Options{})
	w.connect(hello("a", "sa", 5))
	p := w.dial(hello("a", "other", 1))
	bye := wait(t, p.goodbyes)
	require.Equal(t, transportpb.Goodbye_REASON_DUPLICATE_AGENT, bye.GetReason())
	require.Contains(t, bye.GetNote(), "Fix: ")
	<-p.done
	require.ErrorIs(t, p.err, io.EOF)
	p = w.dial(hello("a", "sa", 4))
	require.Equal(t, transportpb.Goodbye_REASON_STORE_ROLLED_BACK, wait(t, p.goodbyes).GetReason())
}

func TestRefusedSubmissions(t *testing.T) {
	w := newWorld(t, Options{})
	p := w.connect(hello("a", "sa", 1))
	big := withPayload(envelopeOf("big", "a"), strings.Repeat("x", 5<<20))
	ackAsWork := ackOf("k", "a", "m", ack.Read, 0)
	for name, test := range map[string]struct {
		to    string
		class transportpb.Class
		e     *commonpb.Envelope
		code  commonpb.ErrorCode
	}{
		"someone else's":     {"agent:b", 0, envelopeOf("m", "mallory"), commonpb.ErrorCode_PERMISSION_DENIED},
		"the router's":       {"agent:b", 0, envelopeOf("m", address.RouterID), commonpb.ErrorCode_PERMISSION_DENIED},
		"no envelope":        {"agent:b", 0, nil, commonpb.ErrorCode_VALIDATION_ERROR},
		"no id":              {"agent:b", 0, envelopeOf("", "a"), commonpb.ErrorCode_VALIDATION_ERROR},
		"too large":          {"agent:b", 0, big, commonpb.ErrorCode_OVERSIZE_PAYLOAD},
		"bad recipient":      {"b", 0, envelopeOf("m", "a"), commonpb.ErrorCode_VALIDATION_ERROR},
		"to the router":      {"agent:" + address.RouterID, 0, envelopeOf("m", "a"), commonpb.ErrorCode_NO_ROUTE},
		"unknown class":      {"agent:b", 9, envelopeOf("m", "a"), commonpb.ErrorCode_VALIDATION_ERROR},
		"work as a signal":   {"agent:b", signal, envelopeOf("m", "a"), commonpb.ErrorCode_VALIDATION_ERROR},
		"a signal as work":   {"agent:b", work, ackAsWork, commonpb.ErrorCode_VALIDATION_ERROR},
		"unreadable signal":  {"agent:b", 0, withPayload(ackOf("k", "a", "m", ack.Read, 0), "{"), commonpb.ErrorCode_VALIDATION_ERROR},
		"ack of nothing":     {"", 0, ackOf("k", "a", "unheard-of", ack.Read, 0), commonpb.ErrorCode_NO_ROUTE},
		"two recipients":     {"agent:b", 0, withType(envelopeOf("m", "a"), `application/json; to="agent:c"`), commonpb.ErrorCode_VALIDATION_ERROR},
		"a reply to nobody":  {"", answer, envelopeOf("m", "a"), commonpb.ErrorCode_NO_ROUTE},
		"nobody to be found": {"", 0, envelopeOf("m", "a"), commonpb.ErrorCode_NO_ROUTE},
	} {
		f := p.submitFrame(test.to, test.e)
		f.GetSubmit().Class = test.class
		p.frames(f)
		got := wait(t, p.answers)
		require.Equal(t, transportpb.Answer_STATE_REFUSED, got.GetState(), name)
		require.Equal(t, test.code, got.GetCode(), "%s: %s", name, got.GetNote())
		require.NotEmpty(t, got.GetNote(), name)
	}
}

func TestCreditIsHonoured(t *testing.T) {
	w := newWorld(t, Options{})
	h := hello("b", "sb", 1)
	h.Credit = []*transportpb.Credit{{Class: work, Messages: 2, Bytes: 1 << 20}}
	b := w.connect(h)
	for _, id := range ids("m", 5) {
		require.Equal(t, "new", w.reason(envelopeOf(id, "a"), MetadataTo, "agent:b"))
	}
	seen := []string{}
	next := func() {
		t.Helper()
		d := wait(t, b.deliveries[work])
		seen = append(seen, d.GetEnvelope().GetMessageId())
		require.True(t, b.ack(d, 0))
	}
	next()
	next()
	b.ping()
	none(t, b.deliveries[work])
	b.give(work, 1)
	next()
	b.ping()
	none(t, b.deliveries[work])
	b.give(99, 7) // an unknown class
	b.give(work, 1000)
	next()
	next()
	require.Equal(t, ids("m", 5), seen)
}

func TestByteCreditIsHonoured(t *testing.T) {
	w := newWorld(t, Options{})
	h := hello("b", "sb", 1)
	h.Credit = []*transportpb.Credit{{Class: work, Messages: 100, Bytes: 1}}
	b := w.connect(h)
	for _, id := range ids("m", 3) {
		require.Equal(t, "new", w.reason(envelopeOf(id, "a"), MetadataTo, "agent:b"))
	}
	wait(t, b.deliveries[work]) // the first one goes whatever its size
	b.ping()
	none(t, b.deliveries[work])
	b.give(work, 0)
	wait(t, b.deliveries[work])
	wait(t, b.deliveries[work])
}

func TestClassesDoNotWaitForEachOther(t *testing.T) {
	w := newWorld(t, Options{})
	h := hello("a", "sa", 1)
	h.Credit = h.Credit[1:] // none for work
	a := w.connect(h)
	b := w.connect(hello("b", "sb", 1))
	require.Equal(t, transportpb.Answer_STATE_NEW, a.submit("agent:b", envelopeOf("m1", "a")).GetState())
	for _, id := range ids("w", 500) {
		require.Equal(t, "new", w.reason(envelopeOf(id, "c"), MetadataTo, "agent:a"))
	}
	reply := withType(envelopeOf("r1", "b"), `application/json; kind=reply`)
	require.Equal(t, transportpb.Answer_STATE_NEW, b.submit("agent:a", reply).GetState())
	require.Equal(t, transportpb.Answer_STATE_NEW, b.submit("", ackOf("k1", "b", "m1", ack.Received, 0)).GetState())
	require.Equal(t, "r1", wait(t, a.deliveries[answer]).GetEnvelope().GetMessageId())
	require.Equal(t, "k1", wait(t, a.deliveries[signal]).GetEnvelope().GetMessageId())
	none(t, a.deliveries[work])
	a.give(work, 1000)
	wait(t, a.deliveries[work])
}

func TestDrainStopsWork(t *testing.T) {
	w := newWorld(t, Options{})
	b := w.connect(hello("b", "sb", 1))
	c := w.connect(hello("c", "sc", 1))
	b.frames(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Drain{Drain: &transportpb.Drain{}}})
	b.ping()
	require.Equal(t, "new", w.reason(envelopeOf("m1", "a"), MetadataTo, "agent:b"))
	require.Equal(t, transportpb.Answer_STATE_NEW, b.submit("agent:c", envelopeOf("m2", "b")).GetState(), "it may still send")
	none(t, b.deliveries[work])
	// What it has sent before still gets its answer.
	wait(t, c.deliveries[work])
	require.Equal(t, transportpb.Answer_STATE_NEW, c.submit("agent:b", ackOf("k1", "c", "m2", ack.Received, 0)).GetState())
	wait(t, b.deliveries[signal])
	require.Equal(t, transportpb.Answer_STATE_NEW, c.submit("agent:b", withType(envelopeOf("r1", "c"), "application/json; kind=reply")).GetState())
	wait(t, b.deliveries[answer])
	none(t, b.deliveries[work])
	require.NoError(t, b.stream.CloseSend())
	<-b.done
	require.ErrorIs(t, b.err, io.EOF)
	again := w.connect(hello("b", "sb", 1))
	wait(t, again.deliveries[work])
}

func TestDrainingRouterSaysGoodbye(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.connect(hello("a", "sa", 1))
	in := w.incoming("canonical")
	for i := range 100 {
		a.frames(a.submitFrame("agent:b", envelopeOf(fmt.Sprint("m", i), "a")))
	}
	for range 100 {
		wait(t, a.answers)
	}
	w.router.Drain()
	require.Equal(t, transportpb.Goodbye_REASON_DRAINING, wait(t, a.goodbyes).GetReason())
	<-a.done
	require.ErrorIs(t, a.err, io.EOF)
	<-in.done
	require.Equal(t, codes.Unavailable, status.Code(in.err))
	_, err := w.send(envelopeOf("late", "a"), MetadataTo, "agent:b")
	require.Equal(t, codes.Unavailable, status.Code(err))
	p := w.dial(hello("late", "s", 1))
	require.Equal(t, transportpb.Goodbye_REASON_DRAINING, wait(t, p.goodbyes).GetReason())
}

func TestOrderOfAConversation(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.connect(hello("a", "sa", 1))
	b := w.connect(hello("b", "sb", 1))
	const conversations, each = 20, 40
	for i := range each {
		var batch []*transportpb.AgentFrame
		for k := range conversations {
			e := envelopeOf(fmt.Sprintf("m-%d-%d", k, i), "a")
			e.CorrelationId, e.SequenceNumber = fmt.Sprint("c", k), uint64(i)
			batch = append(batch, a.submitFrame("agent:b", e))
		}
		a.frames(batch...)
	}
	last := map[string]uint64{}
	for range conversations * each {
		e := wait(t, b.deliveries[work]).GetEnvelope()
		require.Equal(t, last[e.GetCorrelationId()], e.GetSequenceNumber())
		last[e.GetCorrelationId()]++
	}
	for range conversations * each {
		require.Equal(t, transportpb.Answer_STATE_NEW, wait(t, a.answers).GetState())
	}
}

func TestMembersShareACapability(t *testing.T) {
	w := newWorld(t, Options{})
	x := w.connect(hello("x", "sx", 1, "code.review"))
	y := w.connect(hello("y", "sy", 1, "code.review"))
	const n = 200
	for _, id := range ids("m", n) {
		require.Equal(t, "new", w.reason(envelopeOf(id, "a"), MetadataTo, "capability:code.review"))
	}
	seen := map[string]bool{}
	for range n {
		var d *transportpb.Delivery
		var p *peer
		select {
		case d = <-x.deliveries[work]:
			p = x
		case d = <-y.deliveries[work]:
			p = y
		}
		require.Equal(t, "capability:code.review", d.GetTo())
		require.False(t, seen[d.GetEnvelope().GetMessageId()], "one member gets it")
		seen[d.GetEnvelope().GetMessageId()] = true
		require.True(t, p.ack(d, 0))
	}
}

func TestWithdraw(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.connect(hello("a", "sa", 1))
	b := w.connect(hello("b", "sb", 1))
	withdraw := func(to, id string) transportpb.WithdrawAnswer_State {
		t.Helper()
		a.n++
		a.frames(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Withdraw{Withdraw: &transportpb.Withdraw{
			N: a.n, To: to, Token: "a:op:" + id, MessageId: id,
		}}})
		got := wait(t, a.withdrawn)
		require.Equal(t, a.n, got.GetN())
		return got.GetState()
	}
	require.Equal(t, transportpb.WithdrawAnswer_STATE_UNKNOWN, withdraw("agent:absent", "m0"))
	require.Equal(t, transportpb.WithdrawAnswer_STATE_UNKNOWN, withdraw("", "m0"))
	require.Equal(t, transportpb.WithdrawAnswer_STATE_UNKNOWN, withdraw("nonsense", "m0"))
	// A withdrawal comes after the submission before it, even when that has no answer yet.
	a.frames(a.submitFrame("agent:absent", envelopeOf("m1", "a")))
	require.Equal(t, transportpb.WithdrawAnswer_STATE_WITHDRAWN, withdraw("agent:absent", "m1"))
	require.Equal(t, transportpb.Answer_STATE_NEW, wait(t, a.answers).GetState())
	a.submit("", withType(envelopeOf("m2", "a"), `application/json; to="agent:absent"`))
	require.Equal(t, transportpb.WithdrawAnswer_STATE_WITHDRAWN, withdraw("", "m2"))
	a.submit("agent:b", envelopeOf("m3", "a"))
	wait(t, b.deliveries[work])
	require.Equal(t, transportpb.WithdrawAnswer_STATE_TOO_LATE, withdraw("agent:b", "m3"))
}

func TestDiscardedDeliveryEndsTheMessage(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.connect(hello("a", "sa", 1))
	b := w.connect(hello("b", "sb", 1))
	a.submit("agent:b", envelopeOf("m1", "a"))
	d := wait(t, b.deliveries[work])
	require.True(t, b.ack(d, transportpb.DeliveryAck_OUTCOME_PERMANENT_FAILURE))
	require.False(t, b.ack(d, 0))
	s := wait(t, a.deliveries[signal]).GetEnvelope()
	require.Equal(t, address.RouterID, s.GetProducerId())
	got, err := ack.Parse(s.GetContentType(), s.GetPayload())
	require.NoError(t, err)
	require.Equal(t, ack.Failed, got.Stage)
	require.Equal(t, "m1", got.ForMessageID)
	dead, err := w.router.engine.DeadLetters(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
}

func TestFailedStoreEndsTheStream(t *testing.T) {
	s := store.NewMemory()
	w := serve(t, s, Options{}, false)
	a := w.connect(hello("a", "sa", 1))
	s.Fail(errors.New("disk full"))
	a.frames(a.submitFrame("agent:b", envelopeOf("m1", "a")))
	<-a.done
	require.Equal(t, codes.Internal, status.Code(a.err))
	none(t, a.answers)
	_, err := w.send(envelopeOf("m1", "a"), MetadataTo, "agent:b", MetadataInstance, "sa/1")
	require.Equal(t, codes.Internal, status.Code(err))
}

func TestGarbageFramesChangeNothing(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.connect(hello("a", "sa", 1))
	a.frames(
		nil,
		&transportpb.AgentFrame{},
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Hello{}},
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Hello{Hello: hello("z", "sz", 1)}},
		&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Credit{}},
	)
	a.frames()
	for _, seq := range []int64{-1, 0, 1, 1 << 62} {
		require.False(t, a.ack(&transportpb.Delivery{Seq: seq, Envelope: &commonpb.Envelope{MessageId: "m"}}, 0))
		require.False(t, a.ack(&transportpb.Delivery{Seq: seq}, 77))
	}
	a.ping()
}

func TestTheStreamsOfAnAgentAreBounded(t *testing.T) {
	w := newWorld(t, Options{})
	for range maxStreamsPerAgent {
		w.incoming("a")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := w.canonical().StreamIncoming(ctx, streamRequest("a"))
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
}

func TestLargeEnvelopesFitWhatClientsReceive(t *testing.T) {
	w := newWorld(t, Options{})
	big := func(id string) *commonpb.Envelope {
		return withPayload(envelopeOf(id, "a"), strings.Repeat("x", 4<<20-65<<10))
	}
	for _, id := range ids("m", 3) {
		require.Equal(t, "new", w.reason(big(id), MetadataTo, "agent:b"))
		require.Equal(t, "new", w.reason(envelopeOf("small-"+id, "a"), MetadataTo, "agent:b"))
		require.Equal(t, "new", w.reason(big("c"+id), MetadataTo, "agent:c"))
	}
	b := w.connect(hello("b", "sb", 1))
	for range 6 {
		require.True(t, b.ack(wait(t, b.deliveries[work]), 0))
	}
	c := w.incoming("c")
	for range 3 {
		require.True(t, w.acknowledge("c", c.next(), 0))
	}
}

func TestManyMessagesThroughSmallCredit(t *testing.T) {
	w := newWorld(t, Options{})
	h := hello("b", "sb", 1)
	h.Credit[0].Messages = 10
	a, b := w.connect(hello("a", "sa", 1)), w.connect(h)
	const n = 3000
	sent := make(chan error, 1)
	go func() {
		for _, id := range ids("m", n) {
			if err := a.stream.Send(&transportpb.ConnectRequest{Frames: []*transportpb.AgentFrame{a.submitFrame("agent:b", envelopeOf(id, "a"))}}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	seen := map[string]bool{}
	for range n {
		d := wait(t, b.deliveries[work])
		seen[d.GetEnvelope().GetMessageId()] = true
		require.True(t, b.ack(d, 0))
		b.give(work, 1)
	}
	require.NoError(t, <-sent)
	require.Len(t, seen, n)
	for range n {
		require.Equal(t, transportpb.Answer_STATE_NEW, wait(t, a.answers).GetState())
	}
}

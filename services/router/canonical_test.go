package router

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

func streamRequest(agent string) *routerpb.StreamRequest {
	return &routerpb.StreamRequest{AgentId: agent}
}

// acknowledge acks a delivery on the canonical RPC.
func (w *world) acknowledge(agent string, item *routerpb.StreamItem, outcome routerpb.DeliveryAckOutcome, kv ...string) bool {
	w.t.Helper()
	ctx := metadata.AppendToOutgoingContext(w.t.Context(), kv...)
	got, err := w.canonical().AckDelivery(ctx, &routerpb.DeliveryAckRequest{
		AgentId: agent, Seq: item.GetSeq(), MessageId: item.GetMsg().GetMessageId(), Outcome: outcome,
	})
	require.NoError(w.t, err)
	return got.GetRecorded()
}

func TestCanonicalMessageTravelsToItsOutcome(t *testing.T) {
	w := newWorld(t, Options{})
	toB := []string{MetadataTo, "agent:b"}
	require.Equal(t, "new", w.reason(envelopeOf("m1", "a"), toB...))
	require.Equal(t, "queued", w.reason(envelopeOf("m1", "a"), toB...), "a duplicate")
	b := w.incoming("b")
	item := b.next()
	require.Equal(t, "m1", item.GetMsg().GetMessageId())
	require.Positive(t, item.GetSeq())
	require.Equal(t, "leased", w.reason(envelopeOf("m1", "a"), toB...))

	require.False(t, w.acknowledge("mallory", item, 0), "another agent's")
	require.False(t, w.acknowledge("b", &routerpb.StreamItem{Seq: item.GetSeq() + 1, Msg: item.GetMsg()}, 0), "unknown")
	require.False(t, w.acknowledge("b", &routerpb.StreamItem{Seq: -1, Msg: item.GetMsg()}, 0))
	require.False(t, w.acknowledge("b", &routerpb.StreamItem{Seq: item.GetSeq()}, 0), "no message id")
	require.False(t, w.acknowledge("", item, 0), "no agent")
	require.False(t, w.acknowledge("b", item, 7), "unknown outcome")
	require.True(t, w.acknowledge("b", item, 0))
	require.Equal(t, "delivered", w.reason(envelopeOf("m1", "a"), toB...))

	a := w.incoming("a")
	for i, stage := range []ack.Stage{ack.Received, ack.Read, ack.Failed} {
		k := ackOf(fmt.Sprint("k", i), "b", "m1", stage, 0)
		if stage == ack.Failed {
			k = ackOf(fmt.Sprint("k", i), "b", "m1", stage, ack.ToolTimeout)
		}
		require.Equal(t, "new", w.reason(k), "an acknowledgement finds its way by itself")
		got := a.next()
		require.Equal(t, k.GetMessageId(), got.GetMsg().GetMessageId())
		require.True(t, w.acknowledge("a", got, 0))
	}
	require.Equal(t, "done FAILED TOOL_TIMEOUT", w.reason(envelopeOf("m1", "a"), toB...))
}

func TestEveryCanonicalAnswerNamesTheRouter(t *testing.T) {
	w := newWorld(t, Options{})
	id := []string{w.router.engine.ID()}
	var h metadata.MD
	_, err := w.canonical().SendMessage(t.Context(), &routerpb.SendMessageRequest{Msg: envelopeOf("m", "a")}, grpc.Header(&h))
	require.NoError(t, err)
	require.Equal(t, id, h.Get(MetadataRouter))
	h = nil
	_, err = w.canonical().SendMessage(t.Context(), &routerpb.SendMessageRequest{}, grpc.Header(&h))
	require.NoError(t, err)
	require.Equal(t, id, h.Get(MetadataRouter))
	h = nil
	_, err = w.canonical().AckDelivery(t.Context(), &routerpb.DeliveryAckRequest{}, grpc.Header(&h))
	require.NoError(t, err)
	require.Equal(t, id, h.Get(MetadataRouter))
	stream := w.incoming("a").stream
	h, err = stream.Header()
	require.NoError(t, err)
	require.Equal(t, id, h.Get(MetadataRouter))
}

func TestCanonicalRefusals(t *testing.T) {
	w := newWorld(t, Options{})
	// The refusal of a large message is typed up to what the server receives.
	for name, test := range map[string]struct {
		e    *commonpb.Envelope
		kv   []string
		want string
	}{
		"no envelope":    {nil, nil, "!validation_error: "},
		"no id":          {envelopeOf("", "a"), nil, "!validation_error: "},
		"bad id":         {envelopeOf("m m", "a"), nil, "!validation_error: "},
		"no producer":    {envelopeOf("m", ""), nil, "!validation_error: "},
		"bad producer":   {envelopeOf("m", "../a"), nil, "!validation_error: "},
		"the router's":   {envelopeOf("m", address.RouterID), nil, "!permission_denied: "},
		"no route":       {envelopeOf("m", "a"), nil, "!no_route: "},
		"two recipients": {envelopeOf("m", "a"), []string{MetadataTo, "agent:b", MetadataTo, "agent:c"}, "!validation_error: "},
		"too large":      {withPayload(envelopeOf("m", "a"), strings.Repeat("x", 7<<20)), nil, "!oversize_payload: "},
	} {
		require.True(t, strings.HasPrefix(w.reason(test.e, test.kv...), test.want), "%s: %s", name, w.reason(test.e, test.kv...))
	}
	_, err := w.send(withPayload(envelopeOf("m", "a"), strings.Repeat("x", 9<<20)))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
}

func TestCanonicalIdentity(t *testing.T) {
	w := newWorld(t, Options{})
	for _, bad := range []string{"s", "s/", "/1", "s/0", "s/-1", "s/x", "s s/1"} {
		_, err := w.send(envelopeOf("m", "a"), MetadataTo, "agent:b", MetadataInstance, bad)
		require.Equal(t, codes.InvalidArgument, status.Code(err), bad)
	}
	for agent, code := range map[string]codes.Code{"": codes.InvalidArgument, "a b": codes.InvalidArgument, address.RouterID: codes.PermissionDenied} {
		stream, err := w.canonical().StreamIncoming(t.Context(), streamRequest(agent))
		require.NoError(t, err)
		_, err = stream.Recv()
		require.Equal(t, code, status.Code(err), agent)
	}
	// Where an agent with a store is live, nobody else speaks for it.
	a := w.connect(hello("a", "sa", 2))
	for name, kv := range map[string][]string{
		"unnamed": nil,
		"older":   {MetadataInstance, "sa/1"},
		"other":   {MetadataInstance, "sb/1"},
	} {
		_, err := w.send(envelopeOf("m", "a"), append([]string{MetadataTo, "agent:b"}, kv...)...)
		require.Equal(t, codes.PermissionDenied, status.Code(err), name)
		in := w.incoming("a", kv...)
		<-in.done
		require.Equal(t, codes.PermissionDenied, status.Code(in.err), name)
	}
	require.Equal(t, "new", w.reason(envelopeOf("m", "a"), MetadataTo, "agent:b", MetadataInstance, "sa/2"))
	a.ping()
	// The same instance on the canonical stream supersedes.
	in := w.incoming("a", MetadataInstance, "sa/2")
	require.Equal(t, transportpb.Goodbye_REASON_SUPERSEDED, wait(t, a.goodbyes).GetReason())
	w.connect(hello("a", "sa", 3))
	<-in.done
	require.Equal(t, codes.PermissionDenied, status.Code(in.err))
	require.Contains(t, in.err.Error(), "superseded")
}

func TestFencedAcknowledgementsChangeNothing(t *testing.T) {
	w := newWorld(t, Options{})
	require.Equal(t, "new", w.reason(envelopeOf("m1", "a"), MetadataTo, "agent:b"))
	old := w.incoming("b", MetadataInstance, "sb/1")
	item := old.next()
	next := w.incoming("b", MetadataInstance, "sb/2")
	require.False(t, w.acknowledge("b", item, 0, MetadataInstance, "sb/1"))
	again := next.next()
	require.Equal(t, item.GetSeq(), again.GetSeq())
	require.True(t, w.acknowledge("b", again, 0, MetadataInstance, "sb/2"))
}

func TestUnnamedStreamsCompete(t *testing.T) {
	w := newWorld(t, Options{})
	x, y := w.incoming("b"), w.incoming("b")
	const n = 300 // more than both windows hold together
	for _, id := range ids("m", n) {
		require.Equal(t, "new", w.reason(envelopeOf(id, "a"), MetadataTo, "agent:b"))
	}
	seen := map[string]bool{}
	for range n {
		var item *routerpb.StreamItem
		select {
		case item = <-x.items:
		case item = <-y.items:
		}
		require.False(t, seen[item.GetMsg().GetMessageId()])
		seen[item.GetMsg().GetMessageId()] = true
		require.True(t, w.acknowledge("b", item, 0))
	}
}

func TestTheCanonicalWindow(t *testing.T) {
	w := newWorld(t, Options{})
	b := w.incoming("b")
	for _, id := range ids("m", windowMessages+2) {
		require.Equal(t, "new", w.reason(envelopeOf(id, "a"), MetadataTo, "agent:b"))
	}
	items := []*routerpb.StreamItem{}
	for range windowMessages {
		items = append(items, b.next())
	}
	// Answers and signals have a window of their own; what came before them would have come by now.
	require.Equal(t, "new", w.reason(withType(envelopeOf("r", "a"), `application/json; kind=reply; to="agent:b"`)))
	require.Equal(t, "r", b.next().GetMsg().GetMessageId())
	none(t, b.items)
	// A discarded delivery makes room, and so does the outcome of a message whose delivery was never acknowledged.
	require.True(t, w.acknowledge("b", items[0], routerpb.DeliveryAckOutcome_DELIVERY_ACK_OUTCOME_PERMANENT_FAILURE))
	require.Equal(t, fmt.Sprintf("m-%04d", windowMessages), b.next().GetMsg().GetMessageId())
	require.Equal(t, "new", w.reason(ackOf("k", "b", items[1].GetMsg().GetMessageId(), ack.Fulfilled, 0)))
	require.Equal(t, fmt.Sprintf("m-%04d", windowMessages+1), b.next().GetMsg().GetMessageId())
}

func TestBufferFull(t *testing.T) {
	w := newWorld(t, Options{Limits: queue.Limits{MaxWork: 3}})
	for _, id := range ids("m", 3) {
		require.Equal(t, "new", w.reason(envelopeOf(id, "a"), MetadataTo, "agent:b"))
	}
	require.True(t, strings.HasPrefix(w.reason(envelopeOf("m4", "a"), MetadataTo, "agent:b"), "!buffer_full: "))
	require.Equal(t, "queued", w.reason(envelopeOf("m-0000", "a"), MetadataTo, "agent:b"), "a known one is answered")
	require.Equal(t, "new", w.reason(envelopeOf("m4", "a"), MetadataTo, "agent:c"), "another address has room")
	require.Equal(t, "new", w.reason(withType(envelopeOf("r", "a"), "application/json; kind=reply"), MetadataTo, "agent:b"), "an answer is no work")
}

func TestRestartKeepsWhatIsNotAcknowledged(t *testing.T) {
	dir := t.TempDir() + "/data"
	open := func() (*world, *pebble.DB) {
		db, err := pebble.Open(dir, pebble.Options{Logger: quiet()})
		require.NoError(t, err)
		return serve(t, store.Sub(db, "queue/"), Options{}, false), db
	}
	w, db := open()
	for _, id := range ids("m", 5) {
		require.Equal(t, "new", w.reason(envelopeOf(id, "a"), MetadataTo, "agent:b"))
	}
	b := w.incoming("b")
	seqs := map[string]int64{}
	for range 5 {
		item := b.next()
		seqs[item.GetMsg().GetMessageId()] = item.GetSeq()
		if item.GetMsg().GetMessageId() == "m-0002" {
			require.True(t, w.acknowledge("b", item, 0))
		}
	}
	engine := w.router.engine.ID()
	b.close()
	w.stop()
	require.NoError(t, db.Close())

	w, db = open()
	require.Equal(t, engine, w.router.engine.ID())
	require.Equal(t, "delivered", w.reason(envelopeOf("m-0002", "a"), MetadataTo, "agent:b"))
	b = w.incoming("b")
	for range 4 {
		item := b.next()
		id := item.GetMsg().GetMessageId()
		if id == "m-0002" {
			// The question above is passed on to the custodian, as a copy.
			item = b.next()
			id = item.GetMsg().GetMessageId()
		}
		require.Equal(t, seqs[id], item.GetSeq(), "%s has its number again", id)
		require.True(t, w.acknowledge("b", item, 0))
	}
	b.close()
	w.stop()
	require.NoError(t, db.Close())
}

func TestCanonicalMembersOfACapability(t *testing.T) {
	directory := &table{agents: map[string][]string{}}
	w := newWorld(t, Options{Directory: directory})
	require.Equal(t, "new", w.reason(envelopeOf("m1", "a"), MetadataTo, "capability:code.review"))
	b := w.incoming("b")
	// An agent may register after it has connected.
	directory.set("b", "code.review")
	w.router.CapabilitiesChanged("b")
	require.Equal(t, "m1", b.next().GetMsg().GetMessageId())
	require.Equal(t, "new", w.reason(envelopeOf("m2", "a"), MetadataTo, "capability:code.review"))
	require.Equal(t, "m2", b.next().GetMsg().GetMessageId())
	directory.set("b")
	w.router.CapabilitiesChanged("b")
	require.Equal(t, "new", w.reason(envelopeOf("m3", "a"), MetadataTo, "agent:b"))
	require.Equal(t, "m3", b.next().GetMsg().GetMessageId())
	require.Equal(t, "new", w.reason(envelopeOf("m4", "a"), MetadataTo, "capability:code.review"))
	require.Equal(t, "queued", w.reason(envelopeOf("m4", "a"), MetadataTo, "capability:code.review"))
}

// TestOnlyAgentsOfThisModuleGetTheAddress looks at the items of a capability's messages: peers that name no instance get
// what the protocol has, and nothing else.
func TestOnlyAgentsOfThisModuleGetTheAddress(t *testing.T) {
	directory := &table{agents: map[string][]string{"b": {"cap"}}}
	w := newWorld(t, Options{Directory: directory})
	require.Equal(t, "new", w.reason(envelopeOf("m1", "a"), MetadataTo, "capability:cap"))
	foreign := w.incoming("b")
	item := foreign.next()
	require.Empty(t, item.ProtoReflect().GetUnknown())
	require.True(t, w.acknowledge("b", item, 0))
	foreign.close()

	directory.set("b")
	directory.set("c", "cap")
	require.Equal(t, "new", w.reason(envelopeOf("m2", "a"), MetadataTo, "capability:cap"))
	require.Equal(t, "new", w.reason(envelopeOf("m3", "a"), MetadataTo, "agent:c"))
	ours := w.incoming("c", MetadataInstance, "sc/1")
	for _, want := range []string{"capability:cap", ""} {
		var said transportpb.ItemAddress
		require.NoError(t, proto.Unmarshal(ours.next().ProtoReflect().GetUnknown(), &said))
		require.Equal(t, want, said.GetTo())
	}
}

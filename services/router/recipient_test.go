package router

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// TestRecipients sends every kind of message and looks at where it waits.
func TestRecipients(t *testing.T) {
	const command = "application/vnd.sw4rm.scheduler.command+json"
	for name, test := range map[string]struct {
		contentType string
		payload     string
		to          []string
		want        string
	}{
		"metadata":                     {"application/json", "{}", []string{"agent:x"}, "agent:x"},
		"metadata, a capability":       {"application/json", "{}", []string{"capability:code.review"}, "capability:code.review"},
		"parameter":                    {`application/json; to="agent:x"`, "{}", nil, "agent:x"},
		"both agree":                   {`application/json; to="agent:x"`, "{}", []string{"agent:x"}, "agent:x"},
		"both disagree":                {`application/json; to="agent:x"`, "{}", []string{"agent:y"}, "!validation_error"},
		"kinds disagree":               {`application/json; to="agent:x"`, "{}", []string{"capability:x"}, "!validation_error"},
		"metadata disagrees":           {"application/json", "{}", []string{"agent:x", "agent:y"}, "!validation_error"},
		"metadata twice":               {"application/json", "{}", []string{"agent:x", "agent:x"}, "agent:x"},
		"no kind":                      {"application/json", "{}", []string{"x"}, "!validation_error"},
		"bad name":                     {"application/json", "{}", []string{"agent:x y"}, "!validation_error"},
		"bad parameter":                {`application/json; to="x"`, "{}", nil, "!validation_error"},
		"the router":                   {"application/json", "{}", []string{"agent:sw4rm-router"}, "!no_route"},
		"method":                       {`application/protobuf; method="acme.review.v1.Reviewer/Review"`, "", nil, "capability:acme.review.v1.Reviewer"},
		"method and recipient":         {`application/protobuf; method="acme.review.v1.Reviewer/Review"`, "", []string{"agent:x"}, "agent:x"},
		"method without a service":     {`application/protobuf; method="Review"`, "", nil, "!validation_error"},
		"method of no possible name":   {`application/protobuf; method="a b/c"`, "", nil, "!validation_error"},
		"scheduler command":            {command, `{"to":"worker-1","stage":"run"}`, nil, "agent:worker-1"},
		"scheduler command, version":   {command + ";v=1", `{"to":"worker-1"}`, nil, "agent:worker-1"},
		"scheduler command, explicit":  {command, `{"to":"worker-1"}`, []string{"agent:x"}, "agent:x"},
		"scheduler command to nobody":  {command, `{"stage":"run"}`, nil, "!no_route"},
		"scheduler command, bad name":  {command, `{"to":"a b"}`, nil, "!validation_error"},
		"scheduler command, not JSON":  {command, `{`, nil, "!validation_error"},
		"scheduler command, no object": {command, `[]`, nil, "!validation_error"},
		"reply":                        {"application/json; kind=reply", "{}", nil, "!no_route"},
		"frame":                        {"application/json; kind=frame", "{}", nil, "!no_route"},
		"reply with a recipient":       {"application/json; kind=reply", "{}", []string{"agent:x"}, "agent:x"},
		"bare, nobody is there":        {"application/json", "{}", nil, "!no_route"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			kv := []string{}
			for _, to := range test.to {
				kv = append(kv, MetadataTo, to)
			}
			e := withPayload(withType(envelopeOf("m", "a"), test.contentType), test.payload)
			reason := w.reason(e, kv...)
			if strings.HasPrefix(test.want, "!") {
				word, _, _ := strings.Cut(reason, ":")
				require.Equal(t, test.want, word, reason)
				return
			}
			require.Equal(t, "new", reason)
			origin, ok, err := w.router.engine.Lookup(t.Context(), "m")
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, test.want, origin.To)
		})
	}
}

func TestRecipientsOfAcknowledgements(t *testing.T) {
	w := newWorld(t, Options{})
	require.Equal(t, "new", w.reason(envelopeOf("m", "a"), MetadataTo, "capability:x"))
	protobuf := withType(ackOf("k4", "b", "m", ack.Read, 0), "application/protobuf")
	protobuf = withPayload(protobuf, "\x0a\x01m\x10\x02")
	for _, test := range []struct {
		e    *commonpb.Envelope
		to   string
		want string
	}{
		{ackOf("k1", "b", "m", ack.Received, 0), "", "agent:a"},
		{ackOf("k2", "b", "m", ack.Received, 0), "agent:other", "agent:other"},
		{ackOf("k3", "b", "unknown", ack.Received, 0), "agent:other", "agent:other"},
		{protobuf, "", "agent:a"},
		{withPayload(ackOf("k5", "b", "m", 0, 0), `{"ack_for_message_id":"m","ack_stage":"read","error_code":"buffer_full"}`), "", "agent:a"},
		{ackOf("k6", "b", "unknown", ack.Fulfilled, 0), "", "!no_route"},
		{withPayload(ackOf("k7", "b", "m", 0, 0), `{"ack_for_message_id":"m","ack_stage":77}`), "agent:a", "!validation_error"},
		{withPayload(ackOf("k8", "b", "m", 0, 0), `no JSON`), "", "!validation_error"},
		{withPayload(ackOf("k9", "b", "m", 0, 0), `{"ack_stage":1}`), "", "!validation_error"},
		{withPayload(ackOf("k10", "b", "m", 0, 0), `{"ack_for_message_id":"a b","ack_stage":1}`), "", "!validation_error"},
	} {
		id := test.e.GetMessageId()
		kv := []string{}
		if test.to != "" {
			kv = []string{MetadataTo, test.to}
		}
		reason := w.reason(test.e, kv...)
		if strings.HasPrefix(test.want, "!") {
			word, _, _ := strings.Cut(reason, ":")
			require.Equal(t, test.want, word, "%s: %s", id, reason)
			continue
		}
		require.Equal(t, "new", reason, id)
		origin, ok, err := w.router.engine.Lookup(t.Context(), id)
		require.NoError(t, err)
		require.True(t, ok, id)
		require.Equal(t, test.want, origin.To, id)
	}
}

func TestBareWorkGoesToTheOnlyAgentThatCouldTakeIt(t *testing.T) {
	directory := &table{agents: map[string][]string{"canonical": {"cap.c"}}}
	w := newWorld(t, Options{Directory: directory})
	n := 0
	to := func(producer string) string {
		t.Helper()
		n++
		e := envelopeOf(ids("m", n)[n-1], producer)
		reason := w.reason(e)
		if reason != "new" {
			word, _, _ := strings.Cut(reason, ":")
			return word
		}
		origin, _, err := w.router.engine.Lookup(t.Context(), e.GetMessageId())
		require.NoError(t, err)
		return origin.To
	}
	w.incoming("mute") // offers nothing
	require.Equal(t, "!no_route", to("a"))
	one := w.connect(hello("one", "s1", 1, "cap.1"))
	require.Equal(t, "capability:cap.1", to("a"))
	require.Equal(t, "!no_route", ownBareWork(t, one), "nobody sends to itself")
	one.close()
	two := w.connect(hello("two", "s2", 1, "cap.1", "cap.2"))
	// The first agent's stream may still be ending.
	require.Eventually(t, func() bool { return len(w.router.members.of("one")) == 0 }, patience, 1e6)
	require.Equal(t, "agent:two", to("a"))
	w.incoming("canonical")
	require.Equal(t, "!no_route", to("a"), "two could take it")
	two.close()
	require.Eventually(t, func() bool { return len(w.router.members.of("two")) == 0 }, patience, 1e6)
	require.Equal(t, "capability:cap.c", to("a"))
}

// ownBareWork submits work of the agent one without a recipient and returns the refusal.
func ownBareWork(t *testing.T, p *peer) string {
	t.Helper()
	a := p.submit("", envelopeOf("own", "one"))
	require.Equal(t, transportpb.Answer_STATE_REFUSED, a.GetState())
	return "!" + strings.ToLower(a.GetCode().String())
}

func TestClasses(t *testing.T) {
	w := newWorld(t, Options{})
	b := w.connect(hello("b", "sb", 1))
	typed := func(m commonpb.MessageType) *commonpb.Envelope {
		e := envelopeOf("m-"+m.String(), "a")
		e.MessageType = m
		return e
	}
	token := envelopeOf("token", "a")
	token.IdempotencyToken = "b:op:0123456789abcdef:response:v1"
	for _, test := range []struct {
		e    *commonpb.Envelope
		want transportpb.Class
	}{
		{typed(commonpb.MessageType_DATA), work},
		{typed(commonpb.MessageType_CONTROL), work},
		{typed(commonpb.MessageType_TOOL_CALL), work},
		{typed(commonpb.MessageType_TOOL_RESULT), answer},
		{typed(commonpb.MessageType_TOOL_ERROR), answer},
		{withType(envelopeOf("reply", "a"), "application/json; kind=reply"), answer},
		{withType(envelopeOf("frame", "a"), `application/json; kind="FRAME"`), answer},
		{withType(envelopeOf("other", "a"), "application/json; kind=other"), work},
		{token, answer},
		{ackOf("ack", "a", "nothing", ack.Read, 0), signal},
	} {
		require.Equal(t, "new", w.reason(test.e, MetadataTo, "agent:b"))
		require.Equal(t, test.e.GetMessageId(), wait(t, b.deliveries[test.want]).GetEnvelope().GetMessageId())
	}
}

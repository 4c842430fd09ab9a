package badinput

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// dial connects to a net's router and registry.
func dial(t *testing.T, net *agenttest.Net) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///net", net.Dial(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// good is an envelope that nothing is wrong with.
func good(id string) *commonpb.Envelope {
	return &commonpb.Envelope{
		MessageId: id, ProducerId: "peer", CorrelationId: "talk-" + id, IdempotencyToken: "peer:op:" + id, SequenceNumber: 1,
		MessageType: commonpb.MessageType_DATA, ContentType: contentType, Payload: []byte(`"good"`), ContentLength: 6,
	}
}

var contentType = envelope.ContentType{Media: envelope.MediaJSON, Message: "google.protobuf.StringValue", Method: "test.v1.Echo/Say"}.String()

func with(e *commonpb.Envelope, payload string) {
	e.Payload, e.ContentLength = []byte(payload), uint64(len(payload))
}

// post is a router to which rows send bad messages, between good ones.
type post struct {
	t      *testing.T
	net    *agenttest.Net
	router routerpb.RouterServiceClient
	sent   []string
}

func newPost(t *testing.T) *post {
	net := agenttest.New(t)
	p := &post{t: t, net: net, router: routerpb.NewRouterServiceClient(dial(t, net))}
	p.good()
	return p
}

func (p *post) send(t *testing.T, e *commonpb.Envelope, to ...string) *routerpb.SendMessageResponse {
	t.Helper()
	ctx := t.Context()
	for _, name := range to {
		ctx = metadata.AppendToOutgoingContext(ctx, "sw4rm-to", name)
	}
	res, err := p.router.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: e})
	require.NoError(t, err)
	return res
}

// good sends a message that has to arrive.
func (p *post) good() {
	id := fmt.Sprintf("good-%d", len(p.sent))
	require.True(p.t, p.send(p.t, good(id), "agent:ours").GetAccepted())
	p.sent = append(p.sent, id)
}

// refused wants a message refused with a code.
func (p *post) refused(tb table, name string, code ack.Code, says string, e *commonpb.Envelope, to ...string) {
	tb.row(name, func(t *testing.T) {
		res := p.send(t, e, to...)
		require.False(t, res.GetAccepted(), res.GetReason())
		got, note, _ := strings.Cut(res.GetReason(), ": ")
		require.Equal(t, strings.ToLower(code.String()), got, res.GetReason())
		require.Contains(t, note, says)
	})
}

// nothingLost starts the recipient, which gets every good message once, in order, and no other.
func (p *post) nothingLost() {
	p.good()
	say := exchange.NewCall[wrapperspb.StringValue, wrapperspb.StringValue]("test.v1.Echo/Say")
	a := p.net.Agent("ours")
	got := make(chan string, 10*len(p.sent))
	say.Handle(a, func(ctx context.Context, m *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
		info, _ := exchange.InfoFrom(ctx)
		got <- info.MessageID
		return m, nil
	})
	require.NoError(p.t, a.Start(p.t.Context()))
	left := map[string]bool{}
	for _, id := range p.sent {
		left[id] = true
	}
	for range p.sent {
		id := <-got
		require.True(p.t, left[id], "%s is none of the good ones, or came twice", id)
		delete(left, id)
	}
	require.NoError(p.t, a.Close())
	require.Empty(p.t, got)
}

// badNames are what no id or name may be.
var badNames = []struct{ name, value string }{
	{"empty", ""}, {"a space", "a b"}, {"a line break", "a\nb"}, {"NUL", "a\x00b"}, {"beyond ASCII", "é"}, {"a slash", "a/b"},
	{"a dash first", "-a"}, {"a colon first", ":a"}, {"129 bytes", strings.Repeat("x", 129)}, {"10,000 bytes", strings.Repeat("x", 10_000)},
	{"a quote", `a"b`}, {"a backslash", `a\b`}, {"DEL", "a\x7f"}, {"a direction mark", "a\u202eb"},
}

func envelopes(tb table) {
	p := newPost(tb.T)
	ids := map[string]func(*commonpb.Envelope, string){
		"message_id":     func(e *commonpb.Envelope, v string) { e.MessageId = v },
		"producer_id":    func(e *commonpb.Envelope, v string) { e.ProducerId = v },
		"correlation_id": func(e *commonpb.Envelope, v string) { e.CorrelationId = v },
	}
	for _, field := range []string{"message_id", "producer_id", "correlation_id"} {
		for _, bad := range badNames {
			e := good("bad")
			ids[field](e, bad.value)
			p.refused(tb, field+": "+bad.name, ack.ValidationError, field, e, "agent:ours")
		}
	}
	edited := func(name string, code ack.Code, says string, edit func(*commonpb.Envelope)) {
		e := good("bad")
		edit(e)
		p.refused(tb, name, code, says, e, "agent:ours")
	}
	for name, token := range map[string]string{"1025 bytes": strings.Repeat("x", envelope.MaxToken+1), "a line break": "a\nb", "NUL": "\x00", "a direction mark": "a\u202e"} {
		edited("token: "+name, ack.ValidationError, "idempotency_token", func(e *commonpb.Envelope) { e.IdempotencyToken = token })
	}
	for _, kind := range []int32{0, -1, 77, 1 << 30} {
		edited(fmt.Sprint("message type ", kind), ack.ValidationError, "message_type", func(e *commonpb.Envelope) { e.MessageType = commonpb.MessageType(kind) })
	}
	for _, length := range []uint64{0, 5, 7, 1 << 63} {
		edited(fmt.Sprint("content length ", length), ack.ValidationError, "content_length", func(e *commonpb.Envelope) { e.ContentLength = length })
	}
	edited("too large", ack.OversizePayload, "the limit is", func(e *commonpb.Envelope) { with(e, strings.Repeat("x", envelope.DefaultMaxBytes)) })
	edited("a field that is too large", ack.OversizePayload, "the limit is", func(e *commonpb.Envelope) { e.RepoId = strings.Repeat("x", envelope.DefaultMaxBytes) })
	edited("the router as producer", ack.PermissionDenied, "reserved", func(e *commonpb.Envelope) { e.ProducerId = "sw4rm-router" })
	for name, value := range map[string]string{
		"none": "", "no slash": "json", "nothing before the slash": "/json", "nothing behind it": "application/", "two slashes": "a/b/c",
		"a parameter without a value": "application/json; method", "an open quote": `application/json; method="a`, "an empty parameter": "application/json;;",
		"a parameter twice": `application/json; message="a.B"; message="a.B"`, "a line break": "application/json;\nx=y", "beyond ASCII": "application/jsön",
		"a name of 257 bytes": `application/json; message="` + strings.Repeat("m", 257) + `"`, "2 KiB": "application/json; x=" + strings.Repeat("y", 2048),
		"a control character": "application/json; x=\"\x01\"", "an equals sign alone": "application/json; =",
	} {
		edited("content type: "+name, ack.ValidationError, "content_type", func(e *commonpb.Envelope) { e.ContentType = value })
	}
	p.refused(tb, "two recipients that disagree", ack.ValidationError, "disagree", good("bad"), "agent:ours", "agent:other")
	p.refused(tb, "kinds that disagree", ack.ValidationError, "disagree", good("bad"), "agent:ours", "capability:ours")
	edited("a recipient in the content type that disagrees", ack.ValidationError, "disagree", func(e *commonpb.Envelope) { e.ContentType = `application/json; to="agent:other"` })
	for _, to := range []string{"ours", "agent", "agent:", "Agent:ours", "topic:ours", "agent:a b", "capability:", "capability:a/b", "agent:" + strings.Repeat("x", 129), ":", "agent:-"} {
		says := "Fix: "
		p.refused(tb, fmt.Sprintf("recipient %.20q", to), ack.ValidationError, says, good("bad"), to)
	}
	p.refused(tb, "the router as recipient", ack.NoRoute, "", good("bad"), "agent:sw4rm-router")
	p.refused(tb, "no envelope", ack.ValidationError, "missing", nil)
	for name, payload := range map[string]string{"that is no JSON": "{", "without a recipient": "{}", "to a number": `{"to":1}`, "to a bad name": `{"to":"a b"}`, "to nobody": `{"to":""}`} {
		e := good("bad")
		e.ContentType = "application/vnd.sw4rm.scheduler.command+json"
		with(e, payload)
		code := ack.ValidationError
		if strings.Contains(name, "without") || strings.Contains(name, "nobody") {
			code = ack.NoRoute
		}
		p.refused(tb, "a scheduler's command "+name, code, "", e)
	}
	for name, method := range map[string]string{"without a slash": "Say", "that is empty before it": "/Say", "of a bad name": "a b/Say"} {
		e := good("bad")
		e.ContentType = `application/json; method="` + method + `"`
		p.refused(tb, "an implied recipient by a method "+name, ack.ValidationError, "SERVICE/METHOD", e)
	}
	reply := good("bad")
	reply.IdempotencyToken = "ours:op:1:response:v1"
	reply.ContentType = "application/json"
	p.refused(tb, "a reply to nobody", ack.NoRoute, "recipient", reply)
	p.nothingLost()
}

func acknowledgements(tb table) {
	p := newPost(tb.T)
	for name, payload := range map[string]string{
		"nothing": "", "no JSON": "x", "half of one": `{"ack_for_message_id":"m"`, "null": "null", "a list": "[]", "a number": "1", "text": `"READ"`,
		"no message":                    `{"ack_stage":3}`,
		"an empty message":              `{"ack_for_message_id":"","ack_stage":3}`,
		"a message that is a number":    `{"ack_for_message_id":1,"ack_stage":3}`,
		"a message with a space":        `{"ack_for_message_id":"a b","ack_stage":3}`,
		"a message of 129 bytes":        `{"ack_for_message_id":"` + strings.Repeat("x", 129) + `","ack_stage":3}`,
		"no stage":                      `{"ack_for_message_id":"m"}`,
		"stage 0":                       `{"ack_for_message_id":"m","ack_stage":0}`,
		"stage 7":                       `{"ack_for_message_id":"m","ack_stage":7}`,
		"stage -1":                      `{"ack_for_message_id":"m","ack_stage":-1}`,
		"stage 1.5":                     `{"ack_for_message_id":"m","ack_stage":1.5}`,
		"stage 2^40":                    `{"ack_for_message_id":"m","ack_stage":1099511627776}`,
		"an unknown stage":              `{"ack_for_message_id":"m","ack_stage":"DONE"}`,
		"an unspecified stage":          `{"ack_for_message_id":"m","ack_stage":"ACK_STAGE_UNSPECIFIED"}`,
		"a stage that is a list":        `{"ack_for_message_id":"m","ack_stage":[3]}`,
		"a stage that is true":          `{"ack_for_message_id":"m","ack_stage":true}`,
		"a stage with spaces":           `{"ack_for_message_id":"m","ack_stage":" READ "}`,
		"a code that is a list":         `{"ack_for_message_id":"m","ack_stage":3,"error_code":[]}`,
		"a code of 2^40":                `{"ack_for_message_id":"m","ack_stage":3,"error_code":1099511627776}`,
		"a note that is a number":       `{"ack_for_message_id":"m","ack_stage":3,"note":1}`,
		"something behind its end":      `{"ack_for_message_id":"m","ack_stage":3}{}`,
		"a stage of thousand brackets":  `{"ack_for_message_id":"m","ack_stage":` + strings.Repeat("[", 1000),
		"a thousand brackets":           strings.Repeat("[", 1000),
		"a message that is an object":   `{"ack_for_message_id":{},"ack_stage":3}`,
		"a message with a line break":   `{"ack_for_message_id":"a\nb","ack_stage":3}`,
		"a message with a direction":    `{"ack_for_message_id":"a\u202eb","ack_stage":3}`,
		"a message that begins with -":  `{"ack_for_message_id":"-","ack_stage":3}`,
		"a stage of another enumerator": `{"ack_for_message_id":"m","ack_stage":"RUNNING"}`,
	} {
		e := good("bad")
		e.MessageType, e.ContentType = commonpb.MessageType_ACKNOWLEDGEMENT, "application/json"
		with(e, payload)
		p.refused(tb, name, ack.ValidationError, "", e)
	}
	for name, payload := range map[string][]byte{
		"cut short": {0x0a}, "a wrong wire type": {0x08, 0x01}, "no message": {0x10, 0x03}, "stage 0": []byte("\n\x01m"), "stage 7": []byte("\n\x01m\x10\x07"),
		"a length beyond its end": {0x0a, 0xff, 0x01}, "an endless number": bytes.Repeat([]byte{0xff}, 12), "a message that is not UTF-8": []byte("\n\x01\xff\x10\x03"),
	} {
		e := good("bad")
		e.MessageType, e.ContentType = commonpb.MessageType_ACKNOWLEDGEMENT, "application/protobuf"
		with(e, string(payload))
		p.refused(tb, "protobuf, "+name, ack.ValidationError, "", e)
	}
	for _, stage := range []string{"1", "2", "3", "4", "5", "6", "10", `"received"`, `"FULFILLED"`, `"Failed"`} {
		e := good("bad")
		e.MessageType, e.ContentType = commonpb.MessageType_ACKNOWLEDGEMENT, "application/json"
		with(e, `{"ack_for_message_id":"nobody-knows-it","ack_stage":`+stage+`,"error_code":0,"note":""}`)
		p.refused(tb, "of an unknown message, stage "+stage, ack.NoRoute, "acknowledges no message", e)
	}
	for _, stage := range []string{"3", "4", "5", "6"} {
		e := good("bad-" + stage)
		e.MessageType, e.ContentType, e.ProducerId = commonpb.MessageType_ACKNOWLEDGEMENT, "application/json", "stranger"
		with(e, `{"ack_for_message_id":"`+p.sent[0]+`","ack_stage":`+stage+`,"error_code":0,"note":""}`)
		p.refused(tb, "of a message that its sender never had, stage "+stage, ack.PermissionDenied, "", e)
	}
	p.nothingLost()
}

package e2e

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// handling starts an agent that answers do, and fails the test when it gets anything but good messages.
func handling(t *testing.T, s *services, id string) *agent.Agent {
	t.Helper()
	a := ours(t, s, agent.Config{ID: id})
	a.Service(exchange.Service{Name: service})
	do.Handle(a, func(_ context.Context, req *text) (*text, error) {
		if !strings.HasPrefix(req.GetValue(), "good") {
			t.Errorf("the handler got %q", req.GetValue())
		}
		return wrapperspb.String(answerTo(req.GetValue())), nil
	})
	require.NoError(t, a.Start(t.Context()))
	return a
}

// TestRefusedMail sends what may not be sent. The router says so at once, and what follows gets through.
func TestRefusedMail(t *testing.T) {
	s := startServices(t, time.Second)
	handling(t, s, "ours")
	p := join(t, s, "theirs")

	toOurs := []string{"agent:ours"}
	signal := func(e *commonpb.Envelope, payload string) {
		e.MessageType = commonpb.MessageType_ACKNOWLEDGEMENT
		e.Payload, e.ContentLength = []byte(payload), uint64(len(payload))
	}
	tests := []struct {
		name string
		to   []string
		edit func(*commonpb.Envelope)
		want ack.Code
		says string
	}{
		{"an oversize payload", toOurs, func(e *commonpb.Envelope) {
			e.Payload = bytes.Repeat([]byte("x"), envelope.DefaultMaxBytes)
			e.ContentLength = uint64(len(e.Payload))
		}, ack.OversizePayload, "the limit is"},
		{"no message id", toOurs, func(e *commonpb.Envelope) { e.MessageId = "" }, ack.ValidationError, "message_id"},
		{"a message id with a line break", toOurs, func(e *commonpb.Envelope) { e.MessageId = "a\nb" }, ack.ValidationError, "message_id"},
		{"a message id that is too long", toOurs, func(e *commonpb.Envelope) { e.MessageId = strings.Repeat("x", 10_000) }, ack.ValidationError, "message_id"},
		{"no producer", toOurs, func(e *commonpb.Envelope) { e.ProducerId = "" }, ack.ValidationError, "producer_id"},
		{"the router as producer", toOurs, func(e *commonpb.Envelope) { e.ProducerId = "sw4rm-router" }, ack.PermissionDenied, "reserved"},
		{"no correlation", toOurs, func(e *commonpb.Envelope) { e.CorrelationId = "" }, ack.ValidationError, "correlation_id"},
		{"a token that is too long", toOurs, func(e *commonpb.Envelope) { e.IdempotencyToken = strings.Repeat("x", 10_000) }, ack.ValidationError, "idempotency_token"},
		{"no message type", toOurs, func(e *commonpb.Envelope) { e.MessageType = 0 }, ack.ValidationError, "message_type"},
		{"an unknown message type", toOurs, func(e *commonpb.Envelope) { e.MessageType = 77 }, ack.ValidationError, "message_type"},
		{"a wrong content length", toOurs, func(e *commonpb.Envelope) { e.ContentLength++ }, ack.ValidationError, "content_length"},
		{"no content type", toOurs, func(e *commonpb.Envelope) { e.ContentType = "" }, ack.ValidationError, "content_type"},
		{"a content type that is none", toOurs, func(e *commonpb.Envelope) { e.ContentType = `application/json; method` }, ack.ValidationError, "content"},
		{"two recipients that disagree", []string{"agent:ours", "agent:other"}, nil, ack.ValidationError, "disagree"},
		{"a recipient in the content type that disagrees", toOurs, func(e *commonpb.Envelope) { e.ContentType = `application/json; to="agent:other"` }, ack.ValidationError, "disagree"},
		{"a recipient without its kind", []string{"ours"}, nil, ack.ValidationError, "agent:ID"},
		{"the router as recipient", []string{"agent:sw4rm-router"}, nil, ack.NoRoute, ""},
		{"an ACK of an unknown message", nil, func(e *commonpb.Envelope) {
			signal(e, `{"ack_for_message_id":"`+uuid.NewString()+`","ack_stage":3,"error_code":0,"note":""}`)
		}, ack.NoRoute, "acknowledges no message"},
		{"an ACK that is none", nil, func(e *commonpb.Envelope) { signal(e, `{"ack_for_message_id":"x","ack_stage":"DONE"}`) }, ack.ValidationError, "DONE"},
		{"an ACK without a message", nil, func(e *commonpb.Envelope) { signal(e, `{"ack_stage":3}`) }, ack.ValidationError, "ack_for_message_id"},
		{"a reply to nobody", nil, func(e *commonpb.Envelope) { e.IdempotencyToken = "ours:x:1:response:v1" }, ack.NoRoute, "recipient"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := p.letter(jsonType, "", []byte(`"bad"`))
			if test.edit != nil {
				test.edit(e)
			}
			res := p.in(t).send(e, test.to...)
			require.False(t, res.GetAccepted(), res.GetReason())
			code, note, _ := strings.Cut(res.GetReason(), ": ")
			require.Equal(t, strings.ToLower(test.want.String()), code, res.GetReason())
			require.Contains(t, note, test.says)
		})
	}

	t.Run("more than the router receives", func(t *testing.T) {
		e := p.letter(jsonType, "", bytes.Repeat([]byte("x"), 9<<20))
		_, err := p.router.SendMessage(brief(t), &routerpb.SendMessageRequest{Msg: e})
		require.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
	})

	t.Run("what follows gets through", func(t *testing.T) {
		p := p.in(t)
		e := p.letter(jsonType, "", []byte(`"good"`))
		require.True(t, p.send(e, "agent:ours").GetAccepted())
		require.Equal(t, []int{stageReceived, stageRead, stageFulfilled}, p.collect(e, 3, 1).stages())
	})
}

// TestRejectedMail sends what the router takes and an agent cannot handle. The sender gets a final ACK with the code.
func TestRejectedMail(t *testing.T) {
	s := startServices(t, time.Second)
	handling(t, s, "ours")
	p := join(t, s, "theirs")
	method := func(media, message, method string) string {
		return envelope.ContentType{Media: media, Message: message, Method: method}.String()
	}
	tests := []struct {
		name, contentType, payload string
		want                       ack.Code
		says                       string
	}{
		{"an unknown method", method("application/json", "", service+"/Nope"), `"bad"`, ack.UnsupportedMessageType, service + "/Nope"},
		{"another message than the method's", method("application/json", "acme.v1.Other", do.Name()), `"bad"`, ack.ValidationError, "acme.v1.Other"},
		{"JSON that is none", jsonType, `{"bad`, ack.ValidationError, "decode"},
		{"JSON of another message", jsonType, `{"path":"bad"}`, ack.ValidationError, "decode"},
		{"protobuf that is none", method("application/protobuf", "", do.Name()), "\xff\xff\xff", ack.ValidationError, "decode"},
		{"a format that is neither", "text/plain", "bad", ack.ValidationError, "text/plain"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := p.in(t)
			e := p.letter(test.contentType, "theirs:bad:"+uuid.NewString(), []byte(test.payload))
			res := p.send(e, "agent:ours")
			require.True(t, res.GetAccepted(), res.GetReason())
			m := p.collect(e, 2, 0)
			require.Equal(t, []int{stageReceived, stageRejected}, m.stages())
			require.Equal(t, int(test.want), m.acks[1].Code)
			require.Contains(t, m.acks[1].Note, test.says)
		})
	}

	t.Run("an ACK that the recipient does not expect", func(t *testing.T) {
		p := p.in(t)
		e := p.letter(jsonType, "", []byte(`{"ack_for_message_id":"`+uuid.NewString()+`","ack_stage":3,"error_code":0,"note":""}`))
		e.MessageType = commonpb.MessageType_ACKNOWLEDGEMENT
		require.True(t, p.send(e, "agent:ours").GetAccepted())
		good := p.letter(jsonType, "", []byte(`"good"`))
		require.True(t, p.send(good, "agent:ours").GetAccepted())
		require.Equal(t, []int{stageReceived, stageRead, stageFulfilled}, p.collect(good, 3, 1).stages())
	})

	t.Run("an ACK by an agent that does not have the message", func(t *testing.T) {
		p := p.in(t)
		other := join(t, s, "third")
		e := p.letter(jsonType, "", []byte(`"later"`))
		require.True(t, p.send(e, "agent:absent").GetAccepted())
		forged := other.letter(jsonType, "", []byte(`{"ack_for_message_id":"`+e.GetMessageId()+`","ack_stage":3,"error_code":0,"note":""}`))
		forged.MessageType = commonpb.MessageType_ACKNOWLEDGEMENT
		res := other.send(forged)
		require.False(t, res.GetAccepted())
		require.Contains(t, res.GetReason(), "permission_denied: ")
	})
}

// TestRefusedSends has an agent of this module send what may not be sent: a typed error, and nothing is stored.
func TestRefusedSends(t *testing.T) {
	s := startServices(t, time.Second)
	handling(t, s, "ours")
	a := ours(t, s, agent.Config{ID: "sender"})
	ctx := brief(t)
	to := exchange.NewClient(a, address.Agent("ours"))

	_, err := do.Call(ctx, to, wrapperspb.String("good"))
	require.ErrorIs(t, err, agent.ErrNotStarted)
	require.NoError(t, a.Start(ctx))

	nope := exchange.NewCall[text, text]("e2e.v1.Work/Nope")
	nameless := exchange.NewCall[text, text]("Nope")
	good := wrapperspb.String("good")
	tests := []struct {
		name string
		send func() error
		want ack.Code
	}{
		{"an oversize payload", func() error {
			_, err := do.Send(ctx, to, wrapperspb.String(strings.Repeat("x", envelope.DefaultMaxBytes)))
			return err
		}, ack.OversizePayload},
		{"no message", func() error { _, err := do.Send(ctx, to, nil); return err }, ack.ValidationError},
		{"no agent", func() error { _, err := do.Send(ctx, exchange.Client{}, good); return err }, ack.ValidationError},
		{"no address", func() error {
			_, err := do.Send(ctx, exchange.NewClient(a, address.Address{}), good)
			return err
		}, ack.ValidationError},
		{"a bad address", func() error {
			_, err := do.Send(ctx, exchange.NewClient(a, address.Agent("a b")), good)
			return err
		}, ack.ValidationError},
		{"a bad correlation", func() error { _, err := do.Send(ctx, to, good, exchange.WithCorrelation("a\nb")); return err }, ack.ValidationError},
		{"a bad policy", func() error { _, err := do.Send(ctx, to, good, exchange.MaxAttempts(0)); return err }, ack.ValidationError},
		{"an exchange without a method", func() error { _, err := nameless.Send(ctx, to, good); return err }, ack.ValidationError},
		{"text that is not UTF-8", func() error { _, err := do.Send(ctx, to, wrapperspb.String("\xff")); return err }, ack.ValidationError},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var refusal *ack.Error
			require.ErrorAs(t, test.send(), &refusal)
			require.Equal(t, ack.Rejected, refusal.Stage)
			require.Equal(t, test.want, refusal.Code, "%v", refusal)
			require.NotEmpty(t, refusal.Note)
			require.Zero(t, a.Buffer().Stats().OutActive+a.Buffer().Stats().OutFinished)
		})
	}

	t.Run("a method that nobody handles", func(t *testing.T) {
		_, err := nope.Call(ctx, to, good)
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.UnsupportedMessageType, From: "ours"})
	})
	t.Run("a key with another payload", func(t *testing.T) {
		_, err := do.Call(ctx, to, good, exchange.WithKey("key"))
		require.NoError(t, err)
		_, err = do.Call(ctx, to, wrapperspb.String("good too"), exchange.WithKey("key"))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
		require.ErrorContains(t, err, "token_reused")
		res, err := do.Call(ctx, to, good, exchange.WithKey("key"))
		require.NoError(t, err)
		require.Equal(t, "did good", res.GetValue())
	})
}

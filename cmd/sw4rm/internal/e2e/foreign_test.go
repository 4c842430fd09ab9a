package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// The protocol's numbers.
const (
	stageReceived, stageRead, stageFulfilled, stageRejected = 1, 2, 3, 4
	codeDuplicate                                           = 14
)

// patient lets a test's peer take its time: a question about its message would be delivered to it too, as another one.
var patient = exchange.AckTimeout(time.Minute)

// TestForeignRequest has a peer of another SDK ask an agent of this module.
func TestForeignRequest(t *testing.T) {
	s := startServices(t, time.Second)
	a := ours(t, s, agent.Config{ID: "ours"})
	a.Service(exchange.Service{Name: service})
	var runs atomic.Int32
	do.Handle(a, func(_ context.Context, req *text) (*text, error) {
		runs.Add(1)
		if req.GetValue() == "bad" {
			return nil, ack.Rejectf(ack.PermissionDenied, "not for you")
		}
		return wrapperspb.String(answerTo(req.GetValue())), nil
	})
	require.NoError(t, a.Start(t.Context()))
	p := join(t, s, "theirs")

	tests := []struct {
		name        string
		contentType string
		to          []string
		token       string
		tokenBack   string
	}{
		{name: "to the agent", contentType: jsonType, to: []string{"agent:ours"}, token: "theirs:ask:0123456789abcdef", tokenBack: "theirs:ask:0123456789abcdef:response:v1"},
		{name: "to the capability", contentType: jsonType, to: []string{"capability:" + service}, token: "theirs:ask:1", tokenBack: "theirs:ask:1:response:v1"},
		{name: "to nobody, with one agent that could take it", contentType: jsonType, token: "theirs:ask:2", tokenBack: "theirs:ask:2:response:v1"},
		{name: "without a token", contentType: jsonType, to: []string{"agent:ours"}},
		{name: "with a parameter", contentType: "application/json; charset=utf-8", to: []string{"agent:ours"}, token: "theirs:ask:3", tokenBack: "theirs:ask:3:response:v1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := p.in(t)
			before := runs.Load()
			e := p.letter(test.contentType, test.token, []byte(`"a job"`))
			res := p.send(e, test.to...)
			require.True(t, res.GetAccepted(), res.GetReason())

			m := p.collect(e, 3, 1)
			require.Equal(t, []int{stageReceived, stageRead, stageFulfilled}, m.stages())
			require.Equal(t, jsonType, m.replies[0].GetContentType())
			require.JSONEq(t, `"did a job"`, string(m.replies[0].GetPayload()))
			require.Equal(t, test.tokenBack, m.replies[0].GetIdempotencyToken())
			require.Equal(t, "ours", m.replies[0].GetProducerId())
			require.Equal(t, before+1, runs.Load())
		})
	}

	t.Run("a refusal has its code", func(t *testing.T) {
		p := p.in(t)
		e := p.letter(jsonType, "theirs:ask:bad", []byte(`"bad"`))
		require.True(t, p.send(e, "agent:ours").GetAccepted())
		m := p.collect(e, 3, 0)
		require.Equal(t, []int{stageReceived, stageRead, stageRejected}, m.stages())
		require.Equal(t, int(ack.PermissionDenied), m.acks[2].Code)
		require.Contains(t, m.acks[2].Note, "not for you")
	})

	t.Run("an equal token is not run again", func(t *testing.T) {
		p := p.in(t)
		before := runs.Load()
		first := p.letter(jsonType, "theirs:ask:twice", []byte(`"once"`))
		require.True(t, p.send(first, "agent:ours").GetAccepted())
		p.collect(first, 3, 1)

		second := p.letter(jsonType, first.GetIdempotencyToken(), []byte(`"once"`))
		second.CorrelationId = first.GetCorrelationId()
		second.RetryCount = 1
		res := p.send(second, "agent:ours")
		require.True(t, res.GetAccepted())
		require.Contains(t, res.GetReason(), "done FULFILLED")
		m := p.collect(second, 1, 1)
		require.Equal(t, []int{stageFulfilled}, m.stages())
		require.Equal(t, codeDuplicate, m.acks[0].Code)
		require.JSONEq(t, `"did once"`, string(m.replies[0].GetPayload()))
		require.Equal(t, before+1, runs.Load())
	})

	t.Run("an equal message id is not run again", func(t *testing.T) {
		p := p.in(t)
		before := runs.Load()
		e := p.letter(jsonType, "", []byte(`"same"`))
		require.True(t, p.send(e, "agent:ours").GetAccepted())
		p.collect(e, 3, 1)
		require.True(t, p.send(e, "agent:ours").GetAccepted())
		m := p.collect(e, 1, 1)
		require.Equal(t, []int{stageFulfilled}, m.stages())
		require.Equal(t, before+1, runs.Load())
	})
}

// in makes the peer report to a subtest.
func (p *peer) in(t *testing.T) *peer {
	q := *p
	q.t = t
	return &q
}

// TestForeignAnswer has an agent of this module ask a peer of another SDK, which acknowledges and replies in its own ways.
func TestForeignAnswer(t *testing.T) {
	s := startServices(t, time.Second)
	a := ours(t, s, agent.Config{ID: "ours"})
	require.NoError(t, a.Start(t.Context()))
	p := join(t, s, "theirs")
	client := exchange.NewClient(a, address.Agent("theirs"))

	tests := []struct {
		name string
		ack  func(id string, stage int) (contentType string, payload []byte)
	}{
		{"numbers", func(id string, n int) (string, []byte) {
			return jsonType, fmt.Appendf(nil, `{"ack_for_message_id":%q,"ack_stage":%d,"error_code":0,"note":""}`, id, n)
		}},
		{"names", func(id string, n int) (string, []byte) {
			return jsonType, fmt.Appendf(nil, `{"ack_for_message_id":%q,"ack_stage":%q}`, id, ack.Stage(n))
		}},
		{"names in lower case", func(id string, n int) (string, []byte) {
			return jsonType, fmt.Appendf(nil, `{"ack_for_message_id":%q,"ack_stage":%q}`, id, strings.ToLower(ack.Stage(n).String()))
		}},
		{"protobuf", func(id string, n int) (string, []byte) {
			b, err := proto.Marshal(&commonpb.Ack{AckForMessageId: id, AckStage: commonpb.AckStage(n)})
			require.NoError(t, err)
			return "application/protobuf", b
		}},
	}
	for _, test := range tests {
		t.Run("acknowledgements as "+test.name, func(t *testing.T) {
			p, ctx := p.in(t), brief(t)
			pending, err := do.Send(ctx, client, wrapperspb.String(test.name), exchange.JSON, patient)
			require.NoError(t, err)

			request := p.take()
			require.Contains(t, request.GetContentType(), jsonType)
			require.JSONEq(t, fmt.Sprintf("%q", test.name), string(request.GetPayload()))
			require.NotEmpty(t, request.GetIdempotencyToken())
			for _, stage := range []ack.Stage{ack.Received, ack.Read} {
				p.acknowledge(request, func(id string) (string, []byte) { return test.ack(id, int(stage)) })
				require.NoError(t, pending.Wait(ctx, stage))
			}
			p.reply(request, request.GetIdempotencyToken()+":response:v1", `"did it"`)
			p.acknowledge(request, func(id string) (string, []byte) { return test.ack(id, stageFulfilled) })
			res, err := pending.Response(ctx)
			require.NoError(t, err)
			require.Equal(t, "did it", res.GetValue())
			require.Equal(t, ack.Fulfilled, pending.Status().Stage)
		})
	}

	t.Run("a reply that names only the conversation, and no acknowledgement", func(t *testing.T) {
		p, ctx := p.in(t), brief(t)
		pending, err := do.Send(ctx, client, wrapperspb.String("bare"), exchange.JSON, patient)
		require.NoError(t, err)
		p.reply(p.take(), "", `"did it"`)
		res, err := pending.Response(ctx)
		require.NoError(t, err)
		require.Equal(t, "did it", res.GetValue())
	})

	failures := []struct {
		name, payload string
		want          *ack.Error
	}{
		{"a refusal by number", `{"ack_for_message_id":%q,"ack_stage":4,"error_code":6,"note":"no"}`, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError, Note: "no", From: "theirs"}},
		{"a refusal by names", `{"ack_for_message_id":%q,"ack_stage":"rejected","error_code":"permission_denied","note":"no"}`, &ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied, Note: "no", From: "theirs"}},
		{"a failure as Python numbers it", `{"ack_for_message_id":%q,"ack_stage":10,"error_code":10,"note":"late"}`, &ack.Error{Stage: ack.Failed, Code: ack.ToolTimeout, Note: "late", From: "theirs"}},
	}
	for _, test := range failures {
		t.Run(test.name, func(t *testing.T) {
			p, ctx := p.in(t), brief(t)
			delivery, err := tell.Send(ctx, client, wrapperspb.String("a job"), exchange.JSON, patient)
			require.NoError(t, err)
			p.acknowledge(p.take(), func(id string) (string, []byte) { return jsonType, fmt.Appendf(nil, test.payload, id) })
			var got *ack.Error
			require.ErrorAs(t, delivery.Outcome(ctx), &got)
			require.Equal(t, test.want, got)
		})
	}
}

// acknowledge sends an ACK of a received message. It names no recipient: that is who sent the message.
func (p *peer) acknowledge(of *commonpb.Envelope, content func(id string) (string, []byte)) {
	p.t.Helper()
	contentType, payload := content(of.GetMessageId())
	e := p.letter(contentType, "", payload)
	e.MessageType = commonpb.MessageType_ACKNOWLEDGEMENT
	res := p.send(e)
	require.True(p.t, res.GetAccepted(), res.GetReason())
}

// reply sends a reply in bare JSON.
func (p *peer) reply(to *commonpb.Envelope, token, payload string) {
	p.t.Helper()
	e := p.letter(jsonType, token, []byte(payload))
	e.CorrelationId = to.GetCorrelationId()
	res := p.send(e, "agent:"+to.GetProducerId())
	require.True(p.t, res.GetAccepted(), res.GetReason())
}

// TestRedelivery leaves a delivery without acknowledgement until its lease is over.
func TestRedelivery(t *testing.T) {
	s := startServices(t, time.Second)
	a := ours(t, s, agent.Config{ID: "ours"})
	require.NoError(t, a.Start(t.Context()))
	p := join(t, s, "theirs")
	client := exchange.NewClient(a, address.Agent("theirs"))
	ctx := brief(t)

	_, err := tell.Send(ctx, client, wrapperspb.String("first"), exchange.JSON, patient)
	require.NoError(t, err)
	first := p.next()
	again := p.next()
	require.Equal(t, first.GetSeq(), again.GetSeq())
	require.Equal(t, first.GetMsg().GetMessageId(), again.GetMsg().GetMessageId())
	require.True(t, p.ackDelivery(again))
	require.True(t, p.ackDelivery(again), "asking again gets the same answer")
	p.acknowledge(again.GetMsg(), func(id string) (string, []byte) {
		return jsonType, fmt.Appendf(nil, `{"ack_for_message_id":%q,"ack_stage":3,"error_code":0,"note":""}`, id)
	})

	_, err = tell.Send(ctx, client, wrapperspb.String("second"), exchange.JSON, patient)
	require.NoError(t, err)
	next := p.next()
	require.Greater(t, next.GetSeq(), first.GetSeq())
	require.JSONEq(t, `"second"`, string(next.GetMsg().GetPayload()))
	require.True(t, p.ackDelivery(next))
}

package agent

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// settler is a session that remembers which deliveries are settled.
type settler struct {
	quietSession
	settled []int64
}

func (s *settler) ackDelivery(d *transportpb.DeliveryAck) { s.settled = append(s.settled, d.GetSeq()) }

// TestRepliesComeFromWhomWasAsked answers a request under several names, with its token and without.
func TestRepliesComeFromWhomWasAsked(t *testing.T) {
	for name, test := range map[string]struct {
		to    address.Address
		from  string
		taken bool
	}{
		"the agent that was asked": {address.Agent("server"), "server", true},
		"another agent":            {address.Agent("server"), "impostor", false},
		"the asking agent":         {address.Agent("server"), "client", false},
		"the router":               {address.Agent("server"), address.RouterID, true},
		"of a capability":          {address.Capability("test.v1.Work"), "anybody", true},
	} {
		for _, typ := range []commonpb.MessageType{commonpb.MessageType_DATA, commonpb.MessageType_TOOL_RESULT} {
			for _, tokens := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/token %t", name, typ, tokens), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						say := exchange.NewCall[wrapperspb.StringValue, wrapperspb.StringValue]("test.v1.Work/Say")
						a := offline(t, "client", func(*Agent) {})
						s := &settler{}
						a.outbox.use(s)
						p, err := say.Send(t.Context(), exchange.NewClient(a, test.to), wrapperspb.String("x"))
						require.NoError(t, err)
						rec := a.buf.OpenOut()[0]
						payload, err := envelope.Encode(wrapperspb.String(test.from), exchange.Protobuf)
						require.NoError(t, err)
						env := &commonpb.Envelope{
							MessageId: envelope.NewID(), ProducerId: test.from, CorrelationId: rec.GetCorrelationId(), SequenceNumber: 1,
							MessageType: typ, Payload: payload, ContentLength: uint64(len(payload)),
							ContentType: envelope.ContentType{
								Media: envelope.MediaProtobuf, Message: "google.protobuf.StringValue", Method: "test.v1.Work/Say", Kind: envelope.KindReply,
							}.String(),
						}
						if tokens {
							env.IdempotencyToken = envelope.ReplyToken(rec.GetToken())
						}
						a.delivered(&transportpb.Delivery{Seq: 7, To: "agent:client", Class: transportpb.Class_CLASS_ANSWER, Envelope: env})
						synctest.Wait()
						assert.Equal(t, []int64{7}, s.settled)
						require.Equal(t, test.taken, p.Status().Done)
						if test.taken {
							reply, err := p.Response(t.Context())
							require.NoError(t, err)
							assert.Equal(t, test.from, reply.GetValue())
						}
					})
				})
			}
		}
	}
}

package agent

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestTakenBackMessageHasRunOut takes the second attempt of a message back at the end of its time to live. An agent has had
// the first, so the router says that it is too late, and that it has recorded the withdrawal when it is asked. For the
// sender's program the message has run out.
func TestTakenBackMessageHasRunOut(t *testing.T) {
	type text = wrapperspb.StringValue
	tell := exchange.NewOneWay[text]("test.v1.Work/Tell")
	for _, test := range []struct {
		name string
		ttl  []exchange.SendOption
		want *ack.Error
	}{
		{"with a time to live", []exchange.SendOption{exchange.TTL(10 * time.Second)}, &ack.Error{Stage: ack.Failed, Code: ack.TTLExpired, Note: noteTakenBack}},
		{"without", nil, &ack.Error{Stage: ack.TimedOut, Note: wordWithdrawn, From: address.RouterID}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, err := NewMemory(Config{ID: "client", Logger: slog.New(slog.DiscardHandler)})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, a.Close()) })
				p, err := tell.Send(t.Context(), exchange.NewClient(a, address.Capability("test.v1.Work")), wrapperspb.String("x"), test.ttl...)
				require.NoError(t, err)
				time.Sleep(10 * time.Second)
				var o *operation
				for _, o = range a.ops {
				}
				o.ranOut(o.rec, transportpb.WithdrawAnswer_STATE_TOO_LATE)
				require.False(t, p.Status().Done, "only the router knows who has it")
				o.answered(&transportpb.Answer{
					State: transportpb.Answer_STATE_DONE, Stage: commonpb.AckStage_TIMED_OUT, Note: wordWithdrawn,
				}, p.Status().Attempts[0].MessageID)
				require.Equal(t, test.want, p.Outcome(t.Context()))
			})
		})
	}
}

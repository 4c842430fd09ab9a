package agent_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

// again sends another attempt of a message, and returns it.
func (f *foreigner) again(to string, of *commonpb.Envelope) *commonpb.Envelope {
	f.t.Helper()
	env := proto.CloneOf(of)
	env.MessageId = envelope.NewID()
	env.RetryCount++
	ctx := metadata.AppendToOutgoingContext(f.t.Context(), "sw4rm-to", to)
	_, err := f.client.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: env})
	require.NoError(f.t, err)
	return env
}

// heard returns all acknowledgements so far, by the attempt that they name.
func (f *foreigner) heard() map[string][]ack.Ack {
	f.t.Helper()
	synctest.Wait()
	list := map[string][]ack.Ack{}
	for len(f.acks) > 0 {
		sig := <-f.acks
		list[sig.ForMessageID] = append(list[sig.ForMessageID], sig)
	}
	return list
}

// TestFurtherAttempts tells a sender that tries again what became of its operation: that it runs already, and shares its
// outcome; or, once it has ended, the outcome as a duplicate, with the reply again. The handler runs once.
func TestFurtherAttempts(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server := net.Agent("server")
		release, runs := make(chan struct{}), 0
		say.Handle(server, func(_ context.Context, m *text) (*text, error) {
			runs++
			<-release
			return m, nil
		})
		start(t, server)
		f := newForeigner(t, net, "foreigner")
		first := &commonpb.Envelope{
			MessageId: envelope.NewID(), IdempotencyToken: "foreigner:say:0123456789abcdef", ProducerId: f.id, CorrelationId: envelope.NewID(),
			SequenceNumber: 1, MessageType: commonpb.MessageType_DATA, ContentType: "application/json", ContentLength: 3, Payload: []byte(`"x"`),
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "sw4rm-to", "agent:server")
		res, err := f.client.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: first})
		require.NoError(t, err)
		require.True(t, res.GetAccepted(), res.GetReason())
		require.Equal(t, map[string][]ack.Ack{first.GetMessageId(): {
			{ForMessageID: first.GetMessageId(), Stage: ack.Received}, {ForMessageID: first.GetMessageId(), Stage: ack.Read},
		}}, f.heard())

		second := f.again("agent:server", first)
		heard := f.heard()[second.GetMessageId()]
		require.Len(t, heard, 1)
		require.Equal(t, ack.AlreadyInProgress, heard[0].Code)
		require.Less(t, heard[0].Stage, ack.Fulfilled, "it has no outcome yet")

		close(release)
		all := f.heard()
		for _, id := range []string{first.GetMessageId(), second.GetMessageId()} {
			require.Equal(t, []ack.Ack{{ForMessageID: id, Stage: ack.Fulfilled}}, all[id], "one outcome for every attempt")
		}
		require.Equal(t, `"x"`, string((<-f.got).GetPayload()))
		require.Empty(t, f.got, "one reply")

		third := f.again("agent:server", second)
		heard = f.heard()[third.GetMessageId()]
		require.Len(t, heard, 1)
		require.Equal(t, ack.Fulfilled, heard[0].Stage)
		require.Equal(t, ack.DuplicateDetected, heard[0].Code)
		require.Equal(t, `"x"`, string((<-f.got).GetPayload()), "the reply again")
		require.Equal(t, 1, runs)
	})
}

package agent

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// heldDisk is a store whose syncs wait while it is held.
type heldDisk struct {
	store.Store
	mu  sync.Mutex
	let chan struct{} // closed when syncs may go on
}

func (h *heldDisk) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.let = make(chan struct{})
}

// Sync implements store.Store.
func (h *heldDisk) Sync(ctx context.Context, m store.Mark) error {
	h.mu.Lock()
	let := h.let
	h.mu.Unlock()
	if let != nil {
		<-let
	}
	return h.Store.Sync(ctx, m)
}

// TestAnEndIsToldThatWasPruned ends an operation whose record is gone before anybody has looked at it.
func TestAnEndIsToldThatWasPruned(t *testing.T) {
	do := exchange.NewCall[wrapperspb.StringValue, wrapperspb.StringValue]("test.v1.Work/Do")
	synctest.Test(t, func(t *testing.T) {
		a, err := New(Config{ID: "client", Logger: slog.New(slog.DiscardHandler), KeepAge: time.Second}, store.NewMemory())
		require.NoError(t, err)
		require.NoError(t, a.reg.freeze())
		op, err := do.Send(t.Context(), exchange.NewClient(a, address.Agent("peer")), wrapperspb.String("x"))
		require.NoError(t, err)
		told := make(chan error, 1)
		go func() {
			_, err := op.Response(context.Background())
			told <- err
		}()
		seq := a.buf.OpenOut()[0].GetSequence()
		ended, err := a.buf.FinishOut(t.Context(), seq, &storagepb.Outcome{Stage: commonpb.AckStage_TIMED_OUT})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		_, err = a.buf.Prune(t.Context())
		require.NoError(t, err)
		_, err = a.buf.Out(seq)
		require.ErrorIs(t, err, activity.ErrUnknown)
		a.ops[seq].change(ended, nil)
		require.ErrorIs(t, <-told, &ack.Error{Stage: ack.TimedOut})
		require.NoError(t, a.Close())
	})
}

// TestAnEndIsNotToldBeforeItIsDurable lets a reply wait for the disk while something else happens to its operation: nobody is
// told of the end, for another process would find the operation open.
func TestAnEndIsNotToldBeforeItIsDurable(t *testing.T) {
	do := exchange.NewCall[wrapperspb.StringValue, wrapperspb.StringValue]("test.v1.Work/Do")
	synctest.Test(t, func(t *testing.T) {
		disk := &heldDisk{Store: store.NewMemory()}
		a, err := New(Config{ID: "client", Logger: slog.New(slog.DiscardHandler)}, disk)
		require.NoError(t, err)
		require.NoError(t, a.reg.freeze())
		a.outbox.use(quietSession{})
		op, err := do.Send(t.Context(), exchange.NewClient(a, address.Agent("peer")), wrapperspb.String("x"))
		require.NoError(t, err)
		rec := a.buf.OpenOut()[0]
		told := make(chan error, 1)
		go func() {
			_, err := op.Response(context.Background())
			told <- err
		}()

		disk.hold()
		body, err := proto.Marshal(wrapperspb.String("y"))
		require.NoError(t, err)
		a.delivered(&transportpb.Delivery{Seq: 1, To: "agent:client", Class: transportpb.Class_CLASS_ANSWER, Envelope: &commonpb.Envelope{
			MessageId: envelope.NewID(), ProducerId: "peer", CorrelationId: rec.GetCorrelationId(), MessageType: commonpb.MessageType_DATA,
			IdempotencyToken: envelope.ReplyToken(rec.GetToken()), Payload: body, ContentLength: uint64(len(body)),
			ContentType: envelope.ContentType{Media: envelope.MediaProtobuf, Message: "google.protobuf.StringValue", Method: do.Name(), Kind: envelope.KindReply}.String(),
		}})
		synctest.Wait()
		read := ack.Ack{ForMessageID: rec.GetAttempts()[0].GetMessageId(), Stage: ack.Read}.Marshal()
		a.delivered(&transportpb.Delivery{Seq: 2, To: "agent:client", Class: transportpb.Class_CLASS_SIGNAL, Envelope: &commonpb.Envelope{
			MessageId: envelope.NewID(), ProducerId: "peer", CorrelationId: envelope.NewID(), MessageType: commonpb.MessageType_ACKNOWLEDGEMENT,
			ContentType: envelope.MediaJSON, Payload: read, ContentLength: uint64(len(read)),
		}})
		synctest.Wait()
		assert.Empty(t, told, "the reply is not on disk yet")
		assert.False(t, op.Status().Done)
		close(disk.let)
		require.NoError(t, <-told)
		assert.True(t, op.Status().Done)
		require.NoError(t, a.Close())
	})
}

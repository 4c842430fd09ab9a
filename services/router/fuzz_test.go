package router

import (
	"testing"

	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// FuzzSubmission hands over whatever a peer may write: it is accepted for a valid recipient, or refused with a code.
func FuzzSubmission(f *testing.F) {
	f.Add("m", "agent:b", "application/json", []byte("{}"), int32(2), int32(0))
	f.Add("m", "", `application/protobuf; method="a.B/C"; kind=reply`, []byte{1}, int32(10), int32(2))
	f.Add("m", "", "application/vnd.sw4rm.scheduler.command+json", []byte(`{"to":"x"}`), int32(1), int32(1))
	f.Add("k", "", "application/json", []byte(`{"ack_for_message_id":"m","ack_stage":"read"}`), int32(5), int32(3))
	f.Add("k", "capability:x", "application/protobuf", []byte("\x0a\x01m\x10\x0a"), int32(5), int32(0))
	r, err := Open(f.Context(), store.NewMemory(), Options{Logger: quiet(), Limits: queue.Limits{MaxWork: 100}})
	require.NoError(f, err)
	f.Cleanup(r.Close)
	f.Fuzz(func(t *testing.T, id, to, contentType string, payload []byte, kind, class int32) {
		m, err := r.prepare(t.Context(), submission{
			envelope: &commonpb.Envelope{
				MessageId: id, ProducerId: "a", CorrelationId: "c", MessageType: commonpb.MessageType(kind),
				ContentType: contentType, Payload: payload, ContentLength: uint64(len(payload)),
			},
			named: []string{to}, class: transportpb.Class(class), from: queue.Holder{Agent: "a"},
		})
		if err != nil {
			refused, ok := refusalOf(err)
			require.True(t, ok, "%v", err)
			require.NotZero(t, refused.Code)
			return
		}
		_, err = address.Parse(m.To)
		require.NoError(t, err)
		receipt, err := r.accept(t.Context(), m)
		require.NoError(t, err)
		answer, err := r.settle(t.Context(), m, receipt)
		require.NoError(t, err)
		require.NotZero(t, answer.State)
	})
}

func FuzzInstance(f *testing.F) {
	f.Add("store/1")
	f.Add("/")
	f.Add("s/18446744073709551616")
	f.Fuzz(func(t *testing.T, s string) {
		name, epoch, err := parseInstance(s)
		if err == nil {
			require.NoError(t, address.CheckName("store id", name))
			require.NotZero(t, epoch)
		}
	})
}

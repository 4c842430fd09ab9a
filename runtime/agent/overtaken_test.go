package agent

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestOvertakenChangesAreNoFailures ends an operation by its acknowledgement just before the router's answer to it, the
// next attempt and its time to live come. None of them changes anything, and none is a defect.
func TestOvertakenChangesAreNoFailures(t *testing.T) {
	type text = wrapperspb.StringValue
	tell := exchange.NewOneWay[text]("test.v1.Work/Tell")
	for name, late := range map[string]func(*operation){
		"answer": func(o *operation) {
			o.answered(&transportpb.Answer{State: transportpb.Answer_STATE_NEW}, lastAttempt(o.rec).GetMessageId())
		},
		"lost": func(o *operation) {
			o.answered(&transportpb.Answer{State: transportpb.Answer_STATE_LOST}, lastAttempt(o.rec).GetMessageId())
		},
		"next attempt": func(o *operation) { o.attempt() },
		"withdrawal":   func(o *operation) { o.ranOut(o.rec, transportpb.WithdrawAnswer_STATE_TOO_LATE) },
		"time to live": func(o *operation) { o.runOut(time.Now()) },
		"deadline":     func(o *operation) { o.expire(time.Now(), time.Now()) },
		"refusal":      func(o *operation) { o.refused(&transportpb.Answer{Code: 1}) },
		"no answer":    func(o *operation) { o.timedOut() },
	} {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			a, err := NewMemory(Config{ID: "client", Logger: slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelError}))})
			require.NoError(t, err)
			p, err := tell.Send(t.Context(), exchange.NewClient(a, address.Agent("server")), wrapperspb.String("x"))
			require.NoError(t, err)
			var o *operation
			for _, o = range a.ops {
			}
			ch, err := a.buf.AckOut(t.Context(), ack.Ack{ForMessageID: lastAttempt(o.rec).GetMessageId(), Stage: ack.Fulfilled}, "server")
			require.NoError(t, err)
			late(o)
			o.change(ch, nil)
			require.NoError(t, p.Outcome(t.Context()))
			require.NoError(t, a.Close())
			require.Empty(t, said.String())
		})
	}
}

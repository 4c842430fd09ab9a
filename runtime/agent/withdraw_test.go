package agent

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// mute is a session of a router that answers nothing.
type mute struct{ session }

func (mute) asks() bool                               { return true }
func (mute) routerID() string                         { return "" }
func (mute) routerStart() string                      { return "" }
func (mute) submit(*transportpb.Submit)               {}
func (mute) withdraw(*transportpb.Withdraw)           {}
func (mute) credit(transportpb.Class, uint32, uint64) {}
func (mute) drain()                                   {}

func asked(a *Agent) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.withdrawals)
}

// TestUnansweredWithdrawalsAreForgotten ends messages at their deadline while the router says nothing.
func TestUnansweredWithdrawalsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := NewMemory(Config{ID: "client", Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		tell := exchange.NewOneWay[wrapperspb.StringValue]("test.v1.Work/Tell")
		a.background(a.outbox.run)
		a.outbox.use(mute{})
		for range 3 {
			_, err := tell.Send(t.Context(), exchange.NewClient(a, address.Agent("x")), wrapperspb.String("x"), exchange.Deadline(time.Minute))
			require.NoError(t, err)
		}
		time.Sleep(time.Minute + time.Second)
		require.Equal(t, 3, asked(a))
		time.Sleep(withdrawPatience)
		require.Empty(t, a.buf.OpenOut())
		require.Zero(t, asked(a))
		require.NoError(t, a.Close())
	})
}

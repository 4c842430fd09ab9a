package agent_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// hesitating makes every stream take its time before its header.
type hesitating struct {
	grpc.ServiceRegistrar
	by      time.Duration
	streams *atomic.Int32
}

func (h hesitating) RegisterService(d *grpc.ServiceDesc, impl any) {
	changed := *d
	changed.Streams = append([]grpc.StreamDesc(nil), d.Streams...)
	handle := changed.Streams[0].Handler
	changed.Streams[0].Handler = func(srv any, s grpc.ServerStream) error {
		h.streams.Add(1)
		time.Sleep(h.by)
		return handle(srv, s)
	}
	h.ServiceRegistrar.RegisterService(&changed, impl)
}

// TestARouterThatShowsItselfLate is taken for a foreign one only until it does: the session is opened again then, once, and
// what foreign routers cannot do works.
func TestARouterThatShowsItselfLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, err := router.Open(t.Context(), store.NewMemory(), router.Options{Directory: served("server"), Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(core.Close)
		var streams atomic.Int32
		p := newPeer(t, func(s *grpc.Server) { core.Register(hesitating{canonicalOnly(s), 5 * time.Second, &streams}) })
		server, client := p.agent("server"), p.agent("client")
		tell.Handle(server, func(context.Context, *text) error { return nil })
		start(t, server, client)
		time.Sleep(30 * time.Second)
		require.NoError(t, tell.Call(t.Context(), exchange.NewClient(client, address.Capability("test.v1.Echo")), str("x")))
		time.Sleep(time.Minute)
		assert.EqualValues(t, 4, streams.Load(), "each agent opens its session again once")
	})
}

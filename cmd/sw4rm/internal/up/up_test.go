package up

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves over s in the background, and returns a client of the registry.
func start(t *testing.T, ctx context.Context, s store.Store, limits queue.Limits) (registry registrypb.RegistryServiceClient, ended <-chan error) {
	t.Helper()
	out, in := io.Pipe()
	c := Config{Router: "localhost:0", Registry: "localhost:0", Limits: limits, Out: in, Logger: slog.New(slog.DiscardHandler)}
	l, err := listen(ctx, c)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- serve(ctx, c, s, l) }()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.True(t, lines.Scan())
	addr := strings.TrimPrefix(lines.Text(), "registry listening on ")
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return registrypb.NewRegistryServiceClient(conn), done
}

func TestFailedStoreEndsTheServices(t *testing.T) {
	s := store.NewMemory()
	registry, ended := start(t, t.Context(), s, queue.Limits{})
	_, err := registry.Heartbeat(t.Context(), &registrypb.HeartbeatRequest{AgentId: "a"})
	require.NoError(t, err)
	s.Fail(errors.New("disk full"))
	err = <-ended
	require.ErrorIs(t, err, store.ErrFailed)
	require.ErrorContains(t, err, "disk full")
	require.ErrorContains(t, err, "Fix: look for a full or broken disk")
	require.Equal(t, 1, strings.Count(err.Error(), "Fix: "))
	_, err = registry.Heartbeat(t.Context(), &registrypb.HeartbeatRequest{AgentId: "a"})
	require.Equal(t, codes.Unavailable, status.Code(err))
}

func TestDamageEndsTheServices(t *testing.T) {
	s := store.NewMemory()
	_, ended := start(t, t.Context(), s, queue.Limits{})
	s.Fail(&store.DamagedError{File: "000005.sst", Offset: -1, Err: errors.New("the checksum does not match")})
	err := <-ended
	var damage *store.DamagedError
	require.ErrorAs(t, err, &damage)
	require.ErrorContains(t, err, "sw4rm buffer salvage")
	require.Equal(t, 1, strings.Count(err.Error(), "Fix: "))
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, ended := start(t, ctx, store.NewMemory(), queue.Limits{})
	cancel()
	require.NoError(t, <-ended)
}

func TestTheLimitOfAgentsIsTheRegistrysToo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	registry, ended := start(t, ctx, store.NewMemory(), queue.Limits{MaxAgents: 1})
	for _, test := range []struct{ id, reason string }{{"a", ""}, {"b", "the limit is 1"}} {
		got, err := registry.RegisterAgent(ctx, &registrypb.RegisterAgentRequest{Agent: &registrypb.AgentDescriptor{AgentId: test.id}})
		require.NoError(t, err)
		require.Equal(t, test.reason == "", got.GetAccepted(), got.GetReason())
		require.Contains(t, got.GetReason(), test.reason)
	}
	cancel()
	require.NoError(t, <-ended)
}

func TestStoppedBeforeItServes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := Config{Router: "localhost:0", Registry: "localhost:0", Data: t.TempDir() + "/data", Out: io.Discard, Logger: slog.New(slog.DiscardHandler)}
	require.NoError(t, Run(ctx, c))
}

func TestDataErrorAlwaysHasARemedy(t *testing.T) {
	err := &DataError{Dir: "d", Err: errors.New("no space")}
	require.EqualError(t, err, "data directory d cannot be opened: no space. Fix: use --data with a directory that you can write")
	err = &DataError{Dir: "d", Err: fmt.Errorf("%w: write x: no space left on device", store.ErrFailed)}
	require.ErrorContains(t, err, "Fix: look for a full or broken disk")
	err = &DataError{Dir: "d", Err: &store.InUseError{Dir: "d"}}
	require.Equal(t, 1, strings.Count(err.Error(), "Fix: "))
}

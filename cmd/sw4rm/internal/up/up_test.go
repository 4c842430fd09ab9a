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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves over s in the background, and returns the address of the registry.
func start(t *testing.T, ctx context.Context, s store.Store) (registry string, ended <-chan error) {
	t.Helper()
	out, in := io.Pipe()
	c := Config{Router: "localhost:0", Registry: "localhost:0", Out: in, Logger: slog.New(slog.DiscardHandler)}
	l, err := listen(ctx, c)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- serve(ctx, c, s, l) }()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.True(t, lines.Scan())
	return strings.TrimPrefix(lines.Text(), "registry listening on "), done
}

func TestFailedStoreEndsTheServices(t *testing.T) {
	s := store.NewMemory()
	addr, ended := start(t, t.Context(), s)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	_, err = registrypb.NewRegistryServiceClient(conn).Heartbeat(t.Context(), &registrypb.HeartbeatRequest{AgentId: "a"})
	require.NoError(t, err)
	s.Fail(errors.New("disk full"))
	err = <-ended
	require.ErrorIs(t, err, store.ErrFailed)
	require.Contains(t, err.Error(), "disk full")
	require.Contains(t, err.Error(), "Fix: ")
	_, err = registrypb.NewRegistryServiceClient(conn).Heartbeat(t.Context(), &registrypb.HeartbeatRequest{AgentId: "a"})
	require.Equal(t, codes.Unavailable, status.Code(err))
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, ended := start(t, ctx, store.NewMemory())
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

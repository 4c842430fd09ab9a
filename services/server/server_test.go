package server

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestListenTakesLoopbackAddresses(t *testing.T) {
	for _, addr := range []string{"localhost:0", "LOCALHOST:0", "127.0.0.1:0", "127.8.8.8:0", "http://localhost:0", "http://127.0.0.1:0/"} {
		l, err := Listen(t.Context(), "--router", addr)
		require.NoError(t, err, addr)
		require.True(t, l.Addr().(*net.TCPAddr).IP.IsLoopback(), addr)
		require.NoError(t, l.Close())
	}
}

func TestListenRefuses(t *testing.T) {
	for addr, want := range map[string]string{
		"":                       "is not HOST:PORT",
		"localhost":              "is not HOST:PORT",
		"localhost:http":         "is not HOST:PORT",
		"localhost:70000":        "is not HOST:PORT",
		"https://localhost:1":    "is not HOST:PORT",
		":0":                     "not a loopback address",
		"0.0.0.0:0":              "not a loopback address",
		"[::]:0":                 "not a loopback address",
		"192.0.2.1:0":            "not a loopback address",
		"http://10.1.2.3:50051/": "not a loopback address",
		"no-such-host.invalid:0": "cannot be resolved",
	} {
		_, err := Listen(t.Context(), "--router", addr)
		var typed *AddressError
		require.ErrorAs(t, err, &typed, addr)
		require.Contains(t, err.Error(), want, addr)
		require.Contains(t, err.Error(), "Fix: ", addr)
		require.Contains(t, typed.Fix, "--router localhost:", addr)
		require.Contains(t, typed.Addr, strings.TrimSuffix(addr, "/"))
	}
}

func TestListenNamesThePortInUse(t *testing.T) {
	first, err := Listen(t.Context(), "--registry", "localhost:0")
	require.NoError(t, err)
	defer first.Close()
	_, err = Listen(t.Context(), "--registry", first.Addr().String())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.EqualError(t, err, "address "+first.Addr().String()+" is in use. Fix: stop the process that listens there, or use --registry localhost:0 for a free port")
}

// slow answers heartbeats when it is let go, and tells when one has come.
type slow struct {
	registrypb.UnimplementedRegistryServiceServer
	came, letGo chan struct{}
}

func (s slow) Heartbeat(ctx context.Context, _ *registrypb.HeartbeatRequest) (*registrypb.HeartbeatResponse, error) {
	close(s.came)
	select {
	case <-s.letGo:
		return &registrypb.HeartbeatResponse{Ok: true}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func start(t *testing.T, c Config) (*Server, *grpc.ClientConn) {
	t.Helper()
	l, err := Listen(t.Context(), "--router", "localhost:0")
	require.NoError(t, err)
	s := New(c)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		s.Shutdown(t.Context())
		require.NoError(t, <-served)
	})
	return s, conn
}

func TestHealthAndReflection(t *testing.T) {
	s, conn := start(t, Config{Register: func(r grpc.ServiceRegistrar) {
		registrypb.RegisterRegistryServiceServer(r, slow{})
	}})
	health := healthpb.NewHealthClient(conn)
	for _, name := range []string{"", "sw4rm.registry.RegistryService"} {
		got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, got.GetStatus())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
	}))
	list, err := stream.Recv()
	require.NoError(t, err)
	names := []string{}
	for _, v := range list.GetListServicesResponse().GetService() {
		names = append(names, v.GetName())
	}
	require.Contains(t, names, "sw4rm.registry.RegistryService")

	s.NotServing()
	got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, got.GetStatus())
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	service := slow{came: make(chan struct{}), letGo: make(chan struct{})}
	drained := make(chan struct{})
	s, conn := start(t, Config{
		Register: func(r grpc.ServiceRegistrar) { registrypb.RegisterRegistryServiceServer(r, service) },
		Drain:    func() { close(drained) },
	})
	answered := make(chan error, 1)
	go func() {
		_, err := registrypb.NewRegistryServiceClient(conn).Heartbeat(t.Context(), &registrypb.HeartbeatRequest{})
		answered <- err
	}()
	<-service.came
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.Shutdown(context.Background())
	}()
	<-drained
	close(service.letGo)
	require.NoError(t, <-answered)
	<-stopped
}

func TestShutdownCutsWhatTakesTooLong(t *testing.T) {
	service := slow{came: make(chan struct{}), letGo: make(chan struct{})}
	s, conn := start(t, Config{Register: func(r grpc.ServiceRegistrar) { registrypb.RegisterRegistryServiceServer(r, service) }})
	answered := make(chan error, 1)
	go func() {
		_, err := registrypb.NewRegistryServiceClient(conn).Heartbeat(t.Context(), &registrypb.HeartbeatRequest{})
		answered <- err
	}()
	<-service.came
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	s.Shutdown(ctx)
	require.True(t, errors.Is(ctx.Err(), context.DeadlineExceeded))
	require.Equal(t, codes.Unavailable, status.Code(<-answered))
}

// Package server is what every service has in common: where it listens, its gRPC limits, health, reflection, and how it
// stops.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

const (
	// MaxReceive is the largest message that a server takes from the wire. It is well above the largest envelope, so that
	// an envelope that is too large gets a typed refusal and not a broken call.
	MaxReceive = 8 << 20
	// Grace is how long what is in flight may take when a server stops.
	Grace = 5 * time.Second

	maxConnections = 4096
	maxStreams     = 1024
	maxHeader      = 16 << 10
)

// Options returns the limits of a gRPC server for agents.
func Options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxReceive),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.ConnectionTimeout(20 * time.Second),
		// Agents may ping an idle connection, to notice early that a router is gone.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
}

// Config says what a server serves.
type Config struct {
	// Register enters the services.
	Register func(grpc.ServiceRegistrar)
	// Drain asks the services to end their streams, and returns at once. It may be nil.
	Drain func()
}

// Server is one gRPC server with health and reflection. Its methods may be called from any goroutine.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	drain  func()

	stop sync.Once
	done chan struct{}
}

// New returns a server that does not listen yet.
func New(c Config) *Server {
	s := &Server{grpc: grpc.NewServer(Options()...), health: health.NewServer(), drain: c.Drain, done: make(chan struct{})}
	if c.Register != nil {
		c.Register(s.grpc)
	}
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s
}

// Serve serves connections of l until Shutdown, which makes it return nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	err := s.grpc.Serve(netutil.LimitListener(l, maxConnections))
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// NotServing tells health checkers that the services work no more. They go on answering.
func (s *Server) NotServing() { s.health.Shutdown() }

// Shutdown says NOT_SERVING, ends the streams, waits for what is in flight until ctx ends, and then cuts what is left.
// Later calls wait for the first one.
func (s *Server) Shutdown(ctx context.Context) {
	s.stop.Do(func() {
		defer close(s.done)
		s.health.Shutdown()
		if s.drain != nil {
			s.drain()
		}
		graceful := make(chan struct{})
		go func() {
			defer close(graceful)
			s.grpc.GracefulStop()
		}()
		select {
		case <-graceful:
		case <-ctx.Done():
			s.grpc.Stop()
			<-graceful
		}
	})
	<-s.done
}

// Package up runs the services of one installation in one process.
package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/registry"
	"github.com/sw4rm/sw4rm-go/services/router"
	"github.com/sw4rm/sw4rm-go/services/server"
)

// Config says where the services listen and where their data lie.
type Config struct {
	// Router and Registry are HOST:PORT.
	Router, Registry string
	// Data is the data directory.
	Data string
	// Lease is the router's; 0 is its default.
	Lease time.Duration
	// MinFree is how many bytes must be free on the disk for new work, 0 for the default, negative for no limit.
	MinFree int64
	// Limits bound the router's queues. Zero fields are the defaults.
	Limits queue.Limits
	// Out gets a line for each service that listens.
	Out io.Writer
	// Logger gets what operators should know.
	Logger *slog.Logger
}

// DataError says that the data directory cannot be used.
type DataError struct {
	Dir string
	Err error
}

// Error implements error.
func (e *DataError) Error() string {
	text := e.Err.Error()
	if strings.Contains(text, "Fix: ") {
		return text
	}
	fix := "use --data with a directory that you can write"
	if errors.Is(e.Err, store.ErrFailed) {
		fix = "look for a full or broken disk, then start again; what was accepted is kept"
	}
	return fmt.Sprintf("data directory %s cannot be opened: %s. Fix: %s", e.Dir, text, fix)
}

// Unwrap returns the cause.
func (e *DataError) Unwrap() error { return e.Err }

// Run serves until ctx ends, which is no error, or something fails.
func Run(ctx context.Context, c Config) (err error) {
	// Addresses are tried first: an installation that runs already is then reported as such.
	listeners, err := listen(ctx, c)
	switch {
	case ctx.Err() != nil:
		listeners.close()
		return nil
	case err != nil:
		return err
	}
	defer listeners.close()
	db, err := pebble.Open(c.Data, pebble.Options{Profile: pebble.Service, Logger: c.Logger, MinFree: c.MinFree})
	if err != nil {
		return &DataError{Dir: c.Data, Err: err}
	}
	defer func() {
		// After a failure there is nothing left to close properly.
		if closing := db.Close(); closing != nil && err == nil {
			err = fmt.Errorf("close the data: %w", closing)
		}
	}()
	err = serve(ctx, c, db, listeners)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // it was stopped while it started
	}
	return err
}

type listeners struct{ router, registry net.Listener }

func listen(ctx context.Context, c Config) (listeners, error) {
	var l listeners
	var err error
	if l.router, err = server.Listen(ctx, "--router", c.Router); err != nil {
		return l, fmt.Errorf("router: %w", err)
	}
	if l.registry, err = server.Listen(ctx, "--registry", c.Registry); err != nil {
		l.close()
		return l, fmt.Errorf("registry: %w", err)
	}
	return l, nil
}

// close closes what is open. Closing what a server has closed is no harm.
func (l listeners) close() {
	for _, l := range []net.Listener{l.router, l.registry} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// serve runs the services over an open store, which it does not close.
func serve(ctx context.Context, c Config, s store.Store, l listeners) error {
	// The router asks the registry for capabilities, and the registry tells the router of changes; none come before both
	// are served.
	var r *router.Router
	reg, err := registry.Open(ctx, store.Sub(s, registry.StorePrefix), registry.Options{
		MaxAgents: c.Limits.MaxAgents,
		Logger:    c.Logger,
		Changed:   func(agentID string) { r.CapabilitiesChanged(agentID) },
	})
	if err != nil {
		return err
	}
	r, err = router.Open(ctx, store.Sub(s, router.StorePrefix), router.Options{Directory: reg, Lease: c.Lease, Limits: c.Limits, Logger: c.Logger})
	if err != nil {
		return err
	}
	defer r.Close()

	services := []service{
		{name: "router", listener: l.router, server: server.New(server.Config{Register: r.Register, Drain: r.Drain})},
		{name: "registry", listener: l.registry, server: server.New(server.Config{Register: reg.Register})},
	}
	ended := make(chan error, len(services))
	var serving sync.WaitGroup
	for _, v := range services {
		serving.Go(func() { ended <- v.server.Serve(v.listener) })
		if _, err := fmt.Fprintf(c.Out, "%s listening on %s\n", v.name, v.listener.Addr()); err != nil {
			c.Logger.Warn("standard output cannot be written", "error", err)
		}
	}
	err = wait(ctx, s, ended)
	if err == nil {
		c.Logger.Info("stopping as asked")
	} else {
		c.Logger.Error("stopping after a failure", "error", err)
	}
	stop(services, err)
	serving.Wait()
	return err
}

type service struct {
	name     string
	listener net.Listener
	server   *server.Server
}

// wait returns when the services should stop: with nil because ctx has ended.
func wait(ctx context.Context, s store.Store, ended <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		if err == nil {
			err = errors.New("a service has stopped")
		}
		return err
	case <-s.Failed():
		return failed(s.Err())
	}
}

// failed says what to do about a store that has failed.
func failed(err error) error {
	var damage *store.DamagedError
	if errors.As(err, &damage) {
		return fmt.Errorf("the data are not what was written: %w", err) // which has its remedy
	}
	return fmt.Errorf("the data can no longer be read or written: %w. Fix: look for a full or broken disk, then start again; what was accepted is kept", err)
}

// stop ends all services at the same time. After a failure nothing in flight can succeed, and little time is given.
func stop(services []service, failure error) {
	grace := server.Grace
	if failure != nil {
		grace = time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var stopping sync.WaitGroup
	for _, v := range services {
		stopping.Go(func() { v.server.Shutdown(ctx) })
	}
	stopping.Wait()
}

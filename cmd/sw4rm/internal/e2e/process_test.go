package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/process"
)

// patience is how long a test waits for what should happen soon.
const patience = 30 * time.Second

// What a process prints when it works: the services, and the agents.
const (
	listening = "registry listening on "
	ready     = "ready"
)

// launch starts cmd, whose log goes to the directory logs. heard, which may be nil, gets every line of its standard output.
// The test's end kills what still runs.
func launch(t *testing.T, name, logs string, cmd *exec.Cmd, heard func(line string)) *process.Process {
	t.Helper()
	p, err := process.Start(name, logs, cmd, heard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// services is one installation of the services: its addresses and data stay, its processes come and go.
type services struct {
	t                *testing.T
	logs, data       string
	router, registry string
	lease            time.Duration
	started          int
	history          *history.Writer // of its processes, nil for none
	*process.Process
}

// newServices chooses addresses; nothing runs yet.
func newServices(t *testing.T, dir string, lease time.Duration) *services {
	t.Helper()
	return &services{t: t, logs: dir, data: filepath.Join(dir, "up"), router: freeAddr(t), registry: freeAddr(t), lease: lease}
}

// launch starts a process of the services, on the addresses and data of the one before.
func (s *services) launch() {
	s.t.Helper()
	s.started++
	cmd := exec.Command(command(s.t), "up", "--router", s.router, "--registry", s.registry, "--data", s.data)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SW4RM_DELIVERY_LEASE_SECONDS=%g", s.lease.Seconds()))
	name := actor(routerID, s.started)
	if s.history != nil {
		s.history.Add(history.Event{Actor: name, Op: history.Up, Kind: history.Info})
	}
	s.Process = launch(s.t, name, s.logs, cmd, nil)
}

// start is launch, and waits until the services listen.
func (s *services) start() {
	s.t.Helper()
	s.launch()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if _, err := s.Await(ctx, listening); err != nil {
		s.t.Fatal(err)
	}
}

// startServices runs the services in a directory of their own.
func startServices(t *testing.T, lease time.Duration) *services {
	t.Helper()
	s := newServices(t, t.TempDir(), lease)
	s.start()
	return s
}

// freeAddr returns an address at which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := process.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

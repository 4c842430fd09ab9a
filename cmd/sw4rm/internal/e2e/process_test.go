package e2e

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
)

// patience is how long a test waits for what should happen soon.
const patience = 30 * time.Second

// What a process prints when it works: the services, and the agents.
const (
	listening = "registry listening on "
	ready     = "ready"
)

// process is a program under test. Its standard error goes to a file.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // of Wait, once done is closed

	mu    sync.Mutex
	lines []string
	moved chan struct{} // closed and replaced with every line
}

// launch starts cmd. heard, which may be nil, gets every line of its standard output. The test's end kills what still
// runs.
func launch(t *testing.T, name, logs string, cmd *exec.Cmd, heard func(line string)) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, log: filepath.Join(logs, name+".log"), done: make(chan struct{}), moved: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.add(lines.Text())
			if heard != nil {
				heard(lines.Text())
			}
		}
		p.err = cmd.Wait()
		_ = log.Close()
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	close(p.moved)
	p.moved = make(chan struct{})
}

// await returns what follows prefix in the first line that begins so.
func (p *process) await(ctx context.Context, prefix string) (string, error) {
	for {
		p.mu.Lock()
		lines, moved := p.lines, p.moved
		p.mu.Unlock()
		for _, line := range lines {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest, nil
			}
		}
		select {
		case <-moved:
		case <-p.done:
			return "", fmt.Errorf("%s ended (%v) and never printed %q: %s", p.name, p.err, prefix, p.tail())
		case <-ctx.Done():
			return "", fmt.Errorf("%s has not printed %q: %w: %s", p.name, prefix, context.Cause(ctx), p.tail())
		}
	}
}

// kill ends the process as a power cut of its own would, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error says that it has ended
	<-p.done
}

// pause lets the process stand still for d.
func (p *process) pause(t *testing.T, d time.Duration) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return // it has ended
	}
	time.AfterFunc(d, func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }) // an error says that it was killed since
}

// stop asks the process to end, and returns what it ended with.
func (p *process) stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("%s does not stop: %w: %s", p.name, context.Cause(ctx), p.tail())
	}
}

// tail returns the end of the process's log.
func (p *process) tail() string {
	const most = 4 << 10
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-most):])
}

// services is one installation of the services: its addresses and data stay, its processes come and go.
type services struct {
	t                *testing.T
	logs, data       string
	router, registry string
	lease            time.Duration
	started          int
	history          *history.Writer // of its processes, nil for none
	*process
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
	s.process = launch(s.t, name, s.logs, cmd, nil)
}

// start is launch, and waits until the services listen.
func (s *services) start() {
	s.t.Helper()
	s.launch()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if _, err := s.await(ctx, listening); err != nil {
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

// freeAddr returns an address at which nobody listens. Its port is below those that connections get for themselves:
// otherwise one of the many attempts to reach a dead router would in the end take the router's own port.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(20_000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Fatal("no port is free")
	return ""
}

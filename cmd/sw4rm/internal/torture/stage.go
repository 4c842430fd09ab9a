package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/process"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/relay"
	"github.com/sw4rm/sw4rm-go/services/server"
)

// The processes, as histories and logs name them.
const (
	servicesName = "up"
	agentName    = "agent"
)

const (
	// patience is how long what should happen soon may take.
	patience = 30 * time.Second
	// farewell is how long a process may take to stop as asked.
	farewell = 20 * time.Second
)

// stage has the processes: their addresses and data stay while they come and go.
type stage struct {
	cfg              Config
	dir              string
	history          *recorder
	wire             *wire
	relay            *relay.Relay
	router, registry string

	services, agent               *process.Process
	servicesStarted, agentStarted int
	// launched is when the agent's process was started.
	launched int64
}

// newStage makes the directory and the relay; no process runs yet.
func newStage(ctx context.Context, cfg Config, r *recorder, w *wire) (_ *stage, err error) {
	s := &stage{cfg: cfg, history: r, wire: w}
	if s.dir, err = workDir(cfg.Data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && cfg.Data == "" {
			err = errors.Join(err, os.Remove(s.dir))
		}
	}()
	for _, addr := range []*string{&s.router, &s.registry} {
		if *addr, err = process.FreeAddr(); err != nil {
			return nil, err
		}
	}
	listen := cfg.Listen
	if listen == "" {
		if listen, err = process.FreeAddr(); err != nil {
			return nil, err
		}
	}
	l, err := server.Listen(ctx, "--listen", listen)
	if err != nil {
		return nil, err
	}
	s.relay, err = relay.Start(l, relay.Config{
		Upstream: s.router, Slow: cfg.Lease + cfg.Lease/2, Silent: 2*cfg.Lease + cfg.Lease/2, Observer: w, Gate: w,
		Happened: func(agent string, f relay.Fault) {
			r.add(history.Event{Actor: "network", Op: history.Fault, Kind: history.Info, To: agent, Note: f.String()})
		},
	})
	return s, err
}

// workDir makes the directory for logs and data. One that the user names must be empty.
func workDir(named string) (string, error) {
	if named == "" {
		return os.MkdirTemp("", "sw4rm-torture-")
	}
	err := os.MkdirAll(named, 0o700)
	var entries []os.DirEntry
	if err == nil {
		entries, err = os.ReadDir(named)
	}
	if err != nil {
		return "", &UsageError{fmt.Sprintf("--data %s cannot be used: %v", named, err), "name a directory that you may write"}
	}
	if len(entries) > 0 {
		return "", &UsageError{fmt.Sprintf("--data %s is not empty", named), "name a new directory; what an earlier run has left would be taken for this one's"}
	}
	return filepath.Abs(named)
}

// agentData is where agents find their data directories.
func (s *stage) agentData() string { return filepath.Join(s.dir, "agents") }

// startServices starts a process of the services and waits until it serves.
func (s *stage) startServices(ctx context.Context) error {
	s.servicesStarted++
	name := actor(servicesName, s.servicesStarted)
	cmd := exec.Command(s.cfg.Services, "up", "--router", s.router, "--registry", s.registry, "--data", filepath.Join(s.dir, servicesName))
	cmd.Env = append(os.Environ(), fmt.Sprintf("SW4RM_DELIVERY_LEASE_SECONDS=%g", s.cfg.Lease.Seconds()))
	s.history.add(history.Event{Actor: name, Op: history.Up, Kind: history.Info})
	p, err := process.Start(name, s.dir, cmd, nil)
	if err != nil {
		return fmt.Errorf("the router: %w", err)
	}
	s.services = p
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := p.Await(ctx, "registry listening on "); err != nil {
		return fmt.Errorf("the router: %w", err)
	}
	return nil
}

func actor(name string, n int) string { return fmt.Sprintf("%s.%d", name, n) }

// startAgent starts a process of the agent.
func (s *stage) startAgent() error {
	s.agentStarted++
	s.launched = history.Now()
	name := actor(agentName, s.agentStarted)
	cmd := exec.Command(s.cfg.Command[0], s.cfg.Command[1:]...)
	cmd.Env = append(append([]string{}, s.cfg.Environ...),
		"SW4RM_ROUTER_ADDR="+s.relay.Addr(), "SW4RM_REGISTRY_ADDR="+s.registry, "SW4RM_DATA_DIR="+s.agentData())
	s.history.add(history.Event{Actor: name, Op: history.Up, Kind: history.Info})
	p, err := process.StartForeign(name, s.dir, cmd)
	if err != nil {
		return &UsageError{err.Error(), "name a program that can be started"}
	}
	s.agent = p
	return nil
}

// awaitAgent waits until the agent's process is connected.
func (s *stage) awaitAgent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	watching, stop := context.WithCancel(ctx)
	ended := s.agent.Done()
	var watch sync.WaitGroup
	watch.Go(func() {
		defer stop()
		select {
		case <-ended:
		case <-watching.Done():
		}
	})
	defer watch.Wait()
	defer stop()
	connected := s.wire.await(watching, func() bool {
		for _, a := range s.wire.agents {
			if a.welcomed && a.since > s.launched {
				return true
			}
		}
		return false
	})
	select {
	case <-ended:
		return s.gone()
	default:
	}
	switch {
	case connected:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &AgentError{
			Problem: fmt.Sprintf("the agent has not connected to the router at %s within %v", s.relay.Addr(), s.cfg.StartTimeout),
			Fix:     "let it read SW4RM_ROUTER_ADDR, as agents do whose configuration names no address, or give it that address by --listen; a slow one needs --start-timeout",
			Log:     s.printed(),
		}
	default:
		return context.Cause(ctx)
	}
}

// gone is the error for an agent that has ended by itself.
func (s *stage) gone() error {
	ending := "exit status 0"
	if err := s.agent.Err(); err != nil {
		ending = err.Error()
	}
	return &AgentError{
		Problem: "the agent has ended by itself (" + ending + ")",
		Fix:     "try its command without torture; its whole output is in " + filepath.Join(s.dir, s.agent.Name()+".log"),
		Log:     s.printed(),
	}
}

// printed is the end of what the agent has printed, on one line.
func (s *stage) printed() string {
	const most = 600
	text := strings.Join(strings.Fields(s.agent.Tail()), " ")
	return text[max(0, len(text)-most):]
}

// kill ends a process at once and notes that.
func (s *stage) kill(p *process.Process) {
	p.Kill()
	s.history.add(history.Event{Actor: p.Name(), Op: history.Kill, Kind: history.Info})
	s.wire.proceed()
}

// stop ends a process as asked; one that does not end is killed. It is false then.
func (s *stage) stop(ctx context.Context, p *process.Process) bool {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	_ = p.Stop(ctx) // how it ends is its own matter
	select {
	case <-p.Done():
		s.history.add(history.Event{Actor: p.Name(), Op: history.Down, Kind: history.Info})
		return true
	default:
		s.kill(p)
		return false
	}
}

// close ends what still runs.
func (s *stage) close() error {
	for _, p := range []*process.Process{s.agent, s.services} {
		if p != nil {
			p.Kill()
		}
	}
	if s.relay == nil {
		return nil
	}
	return s.relay.Close()
}

// directories returns where the agents that have connected keep their data, without those that keep it elsewhere.
func (s *stage) directories() []string {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	var dirs []string
	for id := range s.wire.agents {
		dir := filepath.Join(s.agentData(), strings.ReplaceAll(id, ":", "%3A"))
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// copyData copies agents' data directories to a new directory. What is not theirs stays where it is.
func copyData(dirs []string, to string) error {
	for _, dir := range dirs {
		if err := copyDir(dir, filepath.Join(to, filepath.Base(dir))); err != nil {
			return fmt.Errorf("copy the agent's data: %w", err)
		}
	}
	return nil
}

// copyDir copies a directory that may still be written, as far as it has come.
func copyDir(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the engine removes files that it needs no more
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case d.Type().IsRegular():
			return copyFile(path, target)
		default:
			return nil
		}
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return errors.Join(err, in.Close())
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), in.Close())
}

// putBack replaces agents' data directories by copies, which it leaves as they are.
func putBack(dirs []string, from string) error {
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return copyData(children(from, dirs), filepath.Dir(dirs[0]))
}

func children(of string, dirs []string) []string {
	out := make([]string, len(dirs))
	for i, dir := range dirs {
		out[i] = filepath.Join(of, filepath.Base(dir))
	}
	return out
}

// quiet is the logger of the sender, whose log nobody reads.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

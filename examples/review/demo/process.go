package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// process is a running program. Its log goes to a file.
type process struct {
	name string
	cmd  *exec.Cmd
	// stdout gives the lines of standard output, and is closed at its end.
	stdout chan string
	// ended is closed when the process is gone; err is how.
	ended chan struct{}
	err   error
}

// start starts a program with the environment of the demo's agents. It is killed when ctx ends.
func (d *demo) start(ctx context.Context, env []string, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(d.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	p := &process{name: name, stdout: make(chan string), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, filepath.Join(d.bin, name), args...)
	p.cmd.Dir, p.cmd.Stderr = d.root, log
	p.cmd.Env = append(os.Environ(), append(env, "SW4RM_DATA_DIR="+filepath.Join(d.dir, "agents"))...)
	// An interrupt is for the demo, which ends its processes itself.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.watch(ctx, out)
	return p, nil
}

// watch reads standard output to its end, then waits for the process.
func (p *process) watch(ctx context.Context, out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		select {
		case p.stdout <- lines.Text():
		case <-ctx.Done():
		}
	}
	close(p.stdout)
	p.err = errors.Join(lines.Err(), p.cmd.Wait())
	close(p.ended)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends the process with SIGKILL, which it cannot notice, and waits until it is gone.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	p.drain()
	return nil
}

// stop asks the process to end, and waits until it has.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	p.drain()
	if p.err != nil {
		return fmt.Errorf("%s ended with: %w", p.name, p.err)
	}
	return nil
}

// drain waits for the end. Lines that nobody reads must not keep the process from it.
func (p *process) drain() {
	for range p.stdout { // to its end
	}
	<-p.ended
}

func (d *demo) log(name string) string { return filepath.Join(d.dir, name+".log") }

// tail returns the last lines of a process's log.
func (d *demo) tail(name string) string {
	b, err := os.ReadFile(d.log(name))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-8):], "\n  ")
}

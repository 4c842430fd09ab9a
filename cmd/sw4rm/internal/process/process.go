// Package process runs programs that are meant to be killed, paused and started again while somebody watches what they
// print.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Process is one run of a program. Its standard error goes to a file. Its methods may be called from any goroutine.
type Process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // of the program's end, once done is closed
	// group tells that the process leads a group of its own, which gets its signals.
	group bool

	mu    sync.Mutex
	lines []string
	moved chan struct{} // closed and replaced with every line
}

// Start starts cmd, whose standard error goes to name.log in the directory logs. heard, which may be nil, gets every line
// of its standard output. The caller sees to it that the process ends: Kill, Stop, or its own end closes Done.
func Start(name, logs string, cmd *exec.Cmd, heard func(line string)) (*Process, error) {
	p, log, err := prepare(name, logs, cmd)
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
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
	return p, nil
}

// StartForeign starts a program of which nothing is known: all that it prints goes to its log, and its children get every
// signal with it. Await finds nothing.
func StartForeign(name, logs string, cmd *exec.Cmd) (*Process, error) {
	p, log, err := prepare(name, logs, cmd)
	if err != nil {
		return nil, err
	}
	cmd.Stdout = log
	p.group = lead(cmd)
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
		p.endGroup()
		_ = log.Close()
	}()
	return p, nil
}

func prepare(name, logs string, cmd *exec.Cmd) (*Process, *os.File, error) {
	p := &Process{
		name: name, cmd: cmd, log: filepath.Join(logs, name+".log"), done: make(chan struct{}), moved: make(chan struct{}),
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, nil, fmt.Errorf("log of %s: %w", name, err)
	}
	cmd.Stderr = log
	return p, log, nil
}

func (p *Process) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	close(p.moved)
	p.moved = make(chan struct{})
}

// Name returns the name that Start was given.
func (p *Process) Name() string { return p.name }

// PID returns the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err waits for the process's end and returns what it ended with, as exec.Cmd.Wait does.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// ExitCode waits for the process's end and returns its exit code, -1 for one that a signal has ended.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Await returns what follows prefix in the first line of standard output that begins so.
func (p *Process) Await(ctx context.Context, prefix string) (string, error) {
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
			return "", fmt.Errorf("%s ended (%v) and never printed %q: %s", p.name, p.err, prefix, p.Tail())
		case <-ctx.Done():
			return "", fmt.Errorf("%s has not printed %q: %w: %s", p.name, prefix, context.Cause(ctx), p.Tail())
		}
	}
}

// Kill ends the process as a power cut of its own would, and waits for its end.
func (p *Process) Kill() {
	p.signal(killed)
	<-p.done
}

// Freeze lets the process stand still until Thaw.
func (p *Process) Freeze() { p.signal(frozen) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() { p.signal(thawed) }

// Pause lets the process stand still for d. It does not wait for that.
func (p *Process) Pause(d time.Duration) {
	p.Freeze()
	time.AfterFunc(d, p.Thaw)
}

// Stop asks the process to end, and returns what it ended with.
func (p *Process) Stop(ctx context.Context) error {
	p.signal(asked)
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("%s does not stop: %w: %s", p.name, context.Cause(ctx), p.Tail())
	}
}

// Tail returns the end of the process's log.
func (p *Process) Tail() string {
	const most = 4 << 10
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-most):])
}

// FreeAddr returns an address of this machine at which nobody listens. Its port is below those that connections get for
// themselves: otherwise one of the many attempts to reach a dead service would in the end take the service's own port.
func FreeAddr() (string, error) {
	var last error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(20_000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			last = err
			continue
		}
		return addr, l.Close()
	}
	return "", fmt.Errorf("no port is free: %w", last)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// goPackage is the option that managed mode makes superfluous.
var goPackage = regexp.MustCompile(`(?m)^option go_package = .*\n`)

// walk is READMEs once through, in a folder of its own.
type walk struct {
	dir     string
	vars    []string
	managed bool
	// printed is what the last run or fails block printed, started what goes on in the background.
	printed string
	started []*background
}

// follow does what the documents say one after the other, then builds and vets the module that has come of it.
func (e *environment) follow(ctx context.Context, name string, documents []document, managed bool) (err error) {
	w := &walk{dir: filepath.Join(e.tmp, name), managed: managed}
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		return err
	}
	addresses, err := freeAddresses(2)
	if err != nil {
		return err
	}
	w.vars = append(e.vars[:len(e.vars):len(e.vars)], "SW4RM_ROUTER_ADDR="+addresses[0], "SW4RM_REGISTRY_ADDR="+addresses[1])
	defer func() { err = errors.Join(err, w.stop(err != nil)) }()
	for _, d := range documents {
		began := time.Now()
		for _, b := range d.blocks {
			if err := w.do(ctx, b); err != nil {
				return fmt.Errorf("%s:%d (%s): %w", d.name, b.line, name, err)
			}
		}
		fmt.Printf("%s, %s: %d blocks in %.0f s\n", d.name, name, len(d.blocks), time.Since(began).Seconds())
	}
	if err := w.run(ctx, "go build ./... && go vet ./..."); err != nil {
		return fmt.Errorf("what the READMEs make (%s): %w", name, err)
	}
	return nil
}

func (w *walk) do(ctx context.Context, b block) error {
	switch b.kind {
	case "file":
		text := b.text
		if w.managed {
			text = goPackage.ReplaceAllString(text, "")
		}
		return w.write(b.path, text)
	case "managed":
		if w.managed {
			return w.write(b.path, b.text)
		}
		return nil
	case "run":
		return w.run(ctx, b.text)
	case "fails":
		var exit *exec.ExitError
		switch err := w.run(ctx, b.text); {
		case err == nil:
			return fmt.Errorf("%s: it did not fail, and printed %q", strings.TrimSpace(b.text), w.printed)
		case errors.As(err, &exit):
			return nil
		default:
			return err
		}
	case "start":
		return w.start(b.text)
	case "prints":
		return w.compare(b.text)
	default:
		return nil
	}
}

func (w *walk) write(path, text string) error {
	name := filepath.Join(w.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

func (w *walk) command(ctx context.Context, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = w.dir, w.vars
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

func (w *walk) run(ctx context.Context, script string) error {
	cmd := w.command(ctx, script)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	w.printed = out.String()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s%s", strings.TrimSpace(script), err, out.Bytes(), errs.Bytes())
	}
	return nil
}

func (w *walk) compare(want string) error {
	if strings.TrimSpace(w.printed) != strings.TrimSpace(want) {
		return fmt.Errorf("the command before printed %q, not %q", w.printed, want)
	}
	return nil
}

// background is a command that goes on.
type background struct {
	script string
	cmd    *exec.Cmd
	out    bytes.Buffer
}

func (w *walk) start(script string) error {
	b := &background{script: strings.TrimSpace(script)}
	b.cmd = w.command(context.Background(), script)
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	if err := b.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", b.script, err)
	}
	w.started = append(w.started, b)
	return nil
}

// stop interrupts what goes on in the background, as Ctrl-C would, the last first, and expects that it ends. What it
// printed is of use when something has failed.
func (w *walk) stop(failed bool) error {
	var errs []error
	for i := len(w.started) - 1; i >= 0; i-- {
		b := w.started[i]
		errs = append(errs, syscall.Kill(-b.cmd.Process.Pid, syscall.SIGINT))
		killer := time.AfterFunc(40*time.Second, func() {
			_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // it may have ended by now
		})
		err := b.cmd.Wait()
		if !killer.Stop() {
			errs = append(errs, fmt.Errorf("%s: it did not end when it was interrupted: %w", b.script, err))
		}
		if failed {
			errs = append(errs, fmt.Errorf("%s printed:\n%s", b.script, b.out.Bytes()))
		}
	}
	return errors.Join(errs...)
}

// freeAddresses returns addresses that nobody listens on.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

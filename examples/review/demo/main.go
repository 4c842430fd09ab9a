// Command demo has every Go file of this repository reviewed while the reviewer and the router are killed, and counts
// what became of each message. Run it from the repository's root with "make demo".
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	var d demo
	flag.BoolVar(&d.keep, "keep", false, "keep the data and the logs")
	flag.DurationVar(&d.timeout, "timeout", 2*time.Minute, "when to give up, counted from the start of the processes")
	flag.DurationVar(&d.work, "work", 6*time.Second, "how long the reviews take in all; the analyser alone would be done too soon")
	flag.Parse()
	d.out = os.Stdout
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one run.
type demo struct {
	keep          bool
	timeout, work time.Duration
	out           io.Writer
	// root is the repository, bin the programs, dir what this run writes.
	root, bin, dir string
	started        time.Time
}

func (d *demo) run(ctx context.Context) (err error) {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.build(ctx); err != nil {
		return err
	}
	defer func() { err = d.cleanUp(err) }()
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	run, err := d.play(ctx)
	if err != nil {
		return err
	}
	if err := d.report(run); err != nil {
		return err
	}
	return d.showGenerated(ctx)
}

// prepare finds the repository and makes the folders.
func (d *demo) prepare(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	module, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if module != "github.com/sw4rm/sw4rm-go" {
		return fmt.Errorf("this is module %s. Fix: run the demo in the repository of sw4rm-go", module)
	}
	d.root, d.bin = dir, filepath.Join(dir, ".tmp", "bin")
	if err := os.MkdirAll(d.bin, 0o755); err != nil {
		return err
	}
	d.dir, err = os.MkdirTemp("", "sw4rm-demo-")
	return err
}

// cleanUp removes what the run wrote, unless somebody may want to look at it.
func (d *demo) cleanUp(err error) error {
	if d.keep || err != nil {
		fmt.Fprintf(d.out, "\nData and logs are kept in %s\n", d.dir)
		return err
	}
	return os.RemoveAll(d.dir)
}

// say prints a step with the time since the processes were started.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%7.2f s  %s\n", time.Since(d.started).Seconds(), fmt.Sprintf(format, args...))
}

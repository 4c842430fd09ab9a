// Command client sends Go files to a reviewer and prints what comes back. It needs a router and a reviewer, but not at
// once: what it has sent is stored, and a client that is started again with the same files goes on where it was.
//
//	go run ./examples/review/client PATH…
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/source"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

type flags struct {
	id, to, title string
	timeout       time.Duration
	json, table   bool
}

func main() {
	var f flags
	flag.StringVar(&f.id, "id", "review-client", "the agent's id; it names the data directory too")
	flag.StringVar(&f.to, "to", "capability:code.review", "who reviews: agent:ID or capability:NAME")
	flag.StringVar(&f.title, "title", "working tree", "the pull request's title; the same file under another title is reviewed again")
	flag.DurationVar(&f.timeout, "timeout", 5*time.Minute, "how long to wait for the reviews")
	flag.BoolVar(&f.json, "json", false, "write a line of JSON for each result as it comes, and nothing else")
	flag.BoolVar(&f.table, "table", false, "print the timeline of each message too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, f, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, f flags, paths []string) (err error) {
	if len(paths) == 0 {
		return errors.New("no file is named. Fix: client PATH…, where a folder stands for the Go files below it")
	}
	to, err := address.Parse(f.to)
	if err != nil {
		return err
	}
	files, err := source.Files(paths...)
	if err != nil {
		return err
	}
	a, err := sw4rm.New(agent.Config{ID: f.id, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := a.Start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	b := &batch{agent: a, to: to, title: f.title, out: &textOutput{w: os.Stdout, table: f.table}}
	if f.json {
		b.out = &jsonOutput{w: os.Stdout}
	}
	return b.review(ctx, files)
}

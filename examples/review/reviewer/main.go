// Command reviewer is an agent that reviews Go source. It needs a router; sw4rm up runs one.
//
//	go run ./examples/review/reviewer
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/ledger"
	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

type flags struct {
	id, ledger        string
	handlers, inbound int
	pause             time.Duration
}

func main() {
	var f flags
	flag.StringVar(&f.id, "id", "reviewer-1", "the agent's id; it names the data directory too")
	flag.StringVar(&f.ledger, "ledger", "", "a file that gets a line for every run of the handler")
	flag.IntVar(&f.handlers, "handlers", 0, "how many files are reviewed at once (0: the runtime's default)")
	flag.IntVar(&f.inbound, "inbound", 0, "how many files may wait here; the others wait at the router (0: the runtime's default)")
	flag.DurationVar(&f.pause, "pause", 0, "how much longer each review takes than it needs")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if flag.NArg() > 0 {
		log.Error("the reviewer takes no arguments, only flags. Fix: see reviewer -help", "arguments", flag.Args())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, log, f); err != nil {
		log.Error("the reviewer has stopped", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, log *slog.Logger, f flags) (err error) {
	r := &reviewer{log: log, pause: f.pause}
	if f.ledger != "" {
		if r.ledger, err = ledger.Open(f.ledger); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.ledger.Close()) }()
	}
	a, err := sw4rm.New(agent.Config{
		ID: f.id, Description: "Reviews Go source.", Logger: log, MaxHandlers: f.handlers, MaxInbound: f.inbound,
	})
	if err != nil {
		return err
	}
	reviewv1.HandleReviewer(a, r)
	return a.Run(ctx)
}

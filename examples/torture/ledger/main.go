// Command ledger is an agent that books amounts in a file. With -careless it books an operation again when its handler runs
// again, which sw4rm torture finds:
//
//	go build -o /tmp/ledger ./examples/torture/ledger
//	go run ./cmd/sw4rm torture --schema examples/torture/proto --effects /tmp/book -- /tmp/ledger -book /tmp/book -careless
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	ledgerv1 "github.com/sw4rm/sw4rm-go/examples/torture/proto/acme/ledger/v1"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

func main() {
	name := flag.String("book", "book.txt", "the file with what was booked")
	careless := flag.Bool("careless", false, "book again what was booked, when a handler runs again")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *name, *careless); err != nil {
		slog.Error("the ledger has stopped", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, name string, careless bool) (err error) {
	b, err := openBook(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	a, err := sw4rm.New(agent.Config{ID: "ledger-1", Description: "Books amounts."})
	if err != nil {
		return err
	}
	ledgerv1.HandleLedger(a, &ledger{book: b, careless: careless})
	return a.Run(ctx)
}

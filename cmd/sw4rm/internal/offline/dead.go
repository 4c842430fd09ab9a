package offline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// Requeue lets dead letters of a services' directory wait again, and writes a line for each. One that cannot is an error; those
// before it are requeued all the same.
func Requeue(ctx context.Context, dir string, numbers []int64, w io.Writer) error {
	return onDead(ctx, dir, numbers, func(e *kv.Engine, n int64) error {
		next, err := e.Requeue(ctx, n, time.Now())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "dead letter %d waits again, as message %d\n", n, next)
		return err
	})
}

// DropDead removes dead letters of a services' directory for good, and writes a line for each.
func DropDead(ctx context.Context, dir string, numbers []int64, w io.Writer) error {
	return onDead(ctx, dir, numbers, func(e *kv.Engine, n int64) error {
		if err := e.DropDead(ctx, n); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "dead letter %d is removed\n", n)
		return err
	})
}

// onDead calls fn for each number, on the queue of a directory that nobody has open.
func onDead(ctx context.Context, dir string, numbers []int64, fn func(e *kv.Engine, n int64) error) error {
	err := read(dir, func(_ store.Reader, kind Kind) error {
		if kind != Services {
			return &WrongKindError{dir, kind, "name the directory of the services: only the router has dead letters"}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s, err := pebble.Open(dir, options())
	if err != nil {
		return err
	}
	e, err := kv.Open(ctx, store.Sub(s, router.StorePrefix), kv.Options{})
	for _, n := range numbers {
		if err == nil {
			err = fn(e, n)
		}
	}
	if errors.Is(err, kv.ErrNoDeadLetter) {
		err = fmt.Errorf("%w. Fix: see sw4rm buffer ls --failed %s", err, dir)
	}
	return errors.Join(err, s.Close())
}

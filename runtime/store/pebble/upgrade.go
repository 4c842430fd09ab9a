package pebble

import (
	"context"
	"errors"
	"fmt"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Format is the format of new directories, and the newest that is read.
const Format = format

// Step changes what is in a directory of one format into what the next one has. It may be run again on what it has
// changed, since a process may die in the middle.
type Step struct {
	From int
	Run  func(ctx context.Context, s store.Store) error
}

// Upgrade raises a directory by steps as far as they go, and returns the formats before and after. Where no step begins
// with the directory's format it is left as it is. Nothing else raises a directory's format. The errors are those of Open;
// after one the directory has the format of the last step that was finished.
func Upgrade(ctx context.Context, dir string, opts Options, steps []Step) (from, to int, err error) {
	d, f, err := lockExisting(dir, opts)
	if err != nil {
		return 0, 0, err
	}
	if err := d.lock.Close(); err != nil {
		return 0, 0, fmt.Errorf("unlocking %s: %w", dir, err)
	}
	from, to = f.version, f.version
	for _, s := range steps {
		if s.From != to {
			continue
		}
		if err := s.take(ctx, dir, opts); err != nil {
			return from, to, fmt.Errorf("upgrading %s from format %d: %w", dir, to, err)
		}
		to++
	}
	return from, to, nil
}

func (s Step) take(ctx context.Context, dir string, opts Options) (err error) {
	d, err := Open(dir, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := s.Run(ctx, d); err != nil {
		return err
	}
	// What the step wrote is durable before the format says so.
	if err := d.Sync(ctx, store.Mark(d.commit.applied.Load())); err != nil {
		return err
	}
	f, err := readFormat(d.guard.FS, d.dir)
	if err != nil {
		return err
	}
	f.version = s.From + 1
	return d.writeFormat(f)
}

package offline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// TargetError says that something cannot be made where it was asked for.
type TargetError struct {
	Path, Problem, Fix string
}

// Error implements error.
func (e *TargetError) Error() string { return fmt.Sprintf("%s: %s. Fix: %s", e.Path, e.Problem, e.Fix) }

// build makes the directory dir, which must be missing or empty: fn fills another one beside it, which then gets the name,
// so that dir is there as a whole or not at all.
func build(dir string, fn func(tmp string) error) (err error) {
	dir = filepath.Clean(dir)
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return &TargetError{dir, "it exists and is not empty", "name a directory that does not exist"}
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return &TargetError{dir, fmt.Sprintf("it cannot be used: %v", err), "name a directory that does not exist"}
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return &TargetError{parent, fmt.Sprintf("it cannot be made: %v", err), "name a directory that you can write"}
	}
	tmp, err := os.MkdirTemp(parent, filepath.Base(dir)+".unfinished-")
	if err != nil {
		return &TargetError{parent, fmt.Sprintf("nothing can be made in it: %v", err), "name a directory that you can write"}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := fn(tmp); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) { // it was empty
		return fmt.Errorf("replacing the empty directory %s: %w", dir, err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("naming what was made: %w", err)
	}
	return syncDir(parent)
}

// syncDir makes names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

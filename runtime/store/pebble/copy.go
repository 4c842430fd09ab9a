package pebble

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Copy calls fn for every file of a directory, in order of names, for a backup. The directory is locked meanwhile, so that
// the files belong together, and was read from end to end before: of a damaged one the first *store.DamagedError is
// returned. It changes nothing. The errors are those of OpenReader, and fn's.
func Copy(dir string, opts Options, fn func(name string, size int64, content io.Reader) error) (store.Instance, error) {
	d, f, err := lockExisting(dir, opts)
	if err != nil {
		return store.Instance{}, err
	}
	var damages []error
	i := inspector{
		DB: d, opts: opts, format: f, seen: map[string]bool{},
		report: func(damage *store.DamagedError) { damages = append(damages, damage) },
	}
	if err = i.run(); err == nil && len(damages) > 0 {
		err = damages[0]
	}
	if err == nil {
		err = d.copyFiles(fn)
	}
	return i.Inspection.Instance, errors.Join(err, d.lock.Close())
}

func (d *DB) copyFiles(fn func(name string, size int64, content io.Reader) error) error {
	names, err := d.guard.FS.List(d.dir)
	if err != nil {
		return fmt.Errorf("listing data directory %s: %w", d.dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "LOCK" || strings.HasSuffix(name, ".tmp") {
			continue
		}
		if err := d.copyFile(name, fn); err != nil {
			return fmt.Errorf("copying %s: %w", d.guard.PathJoin(d.dir, name), err)
		}
	}
	return nil
}

func (d *DB) copyFile(name string, fn func(name string, size int64, content io.Reader) error) error {
	file, err := d.guard.FS.Open(d.guard.PathJoin(d.dir, name))
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = errors.New("it is a directory, which no data directory has in it")
	}
	if err == nil {
		err = fn(name, info.Size(), file)
	}
	return errors.Join(err, file.Close())
}

// Adopt makes a copy of a directory fit to be opened in place of the one that it is a copy of. The next opening gets the
// epoch of the last one before the copy was made: when the copied directory was opened since, that has a higher epoch, and
// whoever knows it refuses the copy. With fresh the copy becomes a store of its own, with a new ID and epoch 1 at the next
// opening.
//
// It returns the instance that the next opening will be. A copy in which Adopt was interrupted may not open any more.
func Adopt(dir string, opts Options, fresh bool) (next store.Instance, err error) {
	d, err := Open(dir, opts)
	if err != nil {
		return next, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	next = store.Instance{ID: d.instance.ID, Epoch: d.instance.Epoch - 1} // this opening does not count
	if fresh {
		var id [16]byte
		rand.Read(id[:]) // never fails: crypto/rand ends the program instead
		next = store.Instance{ID: hex.EncodeToString(id[:]), Epoch: 1}
	}
	batch := d.engine.NewBatch()
	set(batch, metaSpace, []byte(idKey[1:]), []byte(next.ID))
	set(batch, metaSpace, []byte(epochKey[1:]), number(next.Epoch-1))
	if err := d.guarded(func() error { return d.engine.Apply(batch, pebble.Sync) }); err != nil {
		return next, fmt.Errorf("writing the instance of %s: %w", dir, err)
	}
	if !fresh {
		return next, nil
	}
	f, err := readFormat(d.guard.FS, d.dir)
	if err != nil {
		return next, err
	}
	f.id = next.ID
	return next, d.writeFormat(f)
}

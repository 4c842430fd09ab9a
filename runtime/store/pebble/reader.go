package pebble

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Reader is a directory that is open for reading only: nothing in it changes, its epoch neither. Its methods may be
// called from any goroutine until Close.
type Reader struct{ db *DB }

var _ store.Reader = (*Reader)(nil)

// OpenReader opens a directory for reading, and locks it against everybody else until Close. It detects damage as Open
// does and has the same errors; a directory that is missing or was never opened is a *store.PermissionError. The epoch of
// Instance is that of the last opening.
func OpenReader(dir string, opts Options) (*Reader, error) {
	d, f, err := lockExisting(dir, opts)
	if err != nil {
		return nil, err
	}
	if err := d.openReader(opts, f); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return &Reader{d}, nil
}

// lockExisting locks a directory that must be there, and reads whose it is. Nothing else of it is looked at.
func lockExisting(dir string, opts Options) (*DB, formatFile, error) {
	fs := optsFS(opts)
	info, err := fs.Stat(dir)
	switch {
	case isNotExist(err):
		return nil, formatFile{}, noDirectory(dir, "it does not exist")
	case err != nil:
		return nil, formatFile{}, fmt.Errorf("looking at data directory: %w", err)
	case !info.IsDir():
		return nil, formatFile{}, noDirectory(dir, "it is no directory")
	}
	f, err := readFormat(fs, dir)
	switch {
	case isNotExist(err):
		return nil, f, noDirectory(dir, fmt.Sprintf("it holds no %s, so it is no data directory", formatName))
	case err != nil:
		return nil, f, err
	case f.state != stateReady:
		return nil, f, noDirectory(dir, "it was never opened to the end, so nothing is in it")
	}
	d, err := lockAny(dir, opts)
	return d, f, err
}

// lockAny locks a directory.
func lockAny(dir string, opts Options) (*DB, error) {
	fs := optsFS(opts)
	lock, err := lockDir(fs, dir)
	if err != nil {
		return nil, err
	}
	return &DB{
		dir:    dir,
		log:    opts.logger(),
		lock:   lock,
		guard:  &guard{FS: fs, private: opts.FS == nil, memory: vfs.NewMem()},
		failed: make(chan struct{}),
	}, nil
}

func optsFS(opts Options) vfs.FS {
	if opts.FS != nil {
		return opts.FS
	}
	return vfs.Default
}

func noDirectory(dir, problem string) error {
	return &store.PermissionError{
		Dir: dir, Problem: problem,
		Fix: "name the data directory of an agent, such as ./sw4rm-data/ID, or of the services, such as ./sw4rm-data/_up",
	}
}

func (d *DB) openReader(opts Options, f formatFile) (err error) {
	if d.ledger, err = readLedger(d.guard.FS, d.dir); err != nil {
		return err
	}
	if err := d.check(); err != nil {
		return err
	}
	return d.attachReader(opts, f)
}

// attachReader opens the engine without changing anything, and reads the counters.
func (d *DB) attachReader(opts Options, f formatFile) (err error) {
	defer func() { err = recovered(recover(), d.dir, err) }()
	if d.engine, err = d.readOnly(opts, d.fail); err != nil {
		return err
	}
	last, err := d.counters(d.engine, f)
	if err == nil {
		err = d.Err()
	}
	if err != nil {
		return errors.Join(err, d.engine.Close())
	}
	d.instance = store.Instance{ID: f.id, Epoch: last.epoch}
	return nil
}

// readOnly opens Pebble without changing anything.
func (d *DB) readOnly(opts Options, fail func(error)) (*pebble.DB, error) {
	engine := opts.engine(d.guard.FS, d.lock, engineEvents{log: d.log, fail: fail})
	engine.ReadOnly = true
	engine.DisableTableStats = true
	db, err := pebble.Open(d.dir, engine)
	if err != nil {
		return nil, d.openError(err)
	}
	return db, nil
}

// Get implements store.Reader.
func (r *Reader) Get(key []byte) ([]byte, error) { return r.db.Get(key) }

// Scan implements store.Reader.
func (r *Reader) Scan(start, end []byte, fn func(key, value []byte) error) error {
	return r.db.Scan(start, end, fn)
}

// ScanReverse implements store.Reader.
func (r *Reader) ScanReverse(start, end []byte, fn func(key, value []byte) error) error {
	return r.db.ScanReverse(start, end, fn)
}

// Instance implements store.Reader.
func (r *Reader) Instance() store.Instance { return r.db.instance }

// Close gives the directory free. Closing twice is no error.
func (r *Reader) Close() error {
	d := r.db
	d.use.Lock()
	closed := d.closed
	d.closed = true
	d.use.Unlock()
	if closed {
		return nil
	}
	if err := errors.Join(d.engine.Close(), d.lock.Close()); err != nil {
		return fmt.Errorf("closing %s: %w", d.dir, err)
	}
	return nil
}

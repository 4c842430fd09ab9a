package pebble

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Open opens the directory dir, and makes it when it is missing or empty. It becomes the caller's until Close.
//
// The errors are *store.InUseError when it is open already, in this process or another; *store.VersionError when a
// newer version wrote it; *store.PermissionError when it cannot be used as it is; *store.DamagedError when what is
// there is not what was written. In all four cases the directory's content stays as it is, but that damage inside a
// table may be met only once the engine is at work: then the damaged table stays, and everything that is not in it.
//
// A damaged place that opening does not read is met when it is read. The store then fails, as it does after a failed
// write, and its failure is a *store.DamagedError too. Errors of the disk while reading make it fail as well.
//
// A new directory gets mode 0700 and its files 0600; an existing one that others may read is restricted to that, and
// one that others may write to is refused.
//
// # What is detected
//
// Each record carries a checksum over key and value, checked by Get and Scan. Pebble's tables carry checksums of their
// own, checked when they are read. Of logs and manifests, which Pebble reads up to the first place that does not make
// sense, a note of length and checksum of what was synced is kept beside them and compared here: after Close, and after
// a process was killed, every change of a synced byte and every missing file is detected. After a power cut the note
// may be older than what was last synced. Then damage is still detected where later parts prove that what is in front
// of them was synced; damage in the last synced group of writes of all, if it happens together with the power cut,
// cannot be told from a torn end, and that group is lost without an error. A note that is missing or damaged counts as an
// old one that claims nothing. The note and the files being replaced together by an older copy, and changes made on
// purpose, are not detected.
func Open(dir string, opts Options) (*DB, error) {
	fs := opts.FS
	if fs == nil {
		prepared, err := prepareDir(dir)
		if err != nil {
			return nil, err
		}
		dir, fs = prepared, vfs.Default
	} else if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating data directory %s: %w", dir, err)
	}
	// The first look comes before the lock, which creates a file.
	if _, err := look(fs, dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(fs, dir)
	if err != nil {
		return nil, err
	}
	d := &DB{
		dir:    dir,
		log:    opts.logger(),
		lock:   lock,
		guard:  &guard{FS: fs, private: opts.FS == nil, memory: vfs.NewMem()},
		failed: make(chan struct{}),

		minFree: opts.minFree(),
		room:    room{began: time.Now()},
	}
	d.room.free.Store(^uint64(0)) // until the first look
	err = d.guard.memory.MkdirAll(dir, 0o700)
	if err == nil && d.guard.private {
		err = os.Chmod(fs.PathJoin(dir, "LOCK"), 0o600)
	}
	if err == nil {
		err = d.open(opts)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	d.serving = true
	return d, nil
}

func lockDir(fs vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fs)
	if err == nil {
		return lock, nil
	}
	var path *os.PathError
	var errno syscall.Errno
	held := strings.Contains(err.Error(), "lock held by current process") // the only trace of it
	if !errors.As(err, &path) && errors.As(err, &errno) && (errno == syscall.EAGAIN || errno == syscall.EACCES) || held {
		return nil, &store.InUseError{Dir: dir}
	}
	return nil, fmt.Errorf("locking data directory %s: %w. Fix: use a directory that you can write", dir, err)
}

// look returns what the format file says; the zero formatFile when the directory is empty.
func look(fs vfs.FS, dir string) (formatFile, error) {
	f, err := readFormat(fs, dir)
	if !isNotExist(err) {
		return f, err
	}
	names, err := fs.List(dir)
	if err != nil {
		return f, fmt.Errorf("listing data directory %s: %w", dir, err)
	}
	for _, name := range names {
		if name != "LOCK" && name != formatName+".tmp" {
			return f, &store.PermissionError{
				Dir:     dir,
				Problem: fmt.Sprintf("it holds %q and no %s, so it belongs to something else", name, formatName),
				Fix:     "use an empty directory, or restore the missing file from a backup",
			}
		}
	}
	return f, nil
}

// open opens a locked directory.
func (d *DB) open(opts Options) error {
	f, err := look(d.guard.FS, d.dir)
	if err != nil {
		return err
	}
	fresh := f.state != stateReady
	if fresh {
		if f, err = d.begin(); err != nil {
			return err
		}
	}
	if d.ledger, err = readLedger(d.guard.FS, d.dir); err != nil {
		return err
	}
	if err := d.check(); err != nil {
		return err
	}
	var last counters
	if !fresh {
		if last, err = d.probe(opts, f); err != nil {
			return err
		}
	}
	if err := d.ledger.open(d.guard.private); err != nil {
		return err
	}
	d.guard.synced = d.ledger
	if err := d.openEngine(opts, f, last); err != nil {
		return errors.Join(err, d.ledger.close())
	}
	return nil
}

// counters are what each opening and each group of writes raises.
type counters struct{ epoch, group uint64 }

// begin makes a directory ours, with nothing in it.
func (d *DB) begin() (f formatFile, err error) {
	var id [16]byte
	rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	f = formatFile{version: format, state: stateMaking, id: hex.EncodeToString(id[:])}
	names, err := d.guard.FS.List(d.dir)
	if err != nil {
		return f, fmt.Errorf("listing data directory %s: %w", d.dir, err)
	}
	for _, name := range names {
		if name == "LOCK" || name == formatName {
			continue
		}
		if err := d.guard.FS.Remove(d.guard.PathJoin(d.dir, name)); err != nil {
			return f, fmt.Errorf("removing what an interrupted first opening left in %s: %w", d.dir, err)
		}
	}
	return f, d.writeFormat(f)
}

func (d *DB) writeFormat(f formatFile) error {
	if err := writeFormat(d.guard, d.dir, f); err != nil {
		return err
	}
	return d.guard.err() // the guard may have kept it from the caller
}

// check looks for damage that Pebble would take for an end.
func (d *DB) check() error {
	if err := d.ledger.verify(d.dir); err != nil {
		return err
	}
	names, err := d.guard.FS.List(d.dir)
	if err != nil {
		return fmt.Errorf("listing data directory %s: %w", d.dir, err)
	}
	var last string
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST-") {
			if err := checkManifest(d.guard.FS, d.guard.PathJoin(d.dir, name)); err != nil {
				return err
			}
		}
		if isLog(name) && (len(name) > len(last) || len(name) == len(last) && name > last) {
			last = name
		}
	}
	if last == "" {
		return nil
	}
	return checkLog(d.guard.FS, d.guard.PathJoin(d.dir, last))
}

// probe opens Pebble without changing anything, and reads the counters: what does not open, or is another database,
// stays as it is.
func (d *DB) probe(opts Options, f formatFile) (last counters, err error) {
	var failure error
	defer func() { err = recovered(recover(), d.dir, err) }()
	db, err := d.readOnly(opts, func(err error) { failure = err })
	if err != nil {
		return last, err
	}
	last, err = d.counters(db, f)
	if closing := db.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = failure
	}
	return last, err
}

// recovered is err, or what Pebble panicked with while dir was opened.
func recovered(panicked any, dir string, err error) error {
	if panicked != nil {
		return fmt.Errorf("opening data directory %s: %v", dir, panicked)
	}
	return err
}

// openEngine opens Pebble and makes the new epoch durable.
func (d *DB) openEngine(opts Options, f formatFile, last counters) (err error) {
	d.guard.watch(d.fail)
	engine := opts.engine(d.guard, d.lock, engineEvents{log: d.log, fail: d.fail})
	fresh := f.state == stateMaking
	engine.ErrorIfExists, engine.ErrorIfNotExists = fresh, !fresh
	defer func() { err = recovered(recover(), d.dir, err) }()
	d.engine, err = pebble.Open(d.dir, engine)
	if err != nil {
		return d.openError(err)
	}
	if err = d.Err(); err == nil {
		err = d.enroll(f, last)
	}
	if err == nil {
		return nil
	}
	if closing := d.engine.Close(); closing != nil {
		d.log.Debug("closing a store that did not open", "error", closing)
	}
	return err
}

// openError says what an error of Pebble's opening means. Beside errors of the operating system and our own there is
// only damage: the options are fixed.
func (d *DB) openError(err error) error {
	if failure := d.guard.err(); failure != nil {
		err = failure
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && !isNotExist(err) {
		return fmt.Errorf("opening data directory %s: %w", d.dir, err)
	}
	if found := asDamaged(d.dir, err); found != err {
		return found
	}
	return damaged(d.dir, -1, err)
}

// enroll raises the counters and starts the committer.
func (d *DB) enroll(f formatFile, last counters) error {
	now := counters{epoch: last.epoch + 1, group: last.group + 1}
	batch := d.engine.NewBatch()
	set(batch, metaSpace, []byte(idKey[1:]), []byte(f.id))
	set(batch, metaSpace, []byte(epochKey[1:]), number(now.epoch))
	set(batch, metaSpace, []byte(groupKey[1:]), number(now.group))
	err := d.guarded(func() error { return d.engine.Apply(batch, pebble.Sync) })
	if err != nil {
		return fmt.Errorf("raising the epoch of %s: %w", d.dir, err)
	}
	if f.state != stateReady {
		if err := d.writeFormat(formatFile{version: f.version, state: stateReady, id: f.id}); err != nil {
			return err
		}
	}
	d.instance = store.Instance{ID: f.id, Epoch: now.epoch}
	d.commit.start(d, now.group)
	return batch.Close()
}

// counters reads the last counters, and checks that the database is the directory's.
func (d *DB) counters(db *pebble.DB, f formatFile) (last counters, err error) {
	id, err := d.get(db, []byte(idKey))
	if errors.Is(err, store.ErrNotFound) || err == nil && string(id) != f.id {
		return last, damaged(d.dir, -1, errors.New("the database is not the one that the format file names"))
	}
	if err != nil {
		return last, err
	}
	if last.epoch, err = d.counter(db, epochKey); err != nil {
		return last, err
	}
	last.group, err = d.counter(db, groupKey)
	return last, err
}

func (d *DB) counter(db *pebble.DB, key string) (uint64, error) {
	value, err := d.get(db, []byte(key))
	if errors.Is(err, store.ErrNotFound) || err == nil && len(value) != 8 {
		return 0, damaged(d.dir, -1, fmt.Errorf("the record %q is missing or has no number", key[1:]))
	}
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(value), nil
}

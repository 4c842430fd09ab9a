package pebble

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Inspection is what Inspect has read.
type Inspection struct {
	// Format is the directory's, Instance that of its last opening; both are zero where damage hides them.
	Format   int
	Instance store.Instance
	// Files, Bytes and Records count what was read.
	Files   int
	Bytes   int64
	Records int
}

// Inspect reads everything that counts in a directory, and reports each damage with file and offset or key. It changes
// nothing. Where nothing is reported, all that Open detects and everything that it would meet only later is as it was
// written. The error says why not everything could be looked at: *store.InUseError, *store.VersionError,
// *store.PermissionError, or one of the file system.
func Inspect(dir string, opts Options, report func(*store.DamagedError)) (Inspection, error) {
	d, f, err := lockExisting(dir, opts)
	if err != nil {
		var damage *store.DamagedError
		if errors.As(err, &damage) {
			report(damage)
			err = nil
		}
		return Inspection{}, err
	}
	i := inspector{DB: d, opts: opts, format: f, report: report, seen: map[string]bool{}}
	i.Inspection.Format = f.version
	err = i.run()
	return i.Inspection, errors.Join(err, d.lock.Close())
}

type inspector struct {
	*DB
	Inspection
	opts   Options
	format formatFile
	report func(*store.DamagedError)
	seen   map[string]bool
}

// found reports damage, once for each place. Other errors are returned.
func (i *inspector) found(err error) error {
	var damage *store.DamagedError
	if !errors.As(err, &damage) {
		return err
	}
	if place := fmt.Sprintf("%s %d %q", damage.File, damage.Offset, damage.Key); !i.seen[place] {
		i.seen[place] = true
		i.report(damage)
	}
	return nil
}

func (i *inspector) run() (err error) {
	if i.ledger, err = readLedger(i.guard.FS, i.dir); err != nil {
		return err
	}
	for _, e := range i.ledger.entries {
		if err := i.found(e.verify(i.guard.FS, i.dir)); err != nil {
			return err
		}
	}
	if err := i.found(i.check()); err != nil {
		return err
	}
	live, err := i.live(i.opts)
	if err := i.found(err); err != nil {
		return err
	}
	if err := i.count(); err != nil {
		return err
	}
	for _, name := range live.tables {
		if err := i.table(name); err != nil {
			return err
		}
	}
	if len(i.seen) > 0 {
		return nil // the engine would stop at the first of it
	}
	if err := i.attachReader(i.opts, i.format); err != nil {
		return i.found(err)
	}
	i.Inspection.Instance = i.instance
	return errors.Join(i.records(), i.engine.Close())
}

func (i *inspector) count() error {
	names, err := i.guard.FS.List(i.dir)
	if err != nil {
		return fmt.Errorf("listing data directory %s: %w", i.dir, err)
	}
	for _, name := range names {
		if info, err := i.guard.FS.Stat(i.guard.PathJoin(i.dir, name)); err == nil {
			i.Files++
			i.Bytes += info.Size()
		}
	}
	return nil
}

// table checks every block of a table.
func (i *inspector) table(name string) error {
	path := i.guard.PathJoin(i.dir, name)
	t, err := openTable(i.guard.FS, path)
	if isNotExist(err) {
		return i.found(damaged(path, -1, errMissing))
	}
	if err != nil {
		return err
	}
	if t.wrong != nil {
		return i.found(damaged(path, -1, fmt.Errorf("it does not tell where its blocks are: %w", t.wrong)))
	}
	for _, s := range append(t.data, t.others...) {
		if _, err := t.read(s); err != nil {
			if err := i.found(damaged(path, int64(s.offset), err)); err != nil {
				return err
			}
		}
	}
	return nil
}

// records checks every record, of both spaces.
func (i *inspector) records() (err error) {
	iter, err := i.engine.NewIter(nil)
	if err != nil {
		return i.found(asDamaged(i.dir, err))
	}
	defer func() { err = errors.Join(err, i.found(asDamaged(i.dir, iter.Close()))) }()
	for ok := iter.First(); ok; ok = iter.Next() {
		i.Records++
		frame, err := iter.ValueAndErr()
		if err != nil {
			return i.found(asDamaged(i.dir, err))
		}
		if _, err := i.payload(iter.Key(), frame); err != nil {
			if err := i.found(err); err != nil {
				return err
			}
		}
	}
	return i.found(asDamaged(i.dir, iter.Error()))
}

// files are those of a directory that count.
type files struct{ tables, logs []string }

// live asks Pebble which tables and logs are in use, without reading them. When that cannot be known, these are all that
// are there, and err says why.
func (d *DB) live(opts Options) (f files, err error) {
	watch := &watchedLogs{FS: d.guard.FS}
	tables, err := d.liveTables(opts, watch)
	if err == nil {
		return files{tables, watch.opened}, nil
	}
	names, listing := d.guard.FS.List(d.dir)
	if listing != nil {
		return f, fmt.Errorf("listing data directory %s: %w", d.dir, listing)
	}
	return filesOf(names), err
}

// filesOf picks tables and logs out of a directory.
func filesOf(names []string) (f files) {
	for _, name := range names {
		switch {
		case isLog(name):
			f.logs = append(f.logs, name)
		case strings.HasSuffix(name, ".sst"):
			f.tables = append(f.tables, name)
		}
	}
	return f
}

func (d *DB) liveTables(opts Options, fs vfs.FS) (names []string, err error) {
	defer func() { err = recovered(recover(), d.dir, err) }()
	var failure error
	engine := opts.engine(fs, d.lock, engineEvents{log: d.log, fail: func(err error) { failure = err }})
	engine.ReadOnly, engine.DisableTableStats = true, true
	db, err := pebble.Open(d.dir, engine)
	if err != nil {
		return nil, d.openError(err)
	}
	levels, err := db.SSTables()
	for _, level := range levels {
		for _, t := range level {
			names = append(names, fmt.Sprintf("%s.sst", t.BackingSSTNum))
		}
	}
	return names, errors.Join(err, db.Close(), failure)
}

// watchedLogs notes which logs are opened, and shows them empty.
type watchedLogs struct {
	vfs.FS
	opened []string
}

// Open implements vfs.FS.
func (w *watchedLogs) Open(path string, opts ...vfs.OpenOption) (vfs.File, error) {
	name := w.PathBase(path)
	if !isLog(name) {
		return w.FS.Open(path, opts...)
	}
	f, err := w.FS.Open(path, opts...)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	w.opened = append(w.opened, name)
	return vfs.NewMemFile(nil), nil
}

package pebble

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errFrozen answers writing to a table that was being written when the store failed.
var errFrozen = errors.New("nothing is written any more after a failed write")

// guard stands between Pebble and the file system, and stops the store at the first write or sync that fails. It is for
// Pebble alone: the store itself reads the file system below it.
//
// Left alone, Pebble panics in goroutines of its own when its log, its manifest or a directory cannot be synced, and it
// repeats failed flushes for ever. So after the first failure guard lets nothing reach the disk: its content stays what
// a crash at that moment would have left. Pebble goes on with files in memory until it is closed. Nobody hears of what
// it believes to have written, since the failure is known to the store before anything is kept from the disk.
type guard struct {
	vfs.FS
	private bool // whether new files get mode 0600
	synced  *ledger
	memory  *vfs.MemFS // what Pebble writes after the failure
	frozen  atomic.Bool
	once    sync.Once
	first   atomic.Pointer[error]
	onFail  atomic.Pointer[func(error)]
}

// failed records the error of a change, and freezes the file system at the first. It returns when both are done, also
// to those who come second: an error may be kept from Pebble only once the store knows that it has failed.
func (g *guard) failed(doing, name string, err error) error {
	err = fmt.Errorf("%s %s: %w", doing, name, err)
	g.once.Do(func() {
		g.first.Store(&err)
		if report := g.onFail.Load(); report != nil {
			(*report)(err)
		}
		g.frozen.Store(true)
	})
	return err
}

// err returns the first failure.
func (g *guard) err() error {
	if err := g.first.Load(); err != nil {
		return *err
	}
	return nil
}

// watch sets who is told of the first failure. The caller then looks at err for an earlier one.
func (g *guard) watch(report func(error)) { g.onFail.Store(&report) }

// mayFail tells the files whose errors Pebble takes as errors: tables, which it then writes anew. Of the others' it
// panics, or gives up opening with its goroutines still at work.
func mayFail(name string) bool { return strings.HasSuffix(name, ".sst") }

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// isMarker tells the files whose names say which file is in force. Pebble syncs their directory after it has made one.
func isMarker(name string) bool { return strings.HasPrefix(name, "marker.") }

// isTracked tells the files that are only ever appended to and whose loss Pebble may take for their end.
func isTracked(name string) bool { return isLog(name) || strings.HasPrefix(name, "MANIFEST-") }

func (g *guard) opened(doing, path string, open func(fs vfs.FS) (vfs.File, error)) (vfs.File, error) {
	if g.frozen.Load() {
		return open(g.memory)
	}
	f, err := open(g.FS)
	if err == nil && g.private {
		if err = os.Chmod(path, 0o600); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		_ = g.failed(doing, path, err)
		return open(g.memory)
	}
	name := g.PathBase(path)
	file := &guardedFile{File: f, guard: g, path: path, swallow: !mayFail(name)}
	if isTracked(name) {
		file.track = g.synced.track(name)
	}
	return file, nil
}

// Create implements vfs.FS.
func (g *guard) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.opened("creating", path, func(fs vfs.FS) (vfs.File, error) {
		if err := g.forget(path); err != nil {
			return nil, err
		}
		if isMarker(g.PathBase(path)) {
			// A power cut may keep the marker and lose the file that it names, unless that one is in the directory for sure.
			if err := syncDir(fs, g.PathDir(path)); err != nil {
				return nil, err
			}
		}
		return fs.Create(path, c)
	})
}

// OpenReadWrite implements vfs.FS.
func (g *guard) OpenReadWrite(path string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.opened("opening", path, func(fs vfs.FS) (vfs.File, error) { return fs.OpenReadWrite(path, c, o...) })
}

// ReuseForWrite implements vfs.FS.
func (g *guard) ReuseForWrite(old, path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.opened("reusing "+g.PathBase(old)+" for", path, func(fs vfs.FS) (vfs.File, error) {
		if fs == vfs.FS(g.memory) {
			return fs.Create(path, c)
		}
		if err := g.forget(old); err != nil {
			return nil, err
		}
		return fs.ReuseForWrite(old, path, c)
	})
}

// Open implements vfs.FS.
func (g *guard) Open(path string, o ...vfs.OpenOption) (vfs.File, error) {
	if g.frozen.Load() {
		if f, err := g.memory.Open(path, o...); err == nil {
			return f, nil
		}
	}
	return g.FS.Open(path, o...)
}

// Stat implements vfs.FS.
func (g *guard) Stat(path string) (vfs.FileInfo, error) {
	if g.frozen.Load() {
		if info, err := g.memory.Stat(path); err == nil {
			return info, nil
		}
	}
	return g.FS.Stat(path)
}

// Remove implements vfs.FS. A file that cannot be removed is no failed write: Pebble tries again later.
func (g *guard) Remove(path string) error {
	if !g.frozen.Load() {
		err := g.forget(path)
		if err == nil {
			return g.FS.Remove(path)
		}
		_ = g.failed("removing", path, err)
	}
	_ = g.memory.Remove(path) // a file on the disk stays
	return nil
}

// forget makes durable that nothing is expected of a file, before it goes or is made anew.
func (g *guard) forget(path string) error {
	if name := g.PathBase(path); isTracked(name) {
		return g.synced.forget(name)
	}
	return nil
}

// changed changes the disk, or the memory once the store has failed.
func (g *guard) changed(doing, path string, change func(fs vfs.FS) error) error {
	if !g.frozen.Load() {
		err := change(g.FS)
		if err == nil {
			return nil
		}
		_ = g.failed(doing, path, err)
	}
	_ = change(g.memory) // fails for what is on the disk and stays
	return nil
}

// RemoveAll implements vfs.FS.
func (g *guard) RemoveAll(path string) error {
	return g.changed("removing", path, func(fs vfs.FS) error { return fs.RemoveAll(path) })
}

// Rename implements vfs.FS.
func (g *guard) Rename(old, path string) error {
	return g.changed("renaming "+g.PathBase(old)+" to", path, func(fs vfs.FS) error { return fs.Rename(old, path) })
}

// Link implements vfs.FS.
func (g *guard) Link(old, path string) error {
	return g.changed("linking "+g.PathBase(old)+" as", path, func(fs vfs.FS) error { return fs.Link(old, path) })
}

// MkdirAll implements vfs.FS.
func (g *guard) MkdirAll(path string, mode os.FileMode) error {
	return g.changed("creating directory", path, func(fs vfs.FS) error { return fs.MkdirAll(path, mode) })
}

// List implements vfs.FS. Of an error Pebble gives up opening, with its goroutines still at work; with nothing in the
// list it looks for nothing to remove.
func (g *guard) List(path string) ([]string, error) {
	names, err := g.FS.List(path)
	if err != nil {
		_ = g.failed("listing", path, err)
		return nil, nil
	}
	return names, nil
}

// OpenDir implements vfs.FS.
func (g *guard) OpenDir(path string) (vfs.File, error) {
	f, err := g.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &guardedFile{File: f, guard: g, path: path, swallow: true}, nil
}

// GetDiskUsage implements vfs.FS. Pebble takes an error for a failure of the disk, and does without when unsupported.
func (g *guard) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	usage, err := g.FS.GetDiskUsage(path)
	if err != nil {
		return vfs.DiskUsage{}, vfs.ErrUnsupported
	}
	return usage, nil
}

// Unwrap implements vfs.FS.
func (g *guard) Unwrap() vfs.FS { return g.FS }

// guardedFile is a file, or directory, open for writing.
type guardedFile struct {
	vfs.File
	guard   *guard
	path    string
	swallow bool // whether Pebble must not see errors of writing
	track   *track
}

func (f *guardedFile) changed(doing string, change func() error) error {
	if f.guard.frozen.Load() {
		return f.answer(errFrozen)
	}
	if err := change(); err != nil {
		return f.answer(f.guard.failed(doing, f.path, err))
	}
	return nil
}

func (f *guardedFile) answer(err error) error {
	if f.swallow {
		return nil
	}
	return err
}

// Write implements vfs.File.
func (f *guardedFile) Write(p []byte) (int, error) {
	err := f.changed("writing", func() error {
		f.track.wrote(p) // first: Write may change p, and after a failed one nothing is noted any more
		_, err := f.File.Write(p)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteAt implements vfs.File.
func (f *guardedFile) WriteAt(p []byte, at int64) (int, error) {
	err := f.changed("writing", func() error {
		_, err := f.File.WriteAt(p, at)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Stat implements vfs.File. Pebble looks at a log that it reuses, in the middle of a write.
func (f *guardedFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil && f.swallow {
		_ = f.guard.failed("looking at", f.path, err)
		return vfs.NewMemFile(nil).Stat()
	}
	return info, err
}

// Sync implements vfs.File.
func (f *guardedFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData implements vfs.File.
func (f *guardedFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *guardedFile) sync(sync func() error) error {
	return f.changed("syncing", func() error {
		if err := sync(); err != nil {
			return err
		}
		return f.track.synced()
	})
}

// SyncTo implements vfs.File.
func (f *guardedFile) SyncTo(length int64) (full bool, err error) {
	err = f.changed("syncing", func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// Close implements vfs.File.
func (f *guardedFile) Close() error {
	if err := f.File.Close(); err != nil {
		return f.answer(f.guard.failed("closing", f.path, err))
	}
	return nil
}

package pebble

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errFrozen answers changes of files after the first failed one.
var errFrozen = errors.New("nothing is written any more after a failed write")

// guard stands between Pebble and the file system, and stops the store at the first write or sync that fails.
//
// Left alone, Pebble panics in goroutines of its own when its log, its manifest or a directory cannot be synced, and it
// retries failed flushes. So after the first failure guard lets nothing reach the disk: its content stays what a crash
// at that moment would have left. Pebble itself is told of success where an error would make it panic; nobody hears of
// that, since the failure is known to the store before the call returns.
type guard struct {
	vfs.FS
	private bool // whether new files get mode 0600
	synced  *ledger
	frozen  atomic.Bool
	first   atomic.Pointer[error]
	onFail  atomic.Pointer[func(error)]
}

// failed records the error of a change, and freezes the file system at the first.
func (g *guard) failed(doing, name string, err error) error {
	err = fmt.Errorf("%s %s: %w", doing, name, err)
	if g.first.CompareAndSwap(nil, &err) {
		g.frozen.Store(true)
		if report := g.onFail.Load(); report != nil {
			(*report)(err)
		}
	}
	return err
}

// err returns the first failure.
func (g *guard) err() error {
	if err := g.first.Load(); err != nil {
		return *err
	}
	return nil
}

// watch sets who is told of the first failure, at once if it has happened.
func (g *guard) watch(report func(error)) {
	g.onFail.Store(&report)
	if err := g.err(); err != nil {
		report(err)
	}
}

// mustSucceed tells the files whose errors Pebble answers by panicking: logs, manifests and markers.
func mustSucceed(name string) bool {
	return isLog(name) || strings.HasPrefix(name, "MANIFEST-") || strings.HasPrefix(name, "marker.")
}

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// isTracked tells the files that are only ever appended to and whose loss Pebble may take for their end.
func isTracked(name string) bool { return isLog(name) || strings.HasPrefix(name, "MANIFEST-") }

func (g *guard) opened(doing, path string, open func() (vfs.File, error)) (vfs.File, error) {
	name := g.PathBase(path)
	if g.frozen.Load() {
		return g.refused(name, errFrozen)
	}
	f, err := open()
	if err != nil {
		return g.refused(name, g.failed(doing, path, err))
	}
	if g.private {
		if err := os.Chmod(path, 0o600); err != nil {
			return g.refused(name, errors.Join(g.failed("restricting", path, err), f.Close()))
		}
	}
	file := &guardedFile{File: f, guard: g, path: path, swallow: mustSucceed(name)}
	if isTracked(name) {
		file.track = g.synced.track(name)
	}
	return file, nil
}

func (g *guard) refused(name string, err error) (vfs.File, error) {
	if mustSucceed(name) {
		return sink{vfs.NewMemFile(nil)}, nil
	}
	return nil, err
}

// sink takes what Pebble writes after a failure.
type sink struct{ vfs.File }

func (sink) Write(p []byte) (int, error)            { return len(p), nil }
func (sink) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func (g *guard) changed(doing, path string, change func() error) error {
	if g.frozen.Load() {
		return errFrozen
	}
	if err := change(); err != nil {
		return g.failed(doing, path, err)
	}
	return nil
}

// Create implements vfs.FS.
func (g *guard) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.opened("creating", path, func() (vfs.File, error) { return g.FS.Create(path, c) })
}

// OpenReadWrite implements vfs.FS.
func (g *guard) OpenReadWrite(path string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.opened("opening", path, func() (vfs.File, error) { return g.FS.OpenReadWrite(path, c, o...) })
}

// ReuseForWrite implements vfs.FS.
func (g *guard) ReuseForWrite(old, path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.opened("reusing "+g.PathBase(old)+" for", path, func() (vfs.File, error) {
		if err := g.forget(old); err != nil {
			return nil, err
		}
		return g.FS.ReuseForWrite(old, path, c)
	})
}

// Remove implements vfs.FS. A file that cannot be removed is no failed write: Pebble tries again later.
func (g *guard) Remove(path string) error {
	if g.frozen.Load() {
		return errFrozen
	}
	if err := g.forget(path); err != nil {
		return g.failed("removing", path, err)
	}
	return g.FS.Remove(path)
}

// forget makes durable that a file need not be there, before it goes.
func (g *guard) forget(path string) error {
	if name := g.PathBase(path); isTracked(name) {
		return g.synced.forget(name)
	}
	return nil
}

// RemoveAll implements vfs.FS.
func (g *guard) RemoveAll(path string) error {
	return g.changed("removing", path, func() error { return g.FS.RemoveAll(path) })
}

// Rename implements vfs.FS.
func (g *guard) Rename(old, path string) error {
	return g.changed("renaming "+g.PathBase(old)+" to", path, func() error { return g.FS.Rename(old, path) })
}

// Link implements vfs.FS.
func (g *guard) Link(old, path string) error {
	return g.changed("linking "+g.PathBase(old)+" as", path, func() error { return g.FS.Link(old, path) })
}

// MkdirAll implements vfs.FS.
func (g *guard) MkdirAll(path string, mode os.FileMode) error {
	return g.changed("creating directory", path, func() error { return g.FS.MkdirAll(path, mode) })
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

// Lock implements vfs.FS.
func (g *guard) Lock(path string) (io.Closer, error) { return g.FS.Lock(path) }

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
func (f *guardedFile) Close() error { return f.changedClose(f.File.Close()) }

func (f *guardedFile) changedClose(err error) error {
	if err == nil {
		return nil
	}
	return f.answer(f.guard.failed("closing", f.path, err))
}

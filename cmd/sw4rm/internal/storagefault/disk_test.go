package storagefault

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// watched returns a file system that calls before with each operation that changes something, before it is done.
func watched(under vfs.FS, before func(errorfs.Op) error) vfs.FS {
	return watchedFor(under, changes, before)
}

// watchedFor is watched for some operations.
func watchedFor(under vfs.FS, which func(errorfs.Op) bool, before func(errorfs.Op) error) vfs.FS {
	return errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !which(op) {
			return nil
		}
		return before(op)
	}))
}

func changes(op errorfs.Op) bool {
	return op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFilePreallocate && op.Kind != errorfs.OpLock
}

// reads is without the question how much room there is: what nobody knows is no reason to stop.
func reads(op errorfs.Op) bool {
	return op.Kind.ReadOrWrite() == errorfs.OpIsRead && op.Kind != errorfs.OpGetDiskUsage
}

// fault lets operations fail: the one that leaves none left, and with onwards all after it.
type fault struct {
	left    atomic.Int64
	onwards bool
	err     error
	// hit counts the operations that failed.
	hit atomic.Int64
}

func (f *fault) before(errorfs.Op) error {
	left := f.left.Add(-1)
	if left == -1 || left < -1 && f.onwards {
		f.hit.Add(1)
		return f.err
	}
	return nil
}

// clone is the disk that a power cut would leave now, with some percent of what was not synced.
func clone(disk *vfs.MemFS, percent int, seed uint64) *vfs.MemFS {
	return disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, uint64(percent)))})
}

// percents are how much of what was not synced is kept.
func percents() []int { return []int{0, 50, 100} }

// halving is a disk that takes each write in two, so that only the second may fail.
type halving struct{ vfs.FS }

type halvingFile struct{ vfs.File }

func (f halvingFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p[:len(p)/2])
	if err != nil {
		return n, err
	}
	m, err := f.File.Write(p[len(p)/2:])
	return n + m, err
}

func (h halving) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return halvingFile{f}, nil
}

// Create implements vfs.FS.
func (h halving) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return h.wrap(h.FS.Create(name, c))
}

// ReuseForWrite implements vfs.FS.
func (h halving) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return h.wrap(h.FS.ReuseForWrite(old, name, c))
}

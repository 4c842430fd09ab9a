package pebble

import (
	"sync/atomic"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Defaults of Options.MinFree, in bytes: what the engine itself needs beside its data when its buffers are full and it
// compacts.
const (
	DefaultMinFree        = 64 << 20
	DefaultMinFreeService = 256 << 20
)

// roomAge is how long a look at the disk is good for.
const roomAge = 250 * time.Millisecond

// room remembers how much of the disk is free.
type room struct {
	free   atomic.Uint64
	looked atomic.Int64 // nanoseconds since began; 0 before the first look
	began  time.Time
}

var _ store.Roomy = (*DB)(nil)

// Room implements store.Roomy. It looks at the disk at most four times a second. Where the system does not say how much is
// free, there is room.
func (d *DB) Room() error {
	if d.minFree == 0 {
		return nil
	}
	now := int64(time.Since(d.room.began)) + 1
	if last := d.room.looked.Load(); last == 0 || now-last >= int64(roomAge) {
		d.look(last, now)
	}
	if free := d.room.free.Load(); free < d.minFree {
		return &store.RoomError{Dir: d.dir, Free: free, Min: d.minFree}
	}
	return nil
}

// look looks at the disk, unless somebody else does.
func (d *DB) look(last, now int64) {
	if !d.room.looked.CompareAndSwap(last, now) {
		return
	}
	usage, err := d.guard.FS.GetDiskUsage(d.dir)
	if err != nil {
		usage.AvailBytes = ^uint64(0)
	}
	d.room.free.Store(usage.AvailBytes)
}

func (o Options) minFree() uint64 {
	switch {
	case o.MinFree > 0:
		return uint64(o.MinFree)
	case o.MinFree < 0:
		return 0
	case o.Profile == Service:
		return DefaultMinFreeService
	default:
		return DefaultMinFree
	}
}

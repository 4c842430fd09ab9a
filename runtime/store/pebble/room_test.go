package pebble_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// smallDisk is a file system that says how much is free.
type smallDisk struct {
	vfs.FS
	free  atomic.Uint64
	looks atomic.Int64
	fails atomic.Bool
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.looks.Add(1)
	if d.fails.Load() {
		return vfs.DiskUsage{}, errors.New("unknown")
	}
	return vfs.DiskUsage{AvailBytes: d.free.Load()}, nil
}

func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &smallDisk{FS: vfs.NewMem()}
		disk.free.Store(1 << 30)
		opts := quiet(disk)
		opts.MinFree = 1000
		d, err := pebble.Open("data", opts)
		require.NoError(t, err)
		defer func() { require.NoError(t, d.Close()) }()
		require.NoError(t, d.Room())
		disk.free.Store(999)
		looks := disk.looks.Load()
		for range 100 {
			require.NoError(t, store.Room(store.Sub(d, "part/")), "the last look is good for a while")
		}
		require.Equal(t, looks, disk.looks.Load())
		time.Sleep(time.Second)
		var full *store.RoomError
		require.ErrorAs(t, store.Room(store.Sub(d, "part/")), &full)
		require.Equal(t, store.RoomError{Dir: "data", Free: 999, Min: 1000}, *full)
		require.EqualError(t, full, "min_free_disk: the disk of data has 999 bytes free, and new work needs 1000. Fix: make room on it")
		require.NoError(t, appendRecord(t.Context(), d, 1), "what is written is up to the layers above")
		disk.free.Store(1000)
		time.Sleep(time.Second)
		require.NoError(t, d.Room())
		disk.free.Store(0)
		disk.fails.Store(true)
		time.Sleep(time.Second)
		require.NoError(t, d.Room(), "where the system does not say, there is room")
	})
}

func TestRoomDefaults(t *testing.T) {
	for _, tc := range []struct {
		change func(*pebble.Options)
		free   uint64
		full   bool
	}{
		{func(*pebble.Options) {}, pebble.DefaultMinFree - 1, true},
		{func(*pebble.Options) {}, pebble.DefaultMinFree, false},
		{func(o *pebble.Options) { o.Profile = pebble.Service }, pebble.DefaultMinFreeService - 1, true},
		{func(o *pebble.Options) { o.Profile = pebble.Service }, pebble.DefaultMinFreeService, false},
		{func(o *pebble.Options) { o.MinFree = -1 }, 0, false},
	} {
		disk := &smallDisk{FS: vfs.NewMem()}
		disk.free.Store(tc.free)
		opts := quiet(disk)
		tc.change(&opts)
		d, err := pebble.Open("data", opts)
		require.NoError(t, err)
		require.Equal(t, tc.full, d.Room() != nil)
		require.NoError(t, d.Close())
	}
	require.NoError(t, store.Room(store.NewMemory()))
}

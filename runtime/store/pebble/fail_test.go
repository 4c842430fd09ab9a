package pebble_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

var errInjected = errors.New("injected")

// failing is a file system on which one change fails: the one that match picks at the index that was set.
type failing struct {
	left  atomic.Int64 // changes that still succeed; negative: none fails
	match func(errorfs.Op) bool
}

func (f *failing) fs(under vfs.FS) vfs.FS {
	f.left.Store(-1)
	return errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFilePreallocate || !f.match(op) {
			return nil
		}
		for {
			left := f.left.Load()
			if left < 0 {
				return nil
			}
			if f.left.CompareAndSwap(left, left-1) {
				if left == 0 {
					return errInjected
				}
				return nil
			}
		}
	}))
}

func anyChange(errorfs.Op) bool { return true }

// TestFailStop fails each change in turn that appending makes, once: a disk that works again afterwards must not make
// anybody believe that nothing was lost.
func TestFailStop(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	failures := 0
	for at := int64(0); at < 400; at += 3 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			f := &failing{match: anyChange}
			d, err := pebble.Open("data", quiet(f.fs(mem)).Tiny())
			require.NoError(t, err)
			f.left.Store(at)
			acked, err := appendUntil(t.Context(), d, 4, 0, 300)
			if err != nil {
				failures++
				require.ErrorIs(t, err, errInjected)
				requireFailed(t, d, err)
			}
			closed := d.Close()
			if closed != nil {
				require.NoError(t, err, "a failure is told once")
				require.ErrorIs(t, closed, errInjected)
			}
			for _, fs := range []vfs.FS{mem, mem.CrashClone(vfs.CrashCloneCfg{})} {
				again, err := pebble.Open("data", quiet(fs).Tiny())
				require.NoError(t, err)
				require.NoError(t, checkRecords(again, acked))
				require.NoError(t, again.Close())
			}
		})
	}
	require.Greater(t, failures, 50)
}

func requireFailed(t *testing.T, d *pebble.DB, first error) {
	t.Helper()
	select {
	case <-d.Failed():
	default:
		t.Fatal("Failed is not closed")
	}
	var b store.Batch
	b.Set([]byte("late"), nil)
	_, applied := d.Apply(&b)
	_, got := d.Get([]byte("late"))
	scanned := d.Scan(nil, nil, func(_, _ []byte) error { return errors.New("called") })
	for _, err := range []error{first, d.Err(), applied, got, scanned, d.Sync(t.Context(), 0)} {
		require.ErrorIs(t, err, store.ErrFailed)
		require.Equal(t, d.Err().Error(), err.Error(), "all tell the first failure")
	}
}

// TestFailureReleasesWaiters lets the sync that many wait for fail.
func TestFailureReleasesWaiters(t *testing.T) {
	for _, pattern := range []string{".log", "sw4rm.synced"} {
		t.Run(pattern, func(t *testing.T) {
			f := &failing{match: func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, pattern) }}
			d, err := pebble.Open("data", quiet(f.fs(vfs.NewMem())))
			require.NoError(t, err)
			f.left.Store(7)
			acked, err := appendUntil(t.Context(), d, 32, 0, 100000)
			requireFailed(t, d, err)
			require.Less(t, len(acked), 1000)
			require.NoError(t, d.Close())
			_, err = d.Get([]byte("k"))
			require.ErrorIs(t, err, store.ErrClosed)
		})
	}
}

// TestBackgroundFailure lets a flush fail, of which no caller hears otherwise.
func TestBackgroundFailure(t *testing.T) {
	for _, pattern := range []string{".sst", "MANIFEST-000001"} {
		t.Run(pattern, func(t *testing.T) {
			f := &failing{match: func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, pattern) }}
			d, err := pebble.Open("data", quiet(f.fs(vfs.NewMem())).Tiny())
			require.NoError(t, err)
			f.left.Store(0)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = appendUntil(ctx, d, 4, 0, 100000)
			requireFailed(t, d, err)
			require.NoError(t, d.Close())
		})
	}
}

// TestOpenFails fails each change that opening makes: the next opening must succeed and find everything.
func TestOpenFails(t *testing.T) {
	for _, fresh := range []bool{true, false} {
		for at := int64(0); at < 80; at++ {
			t.Run(fmt.Sprintf("fresh=%v/%d", fresh, at), func(t *testing.T) {
				mem := vfs.NewCrashableMem()
				var acked []int
				var epoch uint64
				if !fresh {
					d, err := pebble.Open("data", quiet(mem).Tiny())
					require.NoError(t, err)
					acked, err = appendUntil(t.Context(), d, 2, 0, 100)
					require.NoError(t, err)
					epoch = d.Instance().Epoch
					require.NoError(t, d.Close())
				}
				f := &failing{match: anyChange}
				fs := f.fs(mem)
				f.left.Store(at)
				d, err := pebble.Open("data", quiet(fs).Tiny())
				if err == nil {
					epoch = d.Instance().Epoch
					_ = d.Close() // may fail as well
				} else {
					require.ErrorIs(t, err, errInjected)
				}
				for _, fs := range []vfs.FS{mem, mem.CrashClone(vfs.CrashCloneCfg{})} {
					again, err := pebble.Open("data", quiet(fs).Tiny())
					require.NoError(t, err)
					require.Greater(t, again.Instance().Epoch, epoch)
					require.NoError(t, checkRecords(again, acked))
					require.NoError(t, again.Close())
				}
			})
		}
	}
}

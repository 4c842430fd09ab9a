package pebble_test

import (
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/runtime/store/storetest"
)

func quiet(fs vfs.FS) pebble.Options {
	return pebble.Options{FS: fs, Logger: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, dir string, o pebble.Options) *pebble.DB {
	t.Helper()
	d, err := pebble.Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestConformance(t *testing.T) {
	for name, options := range map[string]func() pebble.Options{
		"disk":   func() pebble.Options { return quiet(nil) },
		"memory": func() pebble.Options { return quiet(vfs.NewMem()) },
		"service": func() pebble.Options {
			o := quiet(vfs.NewMem())
			o.Profile = pebble.Service
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			storetest.Run(t, func(t *testing.T) storetest.Opened {
				dir, o := t.TempDir(), options()
				d := open(t, dir, o)
				return storetest.Opened{Store: d, Reopen: func() store.Store {
					require.NoError(t, d.Close())
					d = open(t, dir, o)
					return d
				}}
			})
		})
	}
}

func TestConformanceBelowPrefix(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opened {
		fs := vfs.NewMem()
		d := open(t, "data", quiet(fs))
		return storetest.Opened{Store: store.Sub(d, "agent/"), Close: d.Close, Reopen: func() store.Store {
			require.NoError(t, d.Close())
			d = open(t, "data", quiet(fs))
			return store.Sub(d, "agent/")
		}}
	})
}

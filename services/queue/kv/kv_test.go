package kv_test

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
	"github.com/sw4rm/sw4rm-go/services/queue/queuetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) { queuetest.Run(t, onMemory) }

func TestPebble(t *testing.T) {
	queuetest.Run(t, func(t queuetest.TB) (queue.Engine, func() queue.Engine) {
		dir, err := os.MkdirTemp("", "queue")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
		return onPebble(t, dir, pebble.Options{})
	})
}

// TestSequences runs many sequences where a restart costs little, and some where it costs more.
func TestSequences(t *testing.T) {
	t.Run("Memory", func(t *testing.T) { queuetest.Sequences(t, 6, onMemory) })
	t.Run("Rebuilt", func(t *testing.T) { queuetest.Sequences(t, 2, rebuilt) })
	t.Run("Pebble", func(t *testing.T) {
		queuetest.Sequences(t, 1, func(t queuetest.TB) (queue.Engine, func() queue.Engine) {
			return onPebble(t, "queue", pebble.Options{Profile: pebble.Tiny, FS: vfs.NewMem()})
		})
	})
}

func onMemory(t queuetest.TB) (queue.Engine, func() queue.Engine) {
	s := store.NewMemory()
	return open(t, s), func() queue.Engine {
		s = s.Reopen()
		return open(t, s)
	}
}

func onPebble(t queuetest.TB, dir string, o pebble.Options) (queue.Engine, func() queue.Engine) {
	s := openPebble(t, dir, o)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return open(t, s), func() queue.Engine {
		require.NoError(t, s.Close())
		s = openPebble(t, dir, o)
		return open(t, s)
	}
}

func open(t queuetest.TB, s store.Store) *kv.Engine {
	t.Helper()
	e, err := kv.Open(context.Background(), s, kv.Options{Limits: queuetest.Limits()})
	require.NoError(t, err)
	return e
}

func openPebble(t queuetest.TB, dir string, o pebble.Options) store.Store {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := pebble.Open(dir, o)
	require.NoError(t, err)
	return s
}

// counting counts what is done to a store, and can leave out syncs.
type counting struct {
	store.Store
	mu     sync.Mutex
	counts counts
	noSync bool
	// fail is returned by Apply.
	fail error
}

type counts struct{ Applies, Ops, Gets, Scans, Scanned int }

func (c *counting) add(f func(*counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.counts)
}

func (c *counting) take() counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	c.counts = counts{}
	return n
}

func (c *counting) Apply(b *store.Batch) (store.Mark, error) {
	if c.fail != nil {
		return 0, c.fail
	}
	c.add(func(n *counts) { n.Applies++; n.Ops += b.Len() })
	return c.Store.Apply(b)
}

func (c *counting) Sync(ctx context.Context, m store.Mark) error {
	if c.noSync {
		return nil
	}
	return c.Store.Sync(ctx, m)
}

func (c *counting) Get(key []byte) ([]byte, error) {
	c.add(func(n *counts) { n.Gets++ })
	return c.Store.Get(key)
}

func (c *counting) Scan(start, end []byte, fn func(key, value []byte) error) error {
	c.add(func(n *counts) { n.Scans++ })
	return c.Store.Scan(start, end, func(key, value []byte) error {
		c.add(func(n *counts) { n.Scanned++ })
		return fn(key, value)
	})
}

// nobody says that no agent is connected.
func nobody(string) bool { return false }

package pebble_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// copied returns a copy of a directory as Copy gives it.
func copied(t *testing.T, files image) (image, store.Instance, error) {
	t.Helper()
	other := image{}
	instance, err := pebble.Copy("data", quiet(files.fs(t)), func(name string, size int64, r io.Reader) error {
		data, err := io.ReadAll(r)
		require.Len(t, data, int(size))
		other[name] = data
		return err
	})
	return other, instance, err
}

func TestCopyIsWhole(t *testing.T) {
	files, acked := filled(t, false)
	other, instance, err := copied(t, files)
	require.NoError(t, err)
	require.Equal(t, uint64(1), instance.Epoch)
	require.Equal(t, files.sums(), other.sums())
	require.NotContains(t, other, "LOCK")
	d, err := pebble.Open("data", quiet(other.fs(t)))
	require.NoError(t, err)
	require.NoError(t, checkRecords(d, acked))
	require.NoError(t, d.Close())

	_, _, err = copied(t, files.with(logName(files), flip(logOf(files), 100)))
	require.NotEmpty(t, requireDamaged(t, err))
	stop := errors.New("the target is full")
	_, err = pebble.Copy("data", quiet(files.fs(t)), func(string, int64, io.Reader) error { return stop })
	require.ErrorIs(t, err, stop)
}

func TestAdoptedCopyHasTheEpochOfItsOriginal(t *testing.T) {
	files, acked := filled(t, true)
	fs := files.fs(t)
	next, err := pebble.Adopt("data", quiet(fs), false)
	require.NoError(t, err)
	d, err := pebble.Open("data", quiet(fs))
	require.NoError(t, err)
	require.Equal(t, next, d.Instance())
	require.Equal(t, uint64(1), d.Instance().Epoch, "as the last opening before the copy")
	require.NoError(t, checkRecords(d, acked))
	require.NoError(t, d.Close())

	fresh, err := pebble.Adopt("data", quiet(fs), true)
	require.NoError(t, err)
	require.NotEqual(t, next.ID, fresh.ID)
	d, err = pebble.Open("data", quiet(fs))
	require.NoError(t, err)
	require.Equal(t, fresh, d.Instance())
	require.Equal(t, uint64(1), d.Instance().Epoch)
	require.NoError(t, checkRecords(d, acked))
	require.NoError(t, d.Close())
	_, damages := inspect(t, readImage(t, fs))
	require.Empty(t, damages)
}

func TestUpgrade(t *testing.T) {
	files, acked := filled(t, true)
	fs := files.fs(t)
	from, to, err := pebble.Upgrade(t.Context(), "data", quiet(fs), nil)
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{from, to})
	require.Equal(t, files.sums(), readImage(t, fs).sums(), "there is nothing to do")

	key := []byte("upgraded")
	fails := errors.New("power cut")
	var failure error = fails
	step := pebble.Step{From: 1, Run: func(ctx context.Context, s store.Store) error {
		var b store.Batch
		b.Set(key, nil)
		return errors.Join(store.Write(ctx, s, &b), failure)
	}}
	from, to, err = pebble.Upgrade(t.Context(), "data", quiet(fs), []pebble.Step{{From: 7}, step})
	require.ErrorIs(t, err, fails)
	require.Equal(t, []int{1, 1}, []int{from, to})
	d, err := pebble.Open("data", quiet(fs))
	require.NoError(t, err, "it has the format that it had")
	require.NoError(t, checkRecords(d, acked))
	require.NoError(t, d.Close())

	failure = nil
	from, to, err = pebble.Upgrade(t.Context(), "data", quiet(fs), []pebble.Step{step})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, []int{from, to})
	_, err = pebble.Open("data", quiet(fs))
	var version *store.VersionError
	require.ErrorAs(t, err, &version)
	require.Equal(t, 2, version.Found)
	_, _, err = pebble.Upgrade(t.Context(), "data", quiet(fs), nil)
	require.ErrorAs(t, err, &version)
}

package activity_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// FuzzRebuild puts something else into the place of a record, or takes it away. Whatever it is, Rebuild makes a buffer of the
// rest that Check finds sound, and that opens.
func FuzzRebuild(f *testing.F) {
	whole := recordedStore(f)
	for key, value := range whole {
		f.Add([]byte(key), []byte(value), false)
		f.Add([]byte(key), []byte(value)[:len(value)/2], false)
		f.Add([]byte(key), []byte(nil), true)
		f.Add([]byte(key+"$"), []byte(value), false)
	}
	f.Add([]byte("d"), []byte("of no key"), false)
	f.Fuzz(func(t *testing.T, key, value []byte, gone bool) {
		s := store.NewMemory()
		var b store.Batch
		for key, is := range whole {
			b.Set([]byte(key), []byte(is))
		}
		if gone {
			b.Delete(key)
		} else {
			b.Set(key, value)
		}
		require.NoError(t, store.Write(t.Context(), s, &b))
		require.NoError(t, activity.Rebuild(t.Context(), s, start, func(string) {}))
		_, err := activity.Check(t.Context(), s, func(d *store.DamagedError) { t.Errorf("after rebuilding: %v", d) })
		require.NoError(t, err)
		_, err = activity.Open(t.Context(), s, newWorker().config())
		require.NoError(t, err)
	})
}

package kv_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// FuzzRebuild puts something else into the place of a record, or takes it away. Whatever it is, Rebuild makes a queue of the
// rest that Check finds sound, and that an engine opens and works on.
func FuzzRebuild(f *testing.F) {
	whole := records(f)
	for key, value := range whole {
		f.Add([]byte(key)[1:], []byte(value), false)
		f.Add([]byte(key)[1:], []byte(value)[:len(value)/2], false)
		f.Add([]byte(key)[1:], []byte(nil), true)
		elsewhere := []byte(key)[1:]
		elsewhere[len(elsewhere)-1]++
		f.Add(elsewhere, []byte(value), false)
		elsewhere = bytes.Clone(elsewhere)
		elsewhere[len(elsewhere)/3]++
		elsewhere[len(elsewhere)-1]--
		f.Add(elsewhere, []byte(value), false)
	}
	f.Fuzz(func(t *testing.T, key, value []byte, gone bool) {
		s := store.NewMemory()
		var b store.Batch
		for key, is := range whole {
			b.Set([]byte(key), []byte(is))
		}
		if key = append([]byte{'q'}, key...); gone {
			b.Delete(key)
		} else {
			b.Set(key, value)
		}
		require.NoError(t, store.Write(t.Context(), s, &b))
		require.NoError(t, kv.Rebuild(t.Context(), s, func(string) {}))
		require.Empty(t, problems(t, s))
		e, err := kv.Open(t.Context(), s, kv.Options{})
		require.NoError(t, err)
		requireDamage(t, use(t.Context(), e))
		require.Empty(t, problems(t, s))
	})
}

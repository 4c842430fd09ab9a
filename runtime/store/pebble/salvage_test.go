package pebble_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// salvage returns the keys that can be read of a directory, and what is lost.
func salvage(t *testing.T, files image) (map[string]bool, []*pebble.Loss) {
	t.Helper()
	fs := files.fs(t)
	var lost []*pebble.Loss
	found := map[string]bool{}
	last := ""
	_, err := pebble.Salvage("data", quiet(fs).Tiny(), func(l *pebble.Loss) { lost = append(lost, l) },
		func(key, value []byte) error {
			require.Less(t, last, string(key), "keys rise")
			last = string(key)
			var n int
			if _, err := fmt.Sscanf(last, "record/%08d", &n); err == nil {
				_, want := record(n)
				require.True(t, bytes.Equal(want, value), "record %d is not what was written", n)
			}
			found[last] = true
			return nil
		})
	require.NoError(t, err)
	require.Equal(t, files.sums(), readImage(t, fs).sums(), "the source changed")
	return found, lost
}

func inspect(t *testing.T, files image) (pebble.Inspection, []*store.DamagedError) {
	t.Helper()
	fs := files.fs(t)
	var damages []*store.DamagedError
	seen, err := pebble.Inspect("data", quiet(fs).Tiny(), func(d *store.DamagedError) { damages = append(damages, d) })
	require.NoError(t, err)
	require.Equal(t, files.sums(), readImage(t, fs).sums(), "inspecting changed something")
	return seen, damages
}

func keysOf(acked []int) map[string]bool {
	keys := map[string]bool{}
	for _, n := range acked {
		key, _ := record(n)
		keys[string(key)] = true
		keys[fmt.Sprintf("twin/%08d", n)] = true
	}
	return keys
}

func TestInspectAndSalvageWhatIsWhole(t *testing.T) {
	for _, closed := range []bool{true, false} {
		files, acked := filled(t, closed)
		seen, damages := inspect(t, files)
		require.Empty(t, damages)
		require.Equal(t, uint64(1), seen.Instance.Epoch)
		require.Equal(t, 1, seen.Format)
		require.GreaterOrEqual(t, seen.Records, 2*len(acked))
		found, lost := salvage(t, files)
		require.Empty(t, lost)
		require.Equal(t, keysOf(acked), found)
	}
}

// TestSalvageHidesDeletedRecords deletes by key and by range, over tables and logs.
func TestSalvageHidesDeletedRecords(t *testing.T) {
	fs := image{}.fs(t)
	d, err := pebble.Open("data", quiet(fs).Tiny())
	require.NoError(t, err)
	acked, err := appendUntil(t.Context(), d, 4, 0, 400)
	require.NoError(t, err)
	var b store.Batch
	b.DeleteRange([]byte("record/00000100"), []byte("record/00000300"))
	b.Delete([]byte("record/00000005"))
	require.NoError(t, store.Write(t.Context(), d, &b))
	want := keysOf(acked)
	delete(want, "record/00000005")
	for n := 100; n < 300; n++ {
		delete(want, fmt.Sprintf("record/%08d", n))
	}
	for n := 400; n < 800; n++ {
		require.NoError(t, appendRecord(t.Context(), d, n))
		maps.Copy(want, keysOf([]int{n}))
	}
	b.Reset()
	b.DeleteRange([]byte("twin/00000350"), nil)
	require.NoError(t, store.Write(t.Context(), d, &b))
	maps.DeleteFunc(want, func(key string, _ bool) bool { return key >= "twin/00000350" })
	require.NoError(t, d.Close())
	found, lost := salvage(t, readImage(t, fs))
	require.Empty(t, lost)
	require.Equal(t, want, found)
}

// explained checks that everything that is missing is inside of a part that is told to be lost.
func explained(t *testing.T, want, found map[string]bool, lost []*pebble.Loss, perLog int) {
	t.Helper()
	missing := []string{}
	for key := range want {
		if !found[key] {
			missing = append(missing, key)
		}
	}
	for key := range found {
		require.True(t, want[key], "%s was never there", key)
	}
	if len(missing) == 0 {
		return
	}
	require.NotEmpty(t, lost)
	logs := 0
	for _, key := range missing {
		inside := slices.ContainsFunc(lost, func(l *pebble.Loss) bool {
			return strings.HasSuffix(l.File, ".sst") && (l.From == nil || string(l.From) < key) && (l.To == nil || key < string(l.To))
		})
		if !inside {
			logs++
		}
	}
	require.LessOrEqual(t, logs, perLog, "missing: %v, lost: %v", missing, lost)
	require.Less(t, len(missing), len(want)/2, "most is there: %v", lost)
}

func TestSalvageOfDamagedDirectories(t *testing.T) {
	for _, closed := range []bool{true, false} {
		files, acked := filled(t, closed)
		want := keysOf(acked)
		random := rand.New(rand.NewPCG(2, 2))
		seen, short := map[string]int{}, 0
		for _, file := range slices.Sorted(maps.Keys(files)) {
			data := files[file]
			if len(data) == 0 {
				continue
			}
			places := []int{0, len(data) / 2, len(data) - 1}
			for range 6 {
				places = append(places, random.IntN(len(data)))
			}
			for _, at := range places {
				damaged := files.with(file, flip(data, at))
				_, damages := inspect(t, damaged)
				found, lost := salvage(t, damaged)
				explained(t, want, found, lost, 16)
				for _, d := range damages {
					require.NotEmpty(t, d.File)
				}
				if len(found) < len(want) {
					require.NotEmpty(t, damages, "%s at %d: records are missing and nothing was found", file, at)
					short++
				}
				if len(damages) > 0 {
					seen[kind(file)]++
				}
			}
		}
		t.Log("damage seen in", seen, "; directories that lost records:", short)
		for _, file := range []string{"log", "sst", "MANIFEST", "format"} {
			require.Greater(t, seen[file], 6, file)
		}
		require.Positive(t, short)
	}
}

// TestSalvageOfTruncatedFiles cuts each file.
func TestSalvageOfTruncatedFiles(t *testing.T) {
	files, acked := filled(t, true)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		data := files[file]
		for _, n := range []int{0, 1, len(data) / 3, len(data) - 1} {
			if n < 0 || n >= len(data) {
				continue
			}
			found := requireTold(t, files.with(file, data[:n:n]), acked, "%s to %d bytes", file, n)
			if strings.HasSuffix(file, ".sst") && n == len(data)-1 {
				require.Equal(t, len(keysOf(acked)), len(found), "%s: only the footer is damaged, and all blocks are whole", file)
			}
		}
	}
}

// TestSalvageOfMissingFiles removes each file, and then all logs, and all tables with them.
func TestSalvageOfMissingFiles(t *testing.T) {
	for _, closed := range []bool{true, false} {
		files, acked := filled(t, closed)
		logs, all := files, files
		for _, file := range slices.Sorted(maps.Keys(files)) {
			if file == "sw4rm.format" {
				continue // nothing else says that it is a data directory
			}
			requireTold(t, files.with(file, nil), acked, "without %s", file)
			if strings.HasSuffix(file, ".log") {
				logs, all = logs.with(file, nil), all.with(file, nil)
			}
			if strings.HasSuffix(file, ".sst") {
				all = all.with(file, nil)
			}
		}
		requireTold(t, logs, acked, "without logs")
		require.Empty(t, requireTold(t, all, acked, "without logs and tables"))
	}
}

// TestSalvageOfAMissingLog names it, where all that was written is in it.
func TestSalvageOfAMissingLog(t *testing.T) {
	fs := vfs.NewMem()
	d, err := pebble.Open("data", quiet(fs))
	require.NoError(t, err)
	acked, err := appendUntil(t.Context(), d, 1, 0, 20)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	files := readImage(t, fs)
	log := logName(files)
	require.Empty(t, requireTold(t, files.with(log, nil), acked, "without the log"))
	_, lost := salvage(t, files.with(log, nil))
	require.Len(t, lost, 1)
	require.Equal(t, "data/"+log, lost[0].File)
	require.EqualError(t, lost[0].Err, "the file is missing")
	require.Empty(t, requireTold(t, files.with(log, nil).with("sw4rm.synced", nil), acked, "without the log and its note"))
}

// requireTold requires that inspect tells of damage, and salvage of a loss, where salvage does not find everything. It
// returns what was found.
func requireTold(t *testing.T, files image, acked []int, text string, args ...any) map[string]bool {
	t.Helper()
	want := keysOf(acked)
	_, damages := inspect(t, files)
	found, lost := salvage(t, files)
	for key := range found {
		require.True(t, want[key], "%s was never there", key)
	}
	if len(found) < len(want) {
		require.NotEmptyf(t, damages, text, args...)
		require.NotEmptyf(t, lost, text, args...)
	}
	return found
}

func TestSalvageWithoutFormatFile(t *testing.T) {
	files, acked := filled(t, true)
	found, lost := salvage(t, files.with("sw4rm.format", nil))
	require.Len(t, lost, 1)
	require.Equal(t, keysOf(acked), found)
}

func TestReadersOfWhatIsNotThere(t *testing.T) {
	fs := image{"thesis.tex": []byte("precious")}.fs(t)
	nothing := func(*pebble.Loss) { t.Error("something is lost") }
	for _, dir := range []string{"data", "elsewhere", "data/thesis.tex"} {
		var refused *store.PermissionError
		_, err := pebble.OpenReader(dir, quiet(fs))
		require.ErrorAs(t, err, &refused, dir)
		_, err = pebble.Inspect(dir, quiet(fs), nil)
		require.ErrorAs(t, err, &refused, dir)
		_, err = pebble.Salvage(dir, quiet(fs), nothing, nil)
		require.ErrorAs(t, err, &refused, dir)
	}
}

func TestReaderReadsAndLocks(t *testing.T) {
	fs := image{}.fs(t)
	d, err := pebble.Open("data", quiet(fs))
	require.NoError(t, err)
	acked, err := appendUntil(t.Context(), d, 1, 0, 20)
	require.NoError(t, err)
	_, err = pebble.OpenReader("data", quiet(fs))
	var used *store.InUseError
	require.ErrorAs(t, err, &used)
	require.NoError(t, d.Close())

	before := readImage(t, fs).sums()
	r, err := pebble.OpenReader("data", quiet(fs))
	require.NoError(t, err)
	require.Equal(t, d.Instance(), r.Instance())
	for _, n := range acked {
		key, want := record(n)
		got, err := r.Get(key)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = r.Get([]byte("nothing"))
	require.ErrorIs(t, err, store.ErrNotFound)
	last := ""
	require.NoError(t, r.ScanReverse(nil, nil, func(key, _ []byte) error { last = string(key); return store.ErrStop }))
	require.Equal(t, "twin/00000019", last)
	_, err = pebble.Open("data", quiet(fs))
	require.ErrorAs(t, err, &used)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	_, err = r.Get([]byte("nothing"))
	require.ErrorIs(t, err, store.ErrClosed)
	require.Equal(t, before, readImage(t, fs).sums())
}

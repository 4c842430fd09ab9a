package pebble_test

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// image is the content of a directory.
type image map[string][]byte

func readImage(t *testing.T, fs vfs.FS) image {
	t.Helper()
	names, err := fs.List("data")
	require.NoError(t, err)
	files := image{}
	for _, name := range names {
		f, err := fs.Open(fs.PathJoin("data", name))
		require.NoError(t, err)
		data, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		files[name] = data
	}
	return files
}

func (i image) fs(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("data", 0o700))
	for name, data := range i {
		f, err := fs.Create(fs.PathJoin("data", name), vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = f.Write(slices.Clone(data))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	return fs
}

// with returns a copy in which the file is changed; nil removes it.
func (i image) with(name string, data []byte) image {
	other := maps.Clone(i)
	if other[name] = data; data == nil {
		delete(other, name)
	}
	return other
}

// sums stands for the content, to be compared and printed.
func (i image) sums() map[string]uint32 {
	sums := map[string]uint32{}
	for name, data := range i {
		if name != "LOCK" {
			sums[name] = crc32.ChecksumIEEE(data)
		}
	}
	return sums
}

func flip(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[at] ^= 1 << (at % 8)
	return data
}

// requireDetected opens a damaged directory: it must be refused and left as it is, or reading must tell of the damage,
// or everything is there. It returns whether damage was seen.
func requireDetected(t *testing.T, damaged image, acked []int) bool {
	t.Helper()
	fs := damaged.fs(t)
	d, err := pebble.Open("data", quiet(fs).Tiny())
	if err != nil {
		before, after := damaged.sums(), readImage(t, fs).sums()
		if file := path.Base(requireDamaged(t, err)); strings.HasSuffix(file, ".sst") {
			before, after = only(before, file), only(after, file) // met when the engine was at work already
		}
		require.Equal(t, before, after, "a refused directory changed")
		return true
	}
	err = checkRecords(d, acked)
	if err != nil {
		requireDamaged(t, err)
		requireFailed(t, d, err)
	}
	require.NoError(t, d.Close())
	return err != nil
}

// requireDamaged returns the file that the error names.
func requireDamaged(t *testing.T, err error) string {
	t.Helper()
	var damage *store.DamagedError
	require.ErrorAs(t, err, &damage)
	require.NotEmpty(t, damage.File)
	return damage.File
}

func only(sums map[string]uint32, file string) map[string]uint32 {
	return map[string]uint32{file: sums[file]}
}

// filled returns a directory with several tables and logs, and what is in it.
func filled(t *testing.T, closed bool) (image, []int) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	d, err := pebble.Open("data", quiet(fs).Tiny())
	require.NoError(t, err)
	acked, err := appendUntil(t.Context(), d, 4, 0, 400)
	require.NoError(t, err)
	if closed {
		require.NoError(t, d.Close())
	}
	// A clone with everything is what a killed process leaves.
	files := readImage(t, fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1)),
	}))
	require.NoError(t, d.Close())
	return files, acked
}

func TestBitFlips(t *testing.T) {
	for _, closed := range []bool{true, false} {
		name := "killed"
		if closed {
			name = "closed"
		}
		t.Run(name, func(t *testing.T) {
			files, acked := filled(t, closed)
			require.False(t, requireDetected(t, files, acked), "an undamaged directory")
			random := rand.New(rand.NewPCG(1, 2))
			seen := map[string]int{}
			for _, file := range slices.Sorted(maps.Keys(files)) {
				data := files[file]
				if len(data) == 0 {
					continue
				}
				places := []int{0, len(data) / 2, len(data) - 1}
				for range 60 {
					places = append(places, random.IntN(len(data)))
				}
				for _, at := range places {
					if requireDetected(t, files.with(file, flip(data, at)), acked) {
						seen[kind(file)]++
					}
				}
			}
			t.Log("damage seen in", seen)
			for _, file := range []string{"log", "sst", "MANIFEST", "format"} {
				require.Greater(t, seen[file], 50, file)
			}
		})
	}
}

func kind(file string) string {
	if strings.HasPrefix(file, "MANIFEST") {
		return "MANIFEST"
	}
	return file[strings.LastIndexByte(file, '.')+1:]
}

func TestTruncatedAndMissingFiles(t *testing.T) {
	files, acked := filled(t, true)
	for file, data := range files {
		t.Run(file, func(t *testing.T) {
			if file == "LOCK" {
				t.Skip("it has no content and is made when missing")
			}
			missing := files.with(file, nil)
			if file == "sw4rm.format" {
				_, err := pebble.Open("data", quiet(missing.fs(t)))
				var refused *store.PermissionError
				require.ErrorAs(t, err, &refused)
				return
			}
			requireDetected(t, missing, acked)
			for _, n := range []int{0, 1, len(data) / 2, len(data) - 1} {
				if n >= 0 && n < len(data) {
					requireDetected(t, files.with(file, data[:n:n]), acked)
					requireDetected(t, files.with(file, append(data[:n:n], bytes.Repeat([]byte{0xa5}, len(data)-n)...)), acked)
				}
			}
		})
	}
}

// TestDamageMetAtWork damages a block after the store was opened: the store fails where it is read, and answers nothing
// any more. A directory that is only read is answered for with what is whole.
func TestDamageMetAtWork(t *testing.T) {
	fs := vfs.NewMem()
	d, err := pebble.Open("data", quiet(fs))
	require.NoError(t, err)
	acked, err := appendUntil(t.Context(), d, 1, 0, 400)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	files := readImage(t, fs)
	cold, random := record(200) // no compression shortens its value
	whole, want := record(0)

	for name, meet := range map[string]func(d *pebble.DB) error{
		"get":  func(d *pebble.DB) error { _, err := d.Get(cold); return err },
		"scan": func(d *pebble.DB) error { return checkRecords(d, acked) },
		"scan back": func(d *pebble.DB) error {
			return d.ScanReverse(nil, nil, func(_, _ []byte) error { return nil })
		},
		"below a prefix": func(d *pebble.DB) error {
			_, err := store.Sub(d, "record/").Get(bytes.TrimPrefix(cold, []byte("record/")))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := files.fs(t)
			d, err := pebble.Open("data", quiet(fs)) // moves what the log holds into a table
			require.NoError(t, err)
			table := flipIn(t, fs, random)
			got, err := d.Get(whole)
			require.NoError(t, err)
			require.Equal(t, want, got)
			err = meet(d)
			require.Equal(t, table, requireDamaged(t, err))
			require.ErrorContains(t, err, "sw4rm buffer verify")
			requireFailed(t, d, err)
			require.NoError(t, d.Close())

			r, err := pebble.OpenReader("data", quiet(fs))
			require.NoError(t, err)
			for range 2 {
				_, err = r.Get(cold)
				require.Equal(t, table, requireDamaged(t, err))
				require.NotErrorIs(t, err, store.ErrFailed)
				got, err := r.Get(whole)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			require.NoError(t, r.Close())
		})
	}
}

// flipIn changes a bit of the only table that has this content, and returns the table's path. The store may be at work, and
// removes files of other kinds.
func flipIn(t *testing.T, fs vfs.FS, content []byte) string {
	t.Helper()
	names, err := fs.List("data")
	require.NoError(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		table := fs.PathJoin("data", name)
		f, err := fs.OpenReadWrite(table, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		data, err := io.ReadAll(f)
		require.NoError(t, err)
		at := bytes.Index(data, content)
		if at >= 0 {
			_, err = f.WriteAt([]byte{content[0] ^ 1}, int64(at))
			require.NoError(t, err)
		}
		require.NoError(t, f.Close())
		if at >= 0 {
			return table
		}
	}
	t.Fatal("no table has it")
	return ""
}

// TestBitFlipsWithoutNote damages the last log when the note beside it is missing, as after a power cut: all but the
// last group is still protected.
func TestBitFlipsWithoutNote(t *testing.T) {
	fs := vfs.NewMem()
	d, err := pebble.Open("data", quiet(fs))
	require.NoError(t, err)
	var acked []int
	last := 0 // the log's length before the last two groups
	for n := range 150 {
		if n == 148 {
			last = len(logOf(readImage(t, fs)))
		}
		require.NoError(t, appendRecord(t.Context(), d, n))
		acked = append(acked, n)
	}
	files := readImage(t, fs)
	require.NoError(t, d.Close())
	files = files.with("sw4rm.synced", nil)
	name := logName(files)
	for at := 0; at < last; at += 97 {
		require.True(t, requireDetected(t, files.with(name, flip(files[name], at)), acked), "byte %d", at)
	}
}

func logName(files image) string {
	var logs []string
	for name := range files {
		if strings.HasSuffix(name, ".log") {
			logs = append(logs, name)
		}
	}
	return slices.Max(logs)
}

func logOf(files image) []byte { return files[logName(files)] }

// TestTornTail cuts the log at every byte behind what was synced: the tail was never promised, so the store opens.
func TestTornTail(t *testing.T) {
	fs := vfs.NewMem()
	d, err := pebble.Open("data", quiet(fs))
	require.NoError(t, err)
	acked, err := appendUntil(t.Context(), d, 1, 0, 20)
	require.NoError(t, err)
	files := readImage(t, fs)
	require.NoError(t, d.Close())
	name := logName(files)
	tail := append(slices.Clone(files[name]), bytes.Repeat([]byte("torn"), 50)...)
	for n := len(files[name]); n <= len(tail); n += 7 {
		again, err := pebble.Open("data", quiet(files.with(name, tail[:n]).fs(t)))
		require.NoError(t, err)
		require.NoError(t, checkRecords(again, acked))
		require.NoError(t, again.Close())
	}
}

func TestNewerFormat(t *testing.T) {
	for _, text := range []string{"sw4rm format 2\nsomething new\ncrc32c f8c438e8\n"} {
		files := image{"sw4rm.format": []byte(text), "000001.log": {1}, "future": {2}}
		fs := files.fs(t)
		_, err := pebble.Open("data", quiet(fs))
		var version *store.VersionError
		require.ErrorAs(t, err, &version)
		require.Equal(t, store.VersionError{Dir: "data", Found: 2, Know: 1}, *version)
		require.Equal(t, files.sums(), readImage(t, fs).sums())
	}
}

func TestForeignDirectory(t *testing.T) {
	files := image{"thesis.tex": []byte("precious")}
	fs := files.fs(t)
	_, err := pebble.Open("data", quiet(fs))
	var refused *store.PermissionError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, files.sums(), readImage(t, fs).sums())
	require.False(t, errors.Is(err, store.ErrFailed))
}

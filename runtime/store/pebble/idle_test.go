package pebble_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// BenchmarkOpenSmall opens and closes a directory with a thousand records as an agent does, and reports the memory
// that the open store holds.
func BenchmarkOpenSmall(b *testing.B) {
	dir := b.TempDir()
	d, err := pebble.Open(dir, quiet(nil))
	require.NoError(b, err)
	_, err = appendUntil(b.Context(), d, 8, 0, 1000)
	require.NoError(b, err)
	require.NoError(b, d.Close())
	before := held()
	var during uint64
	for b.Loop() {
		d, err := pebble.Open(dir, quiet(nil))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		during = held()
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "open-ms")
	b.ReportMetric((float64(during)-float64(before))/(1<<20), "MiB-held")
}

// held is the memory of the process that is in use: what is resident where the system tells, as the engine's buffers
// are not on Go's heap when cgo is on, and the heap elsewhere.
func held() uint64 {
	debug.FreeOSMemory()
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		var all, resident uint64
		if _, err := fmt.Sscan(string(text), &all, &resident); err == nil {
			return resident * uint64(os.Getpagesize())
		}
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse + stats.StackInuse
}

// TestSmallStaysSmall holds an idle agent's store to 32 MiB after it has worked.
func TestSmallStaysSmall(t *testing.T) {
	before := held()
	d := open(t, t.TempDir(), quiet(nil))
	_, err := appendUntil(t.Context(), d, 8, 0, 5000)
	require.NoError(t, err)
	after := held()
	t.Logf("%d KiB more than before", (int64(after)-int64(before))>>10)
	require.Less(t, after, before+32<<20)
}

package bench_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	raw "github.com/cockroachdb/pebble/v2"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// BenchmarkStoreAppend appends durable records of 600 bytes, with our store and with Pebble alone.
func BenchmarkStoreAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			value := make([]byte, 600)
			compare(b, writers, "append/s", func(_, _ uint64) (write, write) {
				ours, theirs := openStore(b), openRaw(b)
				return func(ctx context.Context, key []byte) error {
					var batch store.Batch
					batch.Set(key, value)
					return store.Write(ctx, ours, &batch)
				}, func(_ context.Context, key []byte) error { return theirs.Set(key, value, raw.Sync) }
			})
		})
	}
}

// samples are the times of one side's appends, of its rounds, and of the process's processors in them.
type samples struct {
	count        atomic.Uint64
	times        []time.Duration
	elapsed, cpu time.Duration
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// round lets the writers append n records together.
func (s *samples) round(b *testing.B, writers, n int, write func(context.Context, []byte) error) {
	b.Helper()
	ctx := b.Context()
	var left atomic.Int64
	left.Store(int64(n))
	times := make([][]time.Duration, writers)
	var group sync.WaitGroup
	cpu := cpuTime()
	began := time.Now()
	for w := range writers {
		group.Go(func() {
			key := make([]byte, 0, 32)
			for left.Add(-1) >= 0 {
				key = recordKey(key[:0], s.count.Add(1))
				start := time.Now()
				if err := write(ctx, key); err != nil {
					b.Error(err)
					return
				}
				times[w] = append(times[w], time.Since(start))
			}
		})
	}
	group.Wait()
	s.elapsed += time.Since(began)
	s.cpu += cpuTime() - cpu
	s.times = append(s.times, slices.Concat(times...)...)
}

func recordKey(b []byte, n uint64) []byte { return fmt.Appendf(b, "out/%016d", n) }

// report gives the times, and what was done in a second under the name unit.
func (s *samples) report(b *testing.B, prefix, unit string) {
	slices.Sort(s.times)
	micros := func(part float64) float64 {
		return float64(s.times[int(part*float64(len(s.times)-1))]) / float64(time.Microsecond)
	}
	b.ReportMetric(micros(0.5), prefix+"p50-us")
	b.ReportMetric(micros(0.99), prefix+"p99-us")
	b.ReportMetric(float64(len(s.times))/s.elapsed.Seconds(), prefix+unit)
	b.ReportMetric(float64(s.cpu.Microseconds())/float64(len(s.times)), prefix+"cpu-us")
}

// workingDir makes a directory on the disk that holds this module: the system's temporary one may be in memory.
func workingDir(b *testing.B) string {
	b.Helper()
	if err := os.MkdirAll(".tmp", 0o700); err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp(".tmp", "store")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	return dir
}

func openStore(b *testing.B) *pebble.DB {
	b.Helper()
	d, err := pebble.Open(workingDir(b), pebble.Options{
		Profile: pebble.Service, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	return d
}

// openRaw opens Pebble with the sizes of our Service profile.
func openRaw(b *testing.B) *raw.DB {
	b.Helper()
	d, err := raw.Open(workingDir(b), &raw.Options{
		Logger:                      silent{},
		FormatMajorVersion:          raw.FormatTableFormatV6,
		MemTableSize:                32 << 20,
		MemTableStopWritesThreshold: 6,
		CacheSize:                   64 << 20,
		L0StopWritesThreshold:       64,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	return d
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(text string, args ...any) {
	panic(fmt.Sprintf(text, args...)) // Pebble must not go on
}

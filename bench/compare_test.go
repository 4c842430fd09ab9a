package bench_test

import (
	"context"
	"slices"
	"testing"
)

// write appends one record under a key.
type write func(ctx context.Context, key []byte) error

// maxOpen is after how many records a comparison goes on with new stores: as many operations as an activity buffer
// lets be open by default.
const maxOpen = 10_000

// compare lets ours and Pebble alone take turns in short rounds, since the disk's speed changes by the second, and only
// their ratio counts: x/raw is the time that ours took for a round over the time that Pebble alone took for the next one,
// the median of all rounds.
//
// open makes the stores for the records numbered after to last.
func compare(b *testing.B, writers int, unit string, open func(after, last uint64) (ours, alone write)) {
	b.Helper()
	var mine, theirs samples
	var ratios []float64
	var ours, alone write
	b.ResetTimer()
	for n, last := 0, 0; n < b.N; {
		if n == last {
			last = min(b.N, n+maxOpen)
			b.StopTimer()
			ours, alone = open(uint64(n), uint64(last))
			b.StartTimer()
		}
		round := min(last-n, 20*writers+80)
		mineBefore, theirsBefore := mine.elapsed, theirs.elapsed
		mine.round(b, writers, round, ours)
		theirs.round(b, writers, round, alone)
		n += round
		ratios = append(ratios, float64(mine.elapsed-mineBefore)/float64(theirs.elapsed-theirsBefore))
	}
	slices.Sort(ratios)
	mine.report(b, "", unit)
	theirs.report(b, "raw-", unit)
	b.ReportMetric(ratios[len(ratios)/2], "x/raw")
	b.ReportMetric(0, "ns/op") // of both together: says nothing
}

package bench_test

import (
	"context"
	"slices"
	"testing"
)

// compare lets ours and Pebble alone take turns in short rounds, since the disk's speed changes by the second, and only
// their ratio counts: x/raw is the time that ours took for a round over the time that Pebble alone took for the next one,
// the median of all rounds. after, when given, runs after each round of ours and is not timed.
func compare(b *testing.B, writers int, unit string, ours, alone func(context.Context, []byte) error, after func(keys []uint64)) {
	b.Helper()
	var mine, theirs samples
	var ratios []float64
	b.ResetTimer()
	for n := 0; n < b.N; {
		round := min(b.N-n, 20*writers+80)
		mineBefore, theirsBefore := mine.elapsed, theirs.elapsed
		began := mine.count.Load()
		mine.round(b, writers, round, ours)
		if after != nil {
			after(span(began, mine.count.Load()))
		}
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

// span returns the numbers of a round's keys.
func span(after, last uint64) []uint64 {
	keys := make([]uint64, 0, last-after)
	for n := after + 1; n <= last; n++ {
		keys = append(keys, n)
	}
	return keys
}

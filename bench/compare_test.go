package bench_test

import (
	"context"
	"slices"
	"testing"
)

// compare lets ours and Pebble alone take turns in short rounds, since the disk's speed changes by the second, and only
// their ratio counts: x/raw is the time that ours took for a round over the time that Pebble alone took for the next one,
// the median of all rounds.
func compare(b *testing.B, writers int, unit string, ours, alone func(context.Context, []byte) error) {
	b.Helper()
	var mine, theirs samples
	var ratios []float64
	b.ResetTimer()
	for n := 0; n < b.N; {
		round := min(b.N-n, 20*writers+80)
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

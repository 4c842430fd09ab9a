package pebble_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSalvageOfTablesDamagedTwice damages both what tells where a table's blocks are and one of its blocks: what lies behind
// that block is found all the same.
func TestSalvageOfTablesDamagedTwice(t *testing.T) {
	files, acked := filled(t, true)
	want := keysOf(acked)
	tables := 0
	for _, file := range slices.Sorted(maps.Keys(files)) {
		data := files[file]
		if !strings.HasSuffix(file, ".sst") || len(data) < 8<<10 {
			continue
		}
		tables++
		blind := files.with(file, flip(data, len(data)-2)) // its footer
		all, lost := salvage(t, blind)
		require.Equal(t, len(want), len(all), "%s: all blocks are whole: %v", file, lost)
		for _, at := range []int{5, len(data) / 4, len(data) / 2} {
			found, lost := salvage(t, blind.with(file, flip(blind[file], at)))
			require.GreaterOrEqual(t, len(lost), 2, "both damages are told")
			missing := len(want) - len(found)
			require.Less(t, missing, 40, "%s at %d: more than a block is missing: %v", file, at, lost)
			for key := range found {
				require.True(t, want[key], "%s was never there", key)
			}
		}
	}
	require.GreaterOrEqual(t, tables, 2)
}

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
	// Which tables there are depends on how far the engine's own work has come.
	const most = 20
	tables := 0
	for tries := 0; tables < 2; tries++ {
		require.Less(t, tries, most)
		tables += damageTablesTwice(t)
	}
}

// damageTablesTwice returns how many tables it has found to damage.
func damageTablesTwice(t *testing.T) (tables int) {
	t.Helper()
	files, acked := filled(t, true)
	want := keysOf(acked)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		data := files[file]
		if !strings.HasSuffix(file, ".sst") || len(data) < 8<<10 {
			continue
		}
		blind := files.with(file, flip(data, len(data)-2)) // its footer
		all, lost := salvage(t, blind)
		if len(lost) == 0 {
			continue // a compaction has replaced it, and it is no part of the store any more
		}
		tables++
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
	return tables
}

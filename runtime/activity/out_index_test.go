package activity

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
)

// An index holds what was added and not removed, newest first, whatever is removed first.
func TestOutIndex(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	index := outIndex{}
	var want []uint64
	entries := map[uint64]*outEntry{}
	for seq := uint64(1); seq <= 300; seq++ {
		e := &outEntry{rec: &storagepb.OutRecord{Sequence: seq}}
		e.talk.entry = e
		index.add("talk", &e.talk)
		entries[seq], want = e, append([]uint64{seq}, want...)
		if random.IntN(3) > 0 {
			gone := random.IntN(len(want))
			index.remove("talk", &entries[want[gone]].talk)
			want = slices.Delete(want, gone, gone+1)
		}
		var got []uint64
		for e := range index.all("talk") {
			got = append(got, e.rec.GetSequence())
		}
		require.ElementsMatch(t, want, got)
		require.True(t, slices.IsSortedFunc(got, func(x, y uint64) int { return int(y) - int(x) }))
		if only := index.only("talk"); len(want) == 1 {
			require.Equal(t, want[0], only.rec.GetSequence())
		} else {
			require.Nil(t, only)
		}
	}
	for _, seq := range want {
		index.remove("talk", &entries[seq].talk)
	}
	require.Empty(t, index)
	require.Nil(t, index.only("talk"))
}

package history

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFilesAreMergedByTime(t *testing.T) {
	dir := t.TempDir()
	var writing sync.WaitGroup
	for _, actor := range []string{"client.1", "worker.1"} {
		w, err := Create(dir, actor)
		require.NoError(t, err)
		for range 4 {
			writing.Go(func() {
				for range 250 {
					w.Add(Event{Op: Send, Kind: Call, Key: "some operation"})
				}
			})
		}
		t.Cleanup(func() { require.NoError(t, w.Close()) })
	}
	writing.Wait()

	events, err := Read(dir, "")
	require.NoError(t, err)
	require.Len(t, events, 2000)
	for i := 1; i < len(events); i++ {
		require.LessOrEqual(t, events[i-1].T, events[i].T)
	}
	mine, err := Read(dir, "client.")
	require.NoError(t, err)
	require.Len(t, mine, 1000)
	require.Equal(t, "client.1", mine[0].Actor)
}

func TestTornLines(t *testing.T) {
	tests := []struct {
		name, text string
		events     int
		broken     bool
	}{
		{name: "the last line may be torn", text: `{"t":1,"actor":"a","op":"kill","kind":"info"}` + "\n" + `{"t":2,"act`, events: 1},
		{name: "no other line may be", text: `{"t":1,"act` + "\n" + `{"t":2,"actor":"a","op":"kill","kind":"info"}` + "\n", broken: true},
		{name: "an empty file is a process that did nothing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "a.jsonl"), []byte(test.text), 0o600))
			events, err := Read(dir, "")
			if test.broken {
				require.ErrorContains(t, err, "a.jsonl:1")
				return
			}
			require.NoError(t, err)
			require.Len(t, events, test.events)
		})
	}
}

func TestWritingFails(t *testing.T) {
	_, err := Create(filepath.Join(t.TempDir(), "missing"), "a")
	require.ErrorIs(t, err, os.ErrNotExist)

	w, err := Create(t.TempDir(), "a")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	w.Add(Event{Op: Kill, Kind: Info})
	require.ErrorIs(t, w.Close(), os.ErrClosed)
}

func TestClockMovesForward(t *testing.T) {
	last := Now()
	for range 1000 {
		now := Now()
		require.GreaterOrEqual(t, now, last)
		last = now
	}
}

package history

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// poisoned is the history of an operation that is given up after some runs. Those in how are 'k' for one that a kill cuts
// off, 'r' for one that returns before the kill, 's' for a kill before the handler notes anything, 'd' for a process that
// ends as it was asked to, and 'f' for an attempt that fails.
func poisoned(how string) []Event {
	events := []Event{
		{T: 1, Actor: client, Op: Send, Kind: Call, Key: "b"},
		{T: 2, Actor: client, Op: Send, Kind: Return, Key: "b", Token: "t-b"},
	}
	now, attempt := int64(10), 1
	for i, c := range how {
		process := fmt.Sprintf("worker.%d", i+10)
		run := Event{T: now, Actor: process, Op: Handle, Kind: Call, Key: "b", Token: "t-b", Run: i + 1, Attempt: attempt}
		end := Event{T: now + 2, Actor: process, Op: Kill, Kind: Info}
		back := run
		back.T, back.Kind = now+1, Return
		switch c {
		case 'k':
			events = append(events, run, end)
		case 'r':
			back.Stage = "FULFILLED"
			events = append(events, run, back, end)
		case 's':
			events = append(events, end)
		case 'd':
			end.Op = Down
			events = append(events, run, back, end)
		case 'f':
			back.Stage = "FAILED"
			events = append(events, run, back, end)
			attempt++
		}
		now += 10
	}
	return append(events, Event{
		T: now, Actor: client, Op: Finish, Kind: Return, Key: "b", Token: "t-b", Stage: "FAILED", Code: "INTERNAL_ERROR", Note: "poison: it never ended",
	})
}

// TestPoisonIsEarned accepts that a message is given up after five runs were cut off, and no sooner.
func TestPoisonIsEarned(t *testing.T) {
	for how, earned := range map[string]bool{
		"": false, "kkkk": false, "kkkkd": false, "kkkss": false, "fkkkk": false, "dkkkkd": false,
		"kkkkk": true, "kkkkr": true, "krkrk": true, "kkskk": true, "kkkks": true, "fkkkkk": true, "kdkkkk": true,
	} {
		t.Run(how, func(t *testing.T) {
			err := Check(poisoned(how), Floor{})
			if earned {
				require.NoError(t, err)
				return
			}
			var v *Violation
			require.ErrorAs(t, err, &v)
			require.Equal(t, Poisoned, v.Check)
		})
	}
}

// TestPoisonCountsOneAgent does not add up the runs of several agents.
func TestPoisonCountsOneAgent(t *testing.T) {
	events := poisoned("kkkkkk")
	for i, e := range events {
		for _, half := range []string{"worker.13", "worker.14", "worker.15"} {
			if e.Actor == half {
				events[i].Actor = "other.1" + half
			}
		}
	}
	var v *Violation
	require.ErrorAs(t, Check(events, Floor{}), &v)
	require.Equal(t, Poisoned, v.Check)
}

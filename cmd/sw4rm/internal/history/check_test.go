package history

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	client = "client.1"
	worker = "worker.1"
	second = "worker.2"
)

// sound is the history of one operation: a first attempt fails, its worker is killed in the second, and a later process of
// the worker fulfils it.
func sound() []Event {
	return []Event{
		{T: 1, Actor: client, Op: Send, Kind: Call, Key: "a"},
		{T: 2, Actor: client, Op: Send, Kind: Return, Key: "a", Token: "t-a"},
		{T: 3, Actor: client, Op: Stage, Kind: Info, Key: "a", Message: "m-1", Stage: "RECEIVED"},
		{T: 4, Actor: worker, Op: Handle, Kind: Call, Key: "a", Token: "t-a", Run: 1},
		{T: 5, Actor: worker, Op: Handle, Kind: Return, Key: "a", Token: "t-a", Run: 1, Stage: "FAILED"},
		{T: 6, Actor: client, Op: Stage, Kind: Info, Key: "a", Message: "m-1", Stage: "FAILED"},
		{T: 7, Actor: worker, Op: Handle, Kind: Call, Key: "a", Token: "t-a", Run: 2},
		{T: 8, Actor: client, Op: Stage, Kind: Info, Key: "a", Message: "m-2", Stage: "READ"},
		{T: 9, Actor: worker, Op: Kill, Kind: Info},
		{T: 10, Actor: second, Op: Handle, Kind: Call, Key: "a", Token: "t-a", Run: 3},
		{T: 11, Actor: second, Op: Handle, Kind: Return, Key: "a", Token: "t-a", Run: 3, Stage: "FULFILLED"},
		{T: 12, Actor: client, Op: Stage, Kind: Info, Key: "a", Message: "m-2", Stage: "FULFILLED"},
		{T: 13, Actor: client, Op: Finish, Kind: Return, Key: "a", Stage: "FULFILLED"},
		{T: 14, Actor: client, Op: Finish, Kind: Return, Key: "a", Token: "t-a", Stage: "FULFILLED", Code: "DUPLICATE_DETECTED"},
		{T: 20, Actor: second, Op: Record, Kind: Info, Key: "a", Token: "t-a", Stage: "FULFILLED"},
	}
}

func TestSoundHistory(t *testing.T) {
	require.NoError(t, Check(sound(), Floor{Operations: 1, Kills: 1}))
	require.Equal(t, Summary{Operations: 1, Finished: 1, Fulfilled: 1, Runs: 3, CutOff: 1, Kills: 1, Overlapping: 1}, Summarize(sound()))
}

// TestUnknownMayBeEither accepts that a send without a known result was never accepted, or was.
func TestUnknownMayBeEither(t *testing.T) {
	lost := []Event{{T: 30, Actor: client, Op: Send, Kind: Call, Key: "b"}, {T: 31, Actor: "client.2", Op: Send, Kind: Unknown, Key: "b"}}
	events := append(sound(), lost...)
	require.NoError(t, Check(events, Floor{}))
	require.Equal(t, 1, Summarize(events).Unknown)
	require.NoError(t, Check(append(events,
		Event{T: 32, Actor: second, Op: Handle, Kind: Call, Key: "b", Token: "t-b", Run: 1},
		Event{T: 33, Actor: second, Op: Handle, Kind: Return, Key: "b", Token: "t-b", Run: 1, Stage: "FULFILLED"},
		Event{T: 34, Actor: "client.2", Op: Finish, Kind: Return, Key: "b", Token: "t-b", Stage: "FULFILLED"},
		Event{T: 35, Actor: second, Op: Record, Kind: Info, Key: "b", Token: "t-b", Stage: "FULFILLED"},
	), Floor{}))
}

// TestChecksCanFail breaks each promise in an otherwise sound history.
func TestChecksCanFail(t *testing.T) {
	tests := []struct {
		name  string
		check string
		floor Floor
		more  []Event
		drop  func(Event) bool
	}{
		{
			name: "accepted and never finished", check: Lost,
			more: []Event{{T: 30, Actor: client, Op: Send, Kind: Call, Key: "b"}, {T: 31, Actor: client, Op: Send, Kind: Return, Key: "b", Token: "t-b"}},
		},
		{
			name: "the sender is told two outcomes", check: OneOutcome,
			more: []Event{{T: 30, Actor: client, Op: Finish, Kind: Return, Key: "a", Token: "t-a", Stage: "FAILED"}},
		},
		{
			name: "the sender is told two codes of a failure", check: OneOutcome,
			more: []Event{
				{T: 30, Actor: client, Op: Finish, Kind: Return, Key: "b", Stage: "FAILED", Code: "INTERNAL_ERROR"},
				{T: 31, Actor: client, Op: Finish, Kind: Return, Key: "b", Stage: "FAILED", Code: "OVERLOADED"},
			},
		},
		{
			name: "one token for two operations", check: OneOutcome,
			more: []Event{{T: 30, Actor: second, Op: Handle, Kind: Call, Key: "b", Token: "t-a", Run: 9}},
		},
		{
			name: "two tokens for one operation", check: OneOutcome,
			more: []Event{{T: 30, Actor: second, Op: Handle, Kind: Call, Key: "a", Token: "t-b", Run: 9}},
		},
		{
			name: "recorded as done, reported as failed", check: OneOutcome,
			more: []Event{
				{T: 30, Actor: second, Op: Record, Kind: Info, Key: "b", Token: "t-b", Stage: "FULFILLED"},
				{T: 31, Actor: client, Op: Finish, Kind: Return, Key: "b", Token: "t-b", Stage: "FAILED"},
			},
		},
		{
			name: "reported as done, recorded nowhere", check: OneOutcome,
			more: []Event{
				{T: 30, Actor: second, Op: Handle, Kind: Call, Key: "b", Token: "t-b", Run: 1},
				{T: 31, Actor: second, Op: Handle, Kind: Return, Key: "b", Token: "t-b", Run: 1, Stage: "FULFILLED"},
				{T: 32, Actor: client, Op: Finish, Kind: Return, Key: "b", Stage: "FULFILLED"},
			},
		},
		{
			name: "reported as done, never run to its end", check: OneOutcome,
			drop: func(e Event) bool { return e.Op == Handle && e.Kind == Return && e.Run == 3 },
		},
		{
			name: "an attempt goes back", check: Forward,
			more: []Event{
				{T: 30, Actor: client, Op: Stage, Kind: Info, Message: "m-9", Stage: "READ"},
				{T: 31, Actor: client, Op: Stage, Kind: Info, Message: "m-9", Stage: "RECEIVED"},
			},
		},
		{
			name: "an attempt changes its final stage", check: Forward,
			more: []Event{{T: 30, Actor: client, Op: Stage, Kind: Info, Message: "m-1", Stage: "FULFILLED"}},
		},
		{
			name: "another process forgets a final stage", check: Forward,
			more: []Event{{T: 30, Actor: "client.2", Op: Stage, Kind: Info, Message: "m-1", Stage: "READ"}},
		},
		{
			name: "a stage that is none", check: Forward,
			more: []Event{{T: 30, Actor: client, Op: Stage, Kind: Info, Message: "m-9", Stage: "DONE"}},
		},
		{
			name: "two members of a capability fulfil it", check: Once,
			more: []Event{{T: 30, Actor: "other.1", Op: Record, Kind: Info, Key: "a", Token: "t-a", Stage: "FULFILLED"}},
		},
		{
			name: "two runs at the same time", check: NoOverlap,
			more: []Event{
				{T: 10, Actor: "other.1", Op: Handle, Kind: Call, Key: "a", Token: "t-a", Run: 1},
				{T: 12, Actor: "other.1", Op: Handle, Kind: Return, Key: "a", Token: "t-a", Run: 1},
			},
		},
		{
			name: "a run goes on while the next begins, without a kill", check: NoOverlap,
			drop: func(e Event) bool { return e.Op == Kill },
		},
		{name: "too few operations", check: NotVacuous, floor: Floor{Operations: 2}},
		{
			name: "kills only while nothing happens", check: NotVacuous, floor: Floor{Kills: 2},
			more: []Event{{T: 30, Actor: second, Op: Kill, Kind: Info}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var events []Event
			for _, e := range append(sound(), test.more...) {
				if test.drop == nil || !test.drop(e) {
					events = append(events, e)
				}
			}
			err := Check(events, test.floor)
			require.Error(t, err)
			var v *Violation
			require.ErrorAs(t, err, &v)
			require.Equal(t, []string{test.check}, names(err), "%v", err)
		})
	}
}

// names returns the distinct checks that failed, in order.
func names(err error) []string {
	var all []string
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, err := range joined.Unwrap() {
		var v *Violation
		if errors.As(err, &v) && (len(all) == 0 || all[len(all)-1] != v.Check) {
			all = append(all, v.Check)
		}
	}
	return all
}

package history

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// waiting is an operation that is sent at 100 and ends at 200, and in between there is nothing but more.
func waiting(more ...Event) []Event {
	return append([]Event{
		{T: 90, Actor: "other.1", Op: Up, Kind: Info},
		{T: 99, Actor: client, Op: Send, Kind: Call, Key: "b", To: "agent:other", Lane: "l", N: 2},
		{T: 100, Actor: client, Op: Send, Kind: Return, Key: "b", Token: "t-b"},
		{T: 200, Actor: client, Op: Finish, Kind: Return, Key: "b", Stage: "FAILED", Code: "NO_ROUTE"},
	}, more...)
}

// ahead is an operation before the one of waiting, in the same lane, with an event at 150 and its end at 240.
func ahead() []Event {
	return []Event{
		{T: 95, Actor: client, Op: Send, Kind: Call, Key: "c", To: "agent:third", Lane: "l", N: 1},
		{T: 96, Actor: client, Op: Send, Kind: Return, Key: "c", Token: "t-c"},
		{T: 150, Actor: client, Op: Stage, Kind: Info, Key: "c", Message: "m-c", Stage: "READ"},
		{T: 240, Actor: client, Op: Finish, Kind: Return, Key: "c", Stage: "FAILED", Code: "NO_ROUTE"},
	}
}

// TestProgress tells times in which nothing happens for no reason from those that have one.
func TestProgress(t *testing.T) {
	tests := []struct {
		name  string
		more  []Event
		still int64
	}{
		{"nothing happens", nil, 100},
		{"stages move", []Event{{T: 130, Actor: client, Op: Stage, Kind: Info, Key: "b", Message: "m-b", Stage: "RECEIVED"}}, 70},
		{"the router takes it", []Event{{T: 160, Op: Accept, Kind: Info, Token: "t-b"}}, 60},
		{"a fault begins the time anew", []Event{{T: 120, Op: Fault, Kind: Info, To: "other"}, {T: 180, Actor: "third.1", Op: Up, Kind: Info}}, 60},
		{"a handler works on it", []Event{
			{T: 110, Actor: "other.1", Op: Handle, Kind: Call, Key: "b", Token: "t-b", Run: 1},
			{T: 170, Actor: "other.1", Op: Handle, Kind: Return, Key: "b", Token: "t-b", Run: 1, Stage: "FAILED"},
		}, 30},
		{"a handler works on another", []Event{
			{T: 110, Actor: "other.1", Op: Handle, Kind: Call, Key: "d", Token: "t-d", Run: 1},
			{T: 170, Actor: "other.1", Op: Handle, Kind: Return, Key: "d", Token: "t-d", Run: 1, Stage: "FAILED"},
		}, 100},
		{"its receiver is away", []Event{{T: 110, Actor: "other.1", Op: Kill, Kind: Info}, {T: 175, Actor: "other.2", Op: Up, Kind: Info}}, 25},
		{"whoever was at work on it is away", []Event{
			{T: 90, Actor: "fourth.1", Op: Up, Kind: Info},
			{T: 110, Actor: "fourth.1", Op: Handle, Kind: Call, Key: "b", Token: "t-b", Run: 1},
			{T: 111, Actor: "fourth.1", Op: Kill, Kind: Info},
			{T: 170, Actor: "fourth.2", Op: Up, Kind: Info},
		}, 30},
		{"whoever has it is away", []Event{
			{T: 90, Actor: "fourth.1", Op: Up, Kind: Info},
			{T: 110, Actor: "fourth.1", Op: Kill, Kind: Info},
			{T: 160, Actor: "fourth", Op: Hold, Kind: Info, Key: "b", Place: Answered, Cause: Absent, To: "fourth"},
			{T: 180, Actor: "fourth.2", Op: Up, Kind: Info},
		}, 20},
		{"one before it has not ended", append(ahead(), Event{T: 90, Actor: "third.1", Op: Down, Kind: Info}), 0},
		{"one before it stands still itself", ahead(), 90},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			events := waiting(test.more...)
			require.Equal(t, test.still, LongestStill(events))
			require.NotContains(t, names(Check(events, Floor{Idle: max(test.still, 1)})), Moves)
			if test.still > 0 {
				require.Contains(t, names(Check(events, Floor{Idle: test.still - 1})), Moves)
			}
		})
	}
	t.Run("what never ends", func(t *testing.T) {
		events := append(waiting()[:3], Event{T: 500, Actor: client, Op: Memory, Kind: Info})
		require.EqualValues(t, 401, LongestStill(events))
	})
	t.Run("a sender that does not know whether it sent", func(t *testing.T) {
		events := append(waiting()[:2], Event{T: 110, Actor: client, Op: Send, Kind: Unknown, Key: "b"}, Event{T: 500, Actor: client, Op: Memory, Kind: Info})
		require.Zero(t, LongestStill(events))
	})
}

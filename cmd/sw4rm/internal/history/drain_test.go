package history

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// stopped is an operation of which some things happen, after whose names are the numbers of processes: b for the begin of a
// handler, a for that of the second attempt's, i for the end of an interrupted one, q for that of one that waited for a silent
// reader, f and x for the good and the bad end; and a
// stop, the process's end, and an attempt's that is not good.
func stopped(steps ...string) []Event {
	all := []Event{{T: 30, Actor: client, Op: Send, Kind: Call, Key: "b"}, {T: 31, Actor: client, Op: Send, Kind: Return, Key: "b", Token: "t-b"}}
	attempt, message, runs := 1, "m-b", 0
	for i, step := range steps {
		e := Event{T: 32 + int64(i), Actor: "stopped." + step[len(step)-1:], Op: Handle, Kind: Call, Key: "b", Token: "t-b", Writes: "sum"}
		switch step[0] {
		case 'a':
			attempt, message = 2, "m-c"
		case 'i':
			e.Kind, e.Note = Return, "interrupted"
		case 'q':
			e.Kind, e.Note = Return, ReaderSilent
		case 'f':
			e.Kind, e.Stage = Return, fulfilled
		case 'x':
			e.Kind, e.Stage, e.Code = Return, "FAILED", "OVERLOADED"
		case 'd':
			e = Event{T: e.T, Actor: "stopped.1", Op: Down, Kind: Info}
		case 's':
			e = Event{T: e.T, Op: Fault, Kind: Info, To: "stopped.1", Note: step}
		case 'u':
			e = Event{T: e.T, Actor: client, Op: Stage, Kind: Info, Key: "b", Stage: "FAILED", Code: "OVERLOADED"}
		}
		if e.Op == Handle && e.Kind == Call {
			runs++
		}
		if e.Op == Handle || e.Op == Stage {
			e.Attempt, e.Message, e.Run = attempt, message, runs
		}
		all = append(all, e)
	}
	return append(all,
		Event{T: 50, Actor: client, Op: Finish, Kind: Return, Key: "b", Stage: "TIMED_OUT"},
	)
}

// other is another operation at the first process, whose handler writes what that of stopped does. Its end is told at a time.
func other(writes string, told int64) []Event {
	return []Event{
		{T: 20, Actor: client, Op: Send, Kind: Call, Key: "c"},
		{T: 21, Actor: "stopped.1", Op: Handle, Kind: Call, Key: "c", Token: "t-c", Message: "m-o", Attempt: 1, Run: 1, Writes: writes},
		{T: 22, Actor: "stopped.1", Op: Handle, Kind: Return, Key: "c", Token: "t-c", Message: "m-o", Attempt: 1, Run: 1, Writes: writes, Stage: fulfilled},
		{T: told, Actor: client, Op: Stage, Kind: Info, Key: "c", Message: "m-o", Stage: fulfilled},
	}
}

// TestDrained tells runs that a stop has cut off or repeated from those that are made again for a reason.
func TestDrained(t *testing.T) {
	both := func(events []Event, more []Event) []Event { return append(events, more...) }
	tests := []struct {
		name   string
		events []Event
		broken bool
	}{
		{"handled once", stopped("b1", "f1", "down"), false},
		{"cut off", stopped("b1", "down"), true},
		{"interrupted", stopped("b1", "i1", "down", "b2", "f2"), true},
		{"its reader was silent", stopped("b1", "q1", "down", "b2", "f2"), false},
		{"its reader was silent, and it runs again at the same process", stopped("b1", "q1", "b1", "f1"), true},
		{"handled twice", stopped("b1", "f1", "down", "b2", "f2"), true},
		{"handled twice at one process", stopped("b1", "f1", "b1", "f1"), true},
		{"a further attempt of what was fulfilled", stopped("b1", "f1", "down", "a2", "f2"), true},
		{"a further attempt of what has failed", stopped("b1", "x1", "down", "a2", "f2"), false},
		{"an attempt that ends as its handler", stopped("b1", "x1", "unlike"), false},
		{"an attempt that ends as no handler", stopped("b1", "f1", "unlike"), true},
		{"made void by another one", both(stopped("b1", "f1", "b1", "f1"), other("sum", 33)), false},
		{"made void by one that was known before", both(stopped("b1", "f1", "b1", "f1"), other("sum", 31)), true},
		{"made void by one that writes something else", both(stopped("b1", "f1", "b1", "f1"), other("else", 33)), true},
		{"made void by another one, and made again elsewhere", both(stopped("b1", "f1", "b2", "f2"), other("sum", 33)), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Check(test.events, Floor{Orderly: true})
			require.Equal(t, test.broken, err != nil, "%v", err)
			if test.broken {
				require.Equal(t, []string{Drained}, names(err))
			}
			require.NoError(t, Check(test.events, Floor{}), "only orderly runs promise it")
		})
	}
}

// TestAtWork counts faults of processes in which a handler is at work.
func TestAtWork(t *testing.T) {
	require.Zero(t, Summarize(stopped("b1", "f1", "stop")).AtWork)
	require.Equal(t, 1, Summarize(stopped("b1", "stop", "f1")).AtWork)
}

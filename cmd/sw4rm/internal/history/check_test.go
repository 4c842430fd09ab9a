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
	require.Equal(t, Summary{Operations: 1, Finished: 1, Fulfilled: 1, Runs: 3, CutOff: 1, Kills: 1, Overlapping: 1, AtWork: 1}, Summarize(sound()))
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
		{
			name: "accepted by the router and nowhere", check: Lost,
			more: []Event{{T: 30, Actor: "wire", Op: Accept, Kind: Info, Key: "b", Token: "t-b", Message: "m-9"}},
		},
		{
			name: "two stores are answerable", check: OneHolder,
			more: []Event{
				{T: 30, Op: Custody, Kind: Call, Token: "t-b", Message: "m-9", Store: "s-1"},
				{T: 31, Op: Custody, Kind: Call, Token: "t-b", Message: "m-9", Store: "s-2"},
				{T: 32, Op: Custody, Kind: Return, Token: "t-b", Message: "m-9", Store: "s-1"},
			},
		},
		{
			name: "a later store, while an earlier custody goes on behind a short one", check: OneHolder,
			more: []Event{
				{T: 30, Op: Custody, Kind: Call, Token: "t-b", Message: "m-8", Store: "s-1"},
				{T: 31, Op: Custody, Kind: Call, Token: "t-b", Message: "m-9", Store: "s-1"},
				{T: 32, Op: Custody, Kind: Return, Token: "t-b", Message: "m-9", Store: "s-1"},
				{T: 33, Op: Custody, Kind: Call, Token: "t-b", Message: "m-10", Store: "s-2"},
			},
		},
		{
			name: "two agents have it in the end", check: OneHolder,
			more: []Event{
				{T: 30, Actor: "other", Op: Hold, Kind: Info, Key: "b", Token: "t-b", Place: InCustody, Cause: Absent, To: "other"},
				{T: 31, Actor: "third", Op: Hold, Kind: Info, Key: "b", Token: "t-b", Place: InCustody, Cause: Absent, To: "third"},
			},
		},
		{
			name: "a lane is overtaken", check: InOrder,
			more: laned(36, 35),
		},
		{
			name: "a lane is overtaken by one after the next", check: InOrder,
			more: append(laned(35, 36), []Event{
				{T: 34, Actor: client, Op: Send, Kind: Call, Key: "d", Lane: "l", N: 3},
				{T: 34, Actor: client, Op: Send, Kind: Return, Key: "d", Lane: "l", Token: "t-d"},
				{T: 34, Actor: second, Op: Handle, Kind: Call, Key: "d", Token: "t-d", Run: 1},
				{T: 40, Actor: second, Op: Handle, Kind: Return, Key: "d", Token: "t-d", Run: 1, Stage: "FULFILLED"},
				{T: 41, Actor: client, Op: Finish, Kind: Return, Key: "d", Stage: "FULFILLED"},
				{T: 42, Actor: second, Op: Record, Kind: Info, Key: "d", Token: "t-d", Stage: "FULFILLED"},
			}...),
		},
		{name: "handled after its time to live", check: InTime, more: limited(45, "FULFILLED", "")},
		{name: "given up before its time to live", check: InTime, more: limited(32, "FAILED", "TTL_EXPIRED")},
		{name: "idle without a cause", check: TrueCause, more: held(Event{Place: InQueue})},
		{name: "idle for an agent that runs", check: TrueCause, more: held(Event{Place: InQueue, Cause: Absent, To: "other"})},
		{name: "idle for a handler that does not run", check: TrueCause, more: held(Event{Place: InCustody, Cause: Running})},
		{name: "idle behind nothing", check: TrueCause, more: held(Event{Place: InCustody, Cause: Behind, Lane: "l", N: 2})},
		{
			name: "ended, and still in the outbox", check: TrueCause,
			more: []Event{{T: 30, Actor: client, Op: Hold, Kind: Info, Key: "a", Token: "t-a", Place: InOutbox, Cause: Running}},
		},
		{
			name: "idle for an agent that has nothing to do with it", check: TrueCause,
			more: held(Event{Place: InQueue, Cause: Absent, To: "third"}),
		},
		{name: "found in the middle, and lost after it", check: Lost, more: examined(examination{then: []Event{}}, heldBy(InQueue, "up"))},
		{name: "nowhere in the middle", check: Lost, more: examined(examination{})},
		{name: "taken, and with its sender only", check: Handed, more: examined(examination{}, heldBy(Taken, "client"))},
		{
			name: "taken, and with its sender only in the end", check: Handed,
			more: examined(examination{then: []Event{}, last: true}, heldBy(Taken, "client")),
		},
		{
			name: "in two agents' custody in the middle", check: OneHolder,
			more: examined(examination{}, heldBy(InCustody, "worker"), heldBy(InCustody, "other")),
		},
		{name: "idle without a cause in the middle", check: TrueCause, more: examined(examination{}, Event{Op: Hold, Actor: "up", Place: InQueue})},
		{
			name: "fulfilled, and in custody again", check: Once,
			more: examined(examination{}, Event{Op: Record, Actor: "worker", Stage: fulfilled}, heldBy(InCustody, "other")),
		},
		{
			name: "fulfilled, and later not any more", check: Once,
			more: append(examined(examination{}, heldBy(Answered, "worker"), Event{Op: Record, Actor: "worker", Stage: fulfilled}),
				Event{T: 60, Actor: "worker", Op: Record, Kind: Info, Key: "b", Token: "t-b", Stage: "FAILED"}),
		},
		{
			name: "fulfilled, and later by another too", check: Once,
			more: append(examined(examination{}, heldBy(Answered, "worker"), Event{Op: Record, Actor: "worker", Stage: fulfilled}),
				Event{T: 60, Actor: "other", Op: Record, Kind: Info, Key: "b", Token: "t-b", Stage: fulfilled}),
		},
		{name: "too few examinations", check: NotVacuous, floor: Floor{Examinations: 1}},
		{name: "too few open", check: NotVacuous, floor: Floor{Open: 2}, more: examined(examination{}, heldBy(InQueue, "up"))},
		{name: "too few in outboxes", check: NotVacuous, floor: Floor{InOutboxes: 1}, more: examined(examination{}, heldBy(InQueue, "up"))},
		{name: "too few in queues", check: NotVacuous, floor: Floor{InQueues: 1}, more: examined(examination{}, heldBy(InCustody, "worker"))},
		{name: "too few in custody", check: NotVacuous, floor: Floor{InCustody: 1}, more: examined(examination{}, heldBy(InQueue, "up"))},
		{name: "faults of idle processes", check: NotVacuous, floor: Floor{AtWork: 2}, more: stopped("b1", "f1", "stop")},
		{name: "too much memory", check: Bounded, floor: Floor{Memory: 100}, more: grown(80, 0, 1, 101)},
		{name: "ever more memory", check: Bounded, more: grown(80, 64<<20, 8<<20, 0)},
		{name: "too few other faults", check: NotVacuous, floor: Floor{Faults: 1}},
		{name: "too little accepted", check: NotVacuous, floor: Floor{Accepted: 1}},
		{name: "too few custodies", check: NotVacuous, floor: Floor{Custodies: 1}},
		{name: "no lanes", check: NotVacuous, floor: Floor{Lanes: 1}},
		{name: "no times to live", check: NotVacuous, floor: Floor{Limited: 1}},
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

// laned are two operations of a lane, of which one was sent after the other; they are handled from begins.
func laned(begins ...int64) []Event {
	var all []Event
	for i, begin := range begins {
		key := string(rune('b' + i))
		at, token := int64(30+2*i), "t-"+key
		all = append(all,
			Event{T: at, Actor: client, Op: Send, Kind: Call, Key: key, Lane: "l", N: i + 1},
			Event{T: at + 1, Actor: client, Op: Send, Kind: Return, Key: key, Token: token},
			Event{T: begin, Actor: second, Op: Handle, Kind: Call, Key: key, Token: token, Run: 1},
			Event{T: 40, Actor: second, Op: Handle, Kind: Return, Key: key, Token: token, Run: 1, Stage: "FULFILLED"},
			Event{T: 41, Actor: client, Op: Finish, Kind: Return, Key: key, Stage: "FULFILLED"},
			Event{T: 42, Actor: second, Op: Record, Kind: Info, Key: key, Token: token, Stage: "FULFILLED"},
		)
	}
	return all
}

// limited is an operation that may begin until 41 at the latest.
func limited(end int64, stage, code string) []Event {
	all := []Event{
		{T: 30, Actor: client, Op: Send, Kind: Call, Key: "b", TTL: 10},
		{T: 31, Actor: client, Op: Send, Kind: Return, Key: "b", Token: "t-b"},
		{T: end + 1, Actor: client, Op: Finish, Kind: Return, Key: "b", Stage: stage, Code: code},
	}
	if stage == fulfilled {
		all = append(all,
			Event{T: end, Actor: second, Op: Handle, Kind: Call, Key: "b", Token: "t-b", Run: 1},
			Event{T: end, Actor: second, Op: Handle, Kind: Return, Key: "b", Token: "t-b", Run: 1, Stage: stage},
			Event{T: end + 2, Actor: second, Op: Record, Kind: Info, Key: "b", Token: "t-b", Stage: stage},
		)
	}
	return all
}

// held is an accepted operation that is found in the end, while an agent called other runs.
func held(e Event) []Event {
	e.T, e.Actor, e.Op, e.Kind, e.Key, e.Token = 40, "test", Hold, Info, "b", "t-b"
	return []Event{
		{T: 30, Actor: client, Op: Send, Kind: Call, Key: "b", To: "agent:nobody"},
		{T: 31, Actor: client, Op: Send, Kind: Return, Key: "b", Token: "t-b"},
		{T: 32, Actor: "other.1", Op: Up, Kind: Info},
		e,
	}
}

// examination is one of an accepted operation, that ends afterwards unless it is said what happens then. Unless it is the last,
// processes begin again.
type examination struct {
	then []Event
	last bool
}

// heldBy is found at an examination, where a dead agent has it.
func heldBy(place Place, holder string) Event {
	return Event{Op: Hold, Actor: holder, Place: place, Message: "m-b", Cause: Absent, To: holder}
}

// examined is an examination in which some things are found, while nothing runs.
func examined(x examination, found ...Event) []Event {
	all := []Event{
		{T: 30, Actor: client, Op: Send, Kind: Call, Key: "b"},
		{T: 31, Actor: client, Op: Send, Kind: Return, Key: "b", Token: "t-b"},
	}
	for _, e := range found {
		e.T, e.Kind, e.Key, e.Token = 40, Info, "b", "t-b"
		all = append(all, e)
	}
	all = append(all, Event{T: 41, Op: Examined, Kind: Info})
	if !x.last {
		all = append(all, Event{T: 42, Actor: "worker.9", Op: Up, Kind: Info})
	}
	if x.then != nil {
		return append(all, x.then...)
	}
	return append(all,
		Event{T: 43, Actor: "worker.9", Op: Handle, Kind: Call, Key: "b", Token: "t-b", Run: 1},
		Event{T: 44, Actor: "worker.9", Op: Handle, Kind: Return, Key: "b", Token: "t-b", Run: 1, Stage: fulfilled},
		Event{T: 45, Actor: client, Op: Finish, Kind: Return, Key: "b", Stage: fulfilled},
		Event{T: 46, Actor: "worker", Op: Record, Kind: Info, Key: "b", Token: "t-b", Stage: fulfilled},
	)
}

// grown are n samples of a process's memory, that begin at a size and grow by a step; the last is as given, if it is.
func grown(n int, from, step, last int64) []Event {
	var all []Event
	for i := range n {
		all = append(all, Event{T: 50 + int64(i), Actor: worker, Op: Memory, Kind: Info, Bytes: from + int64(i)*step})
	}
	if last != 0 {
		all[n-1].Bytes = last
	}
	return all
}

// TestSoundHistories has what the checks must not take for a fault.
func TestSoundHistories(t *testing.T) {
	tests := map[string][]Event{
		"a lane in order":      laned(35, 36),
		"just in time":         limited(40, "FULFILLED", ""),
		"given up in time":     limited(41, "FAILED", "TTL_EXPIRED"),
		"an absent agent":      held(Event{Place: InQueue, Cause: Absent, To: "nobody"}),
		"a dead letter":        held(Event{Place: Dead}),
		"memory that stays":    grown(80, 1000, 0, 0),
		"memory that warms up": grown(80, 64<<20, 3<<20, 0),
		"custody goes on with a new attempt": {
			{T: 30, Op: Custody, Kind: Call, Token: "t-b", Message: "m-8", Store: "s-1"},
			{T: 31, Op: Custody, Kind: Return, Token: "t-b", Message: "m-8", Store: "s-1"},
			{T: 32, Op: Custody, Kind: Call, Token: "t-b", Message: "m-9", Store: "s-2"},
			{T: 33, Op: Custody, Kind: Call, Token: "t-b", Message: "m-8", Store: "s-1", Note: "a copy of what has ended"},
		},
		"in the middle it waits in a queue":        examined(examination{}, heldBy(InOutbox, "client"), heldBy(InQueue, "up")),
		"in the middle it is taken and in custody": examined(examination{}, heldBy(Taken, "client"), heldBy(InCustody, "worker")),
		"in the middle its receiver has ended it": examined(examination{}, heldBy(Taken, "client"), heldBy(Answered, "worker"),
			Event{Op: Record, Actor: "worker", Stage: fulfilled}),
		"in the middle its sender has taken it back, and does not know yet": examined(examination{}, heldBy(Taken, "client"), heldBy(Answered, "up")),
		"in the end it is taken and dead": examined(examination{then: []Event{}, last: true}, heldBy(Taken, "client"),
			Event{Op: Hold, Actor: "up", Place: Dead, Message: "m-b"}),
		"a handler that runs": append(held(Event{Place: InCustody, Cause: Running}),
			Event{T: 33, Actor: "other.1", Op: Handle, Kind: Call, Key: "b", Token: "t-b", Run: 1}),
		"one that waits behind another": append(held(Event{Place: InCustody, Cause: Behind, Lane: "l", N: 2}),
			Event{T: 30, Actor: client, Op: Send, Kind: Call, Key: "c", To: "agent:nobody"},
			Event{T: 31, Actor: client, Op: Send, Kind: Return, Key: "c", Token: "t-c"},
			Event{T: 40, Actor: "test", Op: Hold, Kind: Info, Key: "c", Token: "t-c", Place: InQueue, Cause: Absent, To: "nobody", Lane: "l", N: 1}),
	}
	for name, more := range tests {
		t.Run(name, func(t *testing.T) { require.NoError(t, Check(append(sound(), more...), Floor{})) })
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

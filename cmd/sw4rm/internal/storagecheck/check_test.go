package storagecheck

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sound is the history of two objects: one is written, moved forward without waiting for the disk, and ended; the other
// one is written after that, and gone at last.
func sound() []Event {
	open := State{Number: 1, Stage: "RECEIVED", Attempts: []Attempt{{ID: "m-1"}}, Answer: "open"}
	read := open
	read.Stage, read.Attempts, read.Runs = "READ", []Attempt{{ID: "m-1", Stage: "READ"}}, 1
	done := read
	done.Stage, done.Outcome, done.Attempts = "FULFILLED", "FULFILLED", []Attempt{{ID: "m-1", Stage: "FULFILLED"}}
	other := State{Number: 2, Body: "x"}
	return []Event{
		{Op: "write", Kind: Call, Object: "a"}, // 0
		{Op: "write", Kind: Return, Began: 0, Object: "a", Durable: true, Given: []Given{{"n", 1, "a"}}, Saw: []Version{{Object: "a", State: open}}},
		{Op: "read", Kind: Call, Object: "a"}, // 2
		{Op: "read", Kind: Return, Began: 2, Object: "a", Saw: []Version{{Object: "a", State: read}}},
		{Op: "end", Kind: Call, Object: "a"}, // 4
		{Op: "end", Kind: Return, Began: 4, Object: "a", Durable: true, Saw: []Version{{Object: "a", State: done}}},
		{Op: "write", Kind: Call, Object: "b"}, // 6
		{Op: "write", Kind: Return, Began: 6, Object: "b", Durable: true, Given: []Given{{"n", 2, "b"}}, Saw: []Version{{Object: "b", State: other}}},
		{Op: "prune", Kind: Call}, // 8
		{Op: "prune", Kind: Return, Began: 8, Saw: []Version{{Object: "b"}}},
	}
}

// at returns what the objects are after the n-th of their versions, 0 for not there.
func at(t *testing.T, a, b int) map[string]State {
	t.Helper()
	events := sound()
	objects := map[string]State{}
	if a > 0 {
		objects["a"] = events[2*a-1].Saw[0].State
	}
	if b == 1 {
		objects["b"] = events[7].Saw[0].State
	}
	return objects
}

func TestSoundImages(t *testing.T) {
	run, err := NewRun(sound())
	require.NoError(t, err)
	for _, tc := range []struct {
		cut  Cut
		a, b int
		want Found
	}{
		{Cut{0, 0}, 0, 0, Found{}},
		{Cut{1, 1}, 0, 0, Found{Cut: true, Behind: true}}, // it may be there
		{Cut{1, 1}, 1, 0, Found{Cut: true}},
		{Cut{2, 2}, 1, 0, Found{Vouched: 1}},
		{Cut{4, 4}, 1, 0, Found{Vouched: 1, Behind: true}},
		{Cut{4, 4}, 2, 0, Found{Vouched: 1}},
		{Cut{4, 5}, 3, 0, Found{Vouched: 1}}, // it began while the image was taken
		{Cut{6, 6}, 3, 0, Found{Vouched: 1}},
		{Cut{7, 7}, 3, 1, Found{Cut: true, Vouched: 1}},
		{Cut{8, 8}, 3, 1, Found{Vouched: 2}},
		{Cut{10, 10}, 3, 1, Found{Vouched: 2, Behind: true}},
		{Cut{10, 10}, 3, 0, Found{Vouched: 2}},
	} {
		found, err := run.Check(tc.cut, Dump{Objects: at(t, tc.a, tc.b)})
		require.NoError(t, err, "%v %d %d", tc.cut, tc.a, tc.b)
		require.Equal(t, tc.want, found, "%v %d %d", tc.cut, tc.a, tc.b)
	}
}

func TestBrokenImages(t *testing.T) {
	run, err := NewRun(sound())
	require.NoError(t, err)
	with := func(objects map[string]State, change func(*State)) map[string]State {
		s := objects["a"]
		change(&s)
		objects["a"] = s
		return objects
	}
	for name, tc := range map[string]struct {
		cut  Cut
		dump Dump
		want string
	}{
		"lost":                                {Cut{2, 2}, Dump{}, Durable},
		"an outcome lost":                     {Cut{6, 6}, Dump{Objects: at(t, 1, 0)}, Durable},
		"what was before it lost too":         {Cut{8, 8}, Dump{Objects: at(t, 2, 1)}, Durable},
		"from the future":                     {Cut{2, 2}, Dump{Objects: at(t, 3, 0)}, Known},
		"from nowhere":                        {Cut{2, 2}, Dump{Objects: map[string]State{"a": at(t, 1, 0)["a"], "z": {Number: 7}}}, Known},
		"changed":                             {Cut{6, 6}, Dump{Objects: with(at(t, 3, 0), func(s *State) { s.Outcome = "FAILED" })}, Known},
		"a later one without its predecessor": {Cut{7, 7}, Dump{Objects: at(t, 2, 1)}, Durable},
		"a number again":                      {Cut{4, 4}, Dump{Objects: at(t, 1, 0), Given: []Given{{"n", 1, "z"}}}, OnceGiven},
		"not known again":                     {Cut{4, 4}, Dump{Objects: at(t, 1, 0), Probes: []Probe{{"a", "new"}}}, Recognised},
		"a wrong total":                       {Cut{4, 4}, Dump{Objects: at(t, 1, 0), Totals: []Total{{"records", 2, 1}}}, Totals},
		"a problem":                           {Cut{4, 4}, Dump{Objects: at(t, 1, 0), Problems: []string{"unreadable"}}, Sound},
	} {
		_, err := run.Check(tc.cut, tc.dump)
		requireBroken(t, err, tc.want, name)
	}
}

// TestOrder checks that a later change of one object without an earlier one of another shows, also where neither was
// vouched for.
func TestOrder(t *testing.T) {
	run, err := NewRun([]Event{
		{Op: "x", Kind: Call}, {Op: "x", Kind: Return, Began: 0, Saw: []Version{{Object: "a", State: State{Number: 1}}}},
		{Op: "x", Kind: Call}, {Op: "x", Kind: Return, Began: 2, Saw: []Version{{Object: "b", State: State{Number: 2}}}},
	})
	require.NoError(t, err)
	_, err = run.Check(Cut{4, 4}, Dump{Objects: map[string]State{"a": {Number: 1}}})
	require.NoError(t, err)
	_, err = run.Check(Cut{4, 4}, Dump{Objects: map[string]State{"b": {Number: 2}}})
	requireBroken(t, err, InOrder, "")
}

// TestUnknown checks what may come of a call whose result nobody knows.
func TestUnknown(t *testing.T) {
	events := append(sound()[:4], Event{Op: "end", Kind: Call, Object: "a"}, Event{Op: "end", Kind: Unknown, Began: 4, Object: "a"})
	run, err := NewRun(events)
	require.NoError(t, err)
	for n := 1; n <= 3; n++ {
		_, err = run.Check(Cut{6, 6}, Dump{Objects: at(t, n, 0)})
		require.NoError(t, err)
	}
	back := at(t, 3, 0)["a"]
	back.Runs = 0
	_, err = run.Check(Cut{6, 6}, Dump{Objects: map[string]State{"a": back}})
	requireBroken(t, err, Known, "")
}

// TestBrokenHistories changes one thing each in a sound history.
func TestBrokenHistories(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(e []Event)
		want   string
	}{
		"number changed":   {func(e []Event) { e[3].Saw[0].State.Number = 9 }, OnceGiven},
		"given twice":      {func(e []Event) { e[7].Given[0].Number = 1 }, OnceGiven},
		"stage back":       {func(e []Event) { e[5].Saw[0].State.Stage = "RECEIVED" }, Forward},
		"runs back":        {func(e []Event) { e[5].Saw[0].State.Runs = 0 }, Forward},
		"attempt back":     {func(e []Event) { e[5].Saw[0].State.Attempts = []Attempt{{ID: "m-1"}} }, Forward},
		"attempt gone":     {func(e []Event) { e[5].Saw[0].State.Attempts = nil }, Forward},
		"another outcome":  {func(e []Event) { e[3].Saw[0].State.Outcome = "FAILED" }, OneOutcome},
		"late result gone": {func(e []Event) { e[3].Saw[0].State.Late = []string{"x"} }, OneOutcome},
		"another answer":   {func(e []Event) { e[5].Answer = "open?" }, Recognised},
		"an early answer":  {func(e []Event) { e[1].Saw, e[1].Answer = nil, "open" }, Recognised},
	} {
		events := sound()
		tc.change(events)
		_, err := NewRun(events)
		requireBroken(t, err, tc.want, name)
	}
}

// TestAnotherAttempt checks that a failure may go when a further attempt begins, and FULFILLED never.
func TestAnotherAttempt(t *testing.T) {
	history := func(outcome string) []Event {
		return []Event{
			{Kind: Call}, {Kind: Return, Saw: []Version{{Object: "a", State: State{Stage: "DONE", Outcome: outcome}}}},
			{Kind: Call}, {Kind: Return, Began: 2, Saw: []Version{{Object: "a", State: State{Stage: "QUEUED"}, Again: true}}},
		}
	}
	_, err := NewRun(history("FAILED"))
	require.NoError(t, err)
	_, err = NewRun(history("FULFILLED"))
	requireBroken(t, err, OneOutcome, "")
}

func requireBroken(t *testing.T, err error, promise, name string) {
	t.Helper()
	var v *Violation
	require.ErrorAs(t, err, &v, name)
	for _, one := range all(err) {
		if errors.As(one, &v) && v.Promise == promise {
			return
		}
	}
	t.Errorf("%s: %v is not about %q", name, err, promise)
}

func all(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func TestHistoryIsReadBack(t *testing.T) {
	var text bytes.Buffer
	require.NoError(t, Write(&text, sound()))
	require.Equal(t, len(sound()), strings.Count(text.String(), "\n"))
	events, err := Read(&text)
	require.NoError(t, err)
	require.Equal(t, sound(), events)
	_, err = Read(strings.NewReader("{\"op\":\"x\"}\n{"))
	require.ErrorContains(t, err, "event 1")
}

func TestStandardLibraryOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	require.NoError(t, err)
	require.Equal(t, "github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck\n", string(out))
}

func TestSame(t *testing.T) {
	require.NoError(t, Same(Dump{Objects: at(t, 2, 1)}, Dump{Objects: at(t, 2, 1)}))
	requireBroken(t, Same(Dump{Objects: at(t, 2, 1)}, Dump{Objects: at(t, 2, 0)}), Durable, "")
	requireBroken(t, Same(Dump{Objects: at(t, 2, 0)}, Dump{Objects: at(t, 2, 1)}), Known, "")
}

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// A key's state in the model: whether it was sent, which run of its handler goes on, whether one has succeeded, and what
// its sender was told.
type keyState struct {
	sent      bool
	running   string
	succeeded bool
	told      string
}

// keyStep is an operation of the model.
type keyStep struct {
	do  string
	run string // begin, end
	end string // end, told: stage and code
}

const good = "FULFILLED"

// keyModel says which steps a key may take.
var keyModel = porcupine.Model{
	Init: func() any { return keyState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, step := state.(keyState), input.(keyStep)
		ok := false
		switch step.do {
		case "send":
			ok, s.sent = true, true
		case "begin":
			// A run whose outcome was cut off begins again, one whose outcome is known does not.
			ok = s.sent && s.running == "" && s.told == ""
			s.running = step.run
		case "end":
			ok = s.running == step.run
			s.running, s.succeeded = "", s.succeeded || step.end == good
		case "cut":
			ok = s.running == step.run
			s.running = ""
		case "told":
			ok = s.sent && (s.told == "" || s.told == step.end) && (step.end != good || s.succeeded)
			s.told = step.end
		}
		return ok, s
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
}

// steps turns a history into the operations of each key.
func steps(events []history.Event) map[string][]porcupine.Operation {
	all := map[string][]porcupine.Operation{}
	add := func(key string, from, to int64, s keyStep) {
		all[key] = append(all[key], porcupine.Operation{Input: s, Call: from, Return: to})
	}
	type sending struct{ call, end int64 }
	sends := map[string]*sending{}
	told := map[string]bool{}
	running := map[string]map[string]bool{} // by key
	for _, e := range events {
		run := fmt.Sprintf("%s/%d", e.Actor, e.Run)
		switch {
		case e.Op == history.Send && e.Kind == history.Call && sends[e.Key] == nil:
			sends[e.Key] = &sending{e.T, math.MaxInt64}
		case e.Op == history.Send && e.Kind == history.Return && sends[e.Key] != nil:
			sends[e.Key].end = min(sends[e.Key].end, e.T)
		case e.Op == history.Handle && e.Kind == history.Call:
			add(e.Key, e.T, e.T, keyStep{do: "begin", run: run})
			if running[e.Key] == nil {
				running[e.Key] = map[string]bool{}
			}
			running[e.Key][run] = true
		case e.Op == history.Handle && e.Kind == history.Return:
			add(e.Key, e.T, e.T, keyStep{do: "end", run: run, end: e.Stage})
			delete(running[e.Key], run)
		case e.Op == history.Kill:
			for key, runs := range running {
				for run := range runs {
					if len(run) > len(e.Actor) && run[:len(e.Actor)+1] == e.Actor+"/" {
						add(key, e.T, e.T, keyStep{do: "cut", run: run})
						delete(runs, run)
					}
				}
			}
		case e.Op == history.Finish:
			end := e.Stage
			if end != good {
				end += " " + e.Code
			}
			from := e.T // it was fixed at any time before it was first told
			if s := sends[e.Key]; s != nil && !told[e.Key] {
				from = s.call
			}
			told[e.Key] = true
			add(e.Key, from, e.T, keyStep{do: "told", end: end})
		}
	}
	for key, s := range sends {
		add(key, s.call, s.end, keyStep{do: "send"})
	}
	return all
}

// conform checks every key of a history against the model.
func conform(events []history.Event) error {
	all := steps(events)
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !porcupine.CheckOperations(keyModel, all[key]) {
			errs = append(errs, fmt.Errorf("%s: no order of these is allowed: %v", key, describe(all[key])))
		}
	}
	return errors.Join(errs...)
}

func describe(ops []porcupine.Operation) []string {
	var lines []string
	for _, o := range ops {
		lines = append(lines, fmt.Sprintf("[%d %d] %+v", o.Call, o.Return, o.Input))
	}
	return lines
}

// TestModel accepts what may happen to a key, and refuses what may not.
func TestModel(t *testing.T) {
	const worker, other, sender = "worker-1.1", "worker-2.1", "client.1"
	at := func(n int64, actor string, op history.Op, kind history.Kind, more history.Event) history.Event {
		more.T, more.Actor, more.Op, more.Kind = n, actor, op, kind
		if op != history.Kill {
			more.Key = "k"
		}
		return more
	}
	sent := []history.Event{at(1, sender, history.Send, history.Call, history.Event{}), at(2, sender, history.Send, history.Return, history.Event{})}
	begin := func(n int64, actor string, run int) history.Event {
		return at(n, actor, history.Handle, history.Call, history.Event{Run: run})
	}
	end := func(n int64, actor string, run int, stage ack.Stage) history.Event {
		return at(n, actor, history.Handle, history.Return, history.Event{Run: run, Stage: stage.String()})
	}
	tell := func(n int64, stage ack.Stage, code ack.Code) history.Event {
		return at(n, sender, history.Finish, history.Return, history.Event{Stage: stage.String(), Code: code.String()})
	}
	kill := at(5, worker, history.Kill, history.Info, history.Event{})
	tests := []struct {
		name   string
		events []history.Event
		ok     bool
	}{
		{"handled and told", []history.Event{begin(3, worker, 1), end(4, worker, 1, ack.Fulfilled), tell(6, ack.Fulfilled, 0)}, true},
		{"killed, and handled again", []history.Event{begin(3, worker, 1), kill, begin(6, other, 1), end(7, other, 1, ack.Fulfilled), tell(8, ack.Fulfilled, 0)}, true},
		{"killed before the outcome was recorded", []history.Event{
			begin(3, worker, 1), end(4, worker, 1, ack.Fulfilled), kill, begin(6, other, 1), end(7, other, 1, ack.Fulfilled), tell(8, ack.Fulfilled, 0),
		}, true},
		{"failed, and tried again", []history.Event{
			begin(3, worker, 1), end(4, worker, 1, ack.Failed), begin(6, other, 1), end(7, other, 1, ack.Fulfilled), tell(8, ack.Fulfilled, 0),
		}, true},
		{"ended by its sender alone", []history.Event{tell(8, ack.Failed, ack.TTLExpired)}, true},
		{"runs at the same time", []history.Event{begin(3, worker, 1), begin(4, other, 1), end(5, worker, 1, ack.Fulfilled), end(6, other, 1, ack.Fulfilled)}, false},
		{"told of what nobody did", []history.Event{tell(8, ack.Fulfilled, 0)}, false},
		{"told before it was done", []history.Event{begin(3, worker, 1), tell(4, ack.Fulfilled, 0), end(5, worker, 1, ack.Fulfilled)}, false},
		{"told two things", []history.Event{begin(3, worker, 1), end(4, worker, 1, ack.Fulfilled), tell(6, ack.Failed, ack.InternalError), tell(7, ack.Fulfilled, 0)}, false},
		{"run again after its end", []history.Event{begin(3, worker, 1), end(4, worker, 1, ack.Fulfilled), tell(6, ack.Fulfilled, 0), begin(7, other, 1)}, false},
		{"ended by another's run", []history.Event{begin(3, worker, 1), end(4, other, 1, ack.Fulfilled)}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := conform(append(slices.Clone(sent), test.events...))
			require.Equal(t, test.ok, err == nil, "%v", err)
		})
	}
	require.Error(t, conform([]history.Event{begin(3, worker, 1), end(4, worker, 1, ack.Fulfilled)}), "handled and never sent")
}

package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// sortedKeys returns the keys of m in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// checkCauses: what is found after the run, and has not ended, has a cause that the rest of the history bears out.
func checkCauses(events []Event) []*Violation {
	var found []*Violation
	up := map[string]bool{}
	running := map[string]bool{}
	var live []Event
	ended := map[string]bool{}
	concerned := map[[2]string]bool{} // by key and agent
	for _, e := range events {
		switch {
		case e.Op == Send && e.Kind == Call:
			concerned[[2]string{e.Key, strings.TrimPrefix(e.To, "agent:")}] = true
		case e.Op == Hold, e.Op == Record:
			concerned[[2]string{e.Key, agentOf(e.Actor)}] = true
		}
		switch {
		case e.Op == Up:
			up[e.Actor] = true
		case e.Op == Kill, e.Op == Down:
			delete(up, e.Actor)
		case e.Op == Finish:
			ended[e.Key] = true
		case e.Op == Hold && e.Place != Dead:
			live = append(live, e)
		}
	}
	for token, all := range runs(events) {
		for _, r := range all {
			if r.open() {
				running[token] = true
			}
		}
	}
	fail := func(e Event, format string, args ...any) {
		found = append(found, &Violation{TrueCause, fmt.Sprintf(format, args...), []Event{e}})
	}
	slices.SortStableFunc(live, func(a, b Event) int { return cmp.Compare(a.Key, b.Key) })
	for _, e := range live {
		key := e.Key
		switch {
		case ended[key] && (e.Place == InOutbox || e.Place == Taken):
			fail(e, "%s has ended, and its sender still has it", key)
		case ended[key]:
			// Its sender does not wait for it any more, and gave it up for a reason of its own.
		case e.Cause == "":
			fail(e, "%s does not move, and nothing says why", key)
		case e.Cause == Absent && anyUp(up, e.To):
			fail(e, "%s waits for %s, which runs", key, e.To)
		case e.Cause == Absent && !concerned[[2]string{key, e.To}]:
			fail(e, "%s waits for %s, which does not have it, and to which it was not sent", key, e.To)
		case e.Cause == Running && !running[e.Token]:
			fail(e, "%s is said to be handled, and no handler runs", key)
		case e.Cause == Behind && !anyBefore(live, ended, e):
			fail(e, "%s is said to wait in its lane, and nothing is before it", key)
		}
	}
	return found
}

// anyUp tells whether a process of the agent runs.
func anyUp(up map[string]bool, agent string) bool {
	for actor := range up {
		if agentOf(actor) == agent {
			return true
		}
	}
	return false
}

// anyBefore tells whether a live operation is before e in its lane.
func anyBefore(live []Event, ended map[string]bool, e Event) bool {
	return slices.ContainsFunc(live, func(other Event) bool {
		return !ended[other.Key] && other.Lane == e.Lane && e.Lane != "" && other.N < e.N
	})
}

// checkMemory: no process uses more memory than it may, and none uses ever more.
func (f Floor) checkMemory(events []Event) []*Violation {
	var found []*Violation
	sorted(by(events, []Op{Memory}, func(e Event) string { return e.Actor }), func(actor string, events []Event) {
		for _, e := range events {
			if f.Memory > 0 && e.Bytes > f.Memory {
				found = append(found, &Violation{Bounded, fmt.Sprintf("%s uses %d bytes, %d are allowed", actor, e.Bytes, f.Memory), []Event{e}})
				return
			}
		}
		// In four parts of equal length, memory that only grows grows from each to the next. The first is warming up.
		part := len(events) / 4
		if part < leastSamples {
			return
		}
		second, third, last := mean(events[part:2*part]), mean(events[2*part:3*part]), mean(events[3*part:])
		if third > second*growth && last > third*growth && last-second > warmth {
			found = append(found, &Violation{
				Bounded, fmt.Sprintf("%s uses ever more: %d, %d, %d bytes", actor, int64(second), int64(third), int64(last)),
				[]Event{events[part], events[len(events)-1]},
			})
		}
	})
	return found
}

const (
	// leastSamples is how many samples a quarter of a run needs.
	leastSamples = 20
	// growth is by how much more one quarter may use than the one before.
	growth = 1.25
	// warmth is what a process may take besides while it warms up, which on a busy machine takes all of a short run.
	warmth = 128 << 20
)

func mean(events []Event) float64 {
	var sum float64
	for _, e := range events {
		sum += float64(e.Bytes)
	}
	return sum / float64(len(events))
}

package history

import (
	"fmt"
	"strings"
)

const (
	// poison is the first word of what is said of a message whose handler takes its process down each time.
	poison = "poison"
	// poisonRuns is how often the handler must have been cut off before.
	poisonRuns = 5
)

// checkPoison: a message is given up as poison only after so many runs of one attempt were cut off at one agent. A run
// that has returned and whose process was killed before the outcome was recorded is one of them. One kill may have come
// after a run was counted and before its handler could note that it began.
func checkPoison(events []Event) []*Violation {
	kills := map[string]Event{} // by process
	for _, e := range events {
		if e.Op == Kill {
			kills[e.Actor] = e
		}
	}
	handled := by(events, []Op{Handle}, tokenOf)
	var found []*Violation
	sorted(by(events, []Op{Finish}, keyOf), func(key string, told []Event) {
		if !strings.HasPrefix(told[0].Note, poison) {
			return
		}
		best, last := 0, 0
		for _, e := range handled[told[0].Token] {
			last = max(last, e.Attempt)
		}
		for agent, first := range begun(handled[told[0].Token], last) {
			shown, silent := 0, 0
			for process, k := range kills {
				switch id, _, _ := strings.Cut(process, "."); {
				case id != agent || k.T > told[0].T:
				case first[process] != 0:
					shown++
				case k.T > earliest(first):
					silent = 1
				}
			}
			best = max(best, shown+silent)
		}
		if best < poisonRuns {
			found = append(found, &Violation{
				Poisoned, fmt.Sprintf("%s was given up as poison after its handler was cut off %d times, %d are needed", key, best, poisonRuns),
				append(told[:1:1], handled[told[0].Token]...),
			})
		}
	})
	return found
}

// begun returns when the runs of one attempt began, by agent and process.
func begun(events []Event, attempt int) map[string]map[string]int64 {
	all := map[string]map[string]int64{}
	for _, e := range events {
		if e.Kind != Call || e.Attempt != attempt {
			continue
		}
		agent, _, _ := strings.Cut(e.Actor, ".")
		if all[agent] == nil {
			all[agent] = map[string]int64{}
		}
		if all[agent][e.Actor] == 0 {
			all[agent][e.Actor] = e.T
		}
	}
	return all
}

func earliest(times map[string]int64) int64 {
	var first int64
	for _, t := range times {
		if first == 0 || t < first {
			first = t
		}
	}
	return first
}

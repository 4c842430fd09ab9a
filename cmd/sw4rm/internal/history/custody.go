package history

import (
	"fmt"
	"math"
	"slices"
)

// checkCustody: one store at a time is answerable for an operation.
func checkCustody(events []Event) []*Violation {
	type span struct {
		begin, end int64
		event      Event
	}
	var found []*Violation
	sorted(by(events, []Op{Custody}, tokenOf), func(token string, events []Event) {
		// What has told its outcome may get copies of the same attempt, and keeps none of them.
		at := map[[2]string]int{}
		var all []span
		for _, e := range events {
			k := [2]string{e.Store, e.Message}
			i, known := at[k]
			switch {
			case e.Kind == Call && !known:
				at[k] = len(all)
				all = append(all, span{e.T, math.MaxInt64, e})
			case e.Kind == Return && known && all[i].end == math.MaxInt64:
				all[i].end = e.T
			}
		}
		slices.SortFunc(all, func(a, b span) int { return inTime(a.event, b.event) })
		var last span
		for i, s := range all {
			if i > 0 && s.begin < last.end && s.event.Store != last.event.Store {
				found = append(found, &Violation{
					OneHolder, fmt.Sprintf("token %s was in two agents' custody at the same time", token), []Event{last.event, s.event},
				})
				return
			}
			if i == 0 || s.end > last.end {
				last = s
			}
		}
	})
	return found
}

// checkHolders: what is found in custody is in that of one agent.
func checkHolders(events []Event) []*Violation {
	var found []*Violation
	sorted(by(events, []Op{Hold}, tokenOf), func(token string, events []Event) {
		events = slices.DeleteFunc(events, func(e Event) bool { return e.Place != InCustody })
		for _, e := range events[min(1, len(events)):] {
			if e.Actor != events[0].Actor {
				found = append(found, &Violation{OneHolder, fmt.Sprintf("token %s is in two agents' custody", token), []Event{events[0], e}})
				return
			}
		}
	})
	return found
}

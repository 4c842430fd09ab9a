package history

import (
	"fmt"
	"math"
	"slices"
)

// examinations returns the history up to each examination in the middle of it, after which processes have begun again, and
// the whole of it. Each has those Holds only that say something by its end.
func examinations(events []Event) [][]Event {
	last := lastUp(events)
	var all [][]Event
	for i, e := range events {
		if e.Op == Examined && i < last {
			all = append(all, standing(events[:i+1]))
		}
	}
	return append(all, standing(events))
}

// standing leaves out Holds after which a process has begun.
func standing(events []Event) []Event {
	last := lastUp(events)
	all := make([]Event, 0, len(events))
	for i, e := range events {
		if e.Op != Hold || i > last {
			all = append(all, e)
		}
	}
	return all
}

// lastUp is the place of the last begin of a process, -1 when there is none.
func lastUp(events []Event) int {
	for i, e := range slices.Backward(events) {
		if e.Op == Up {
			return i
		}
	}
	return -1
}

// periods tells of an event how many processes had begun before it: examinations differ in that.
func periods(events []Event) func(Event) int {
	var ups []Event
	for _, e := range events {
		if e.Op == Up {
			ups = append(ups, e)
		}
	}
	return func(e Event) int {
		n, _ := slices.BinarySearchFunc(ups, e, inTime)
		return n
	}
}

// checkHanded: at an examination, an attempt that the router has taken, as its sender knows, is found in another place than
// with its sender, or has ended.
func checkHanded(events []Event) []*Violation {
	elsewhere, ended := map[string]bool{}, map[string]bool{}
	examined := false
	var taken []Event
	for _, e := range events {
		switch {
		case e.Op == Up:
			examined = false
		case e.Op == Examined:
			examined = true
		case e.Op == Finish:
			ended[e.Key] = true
		case e.Op == Hold && e.Place == Taken:
			taken = append(taken, e)
		case e.Op == Hold && e.Place != InOutbox:
			elsewhere[e.Message] = true
		}
	}
	var found []*Violation
	for _, e := range taken {
		if examined && !elsewhere[e.Message] && !ended[e.Key] {
			found = append(found, &Violation{
				Handed, fmt.Sprintf("%s was taken by the router, which does not have it, and nobody else has", e.Key), []Event{e},
			})
		}
	}
	return found
}

func (s *Summary) countExaminations(events []Event) {
	s.LeastOpen = math.MaxInt
	all := examinations(events)
	for _, until := range all[:len(all)-1] {
		s.Examinations++
		open := map[string]bool{}
		for _, e := range until {
			switch {
			case e.Op == Send && e.Kind == Call:
				open[e.Key] = true
			case e.Op == Finish, e.Op == Send && e.Kind == Unknown:
				delete(open, e.Key)
			}
		}
		s.LeastOpen = min(s.LeastOpen, len(open))
		found := map[Place]map[string]bool{}
		for _, e := range until {
			if e.Op == Hold && open[e.Key] {
				if found[e.Place] == nil {
					found[e.Place] = map[string]bool{}
				}
				found[e.Place][e.Key] = true
			}
		}
		s.InOutboxes += len(found[InOutbox]) + len(found[Taken])
		s.InQueues += len(found[InQueue])
		s.InCustody += len(found[InCustody])
	}
	if s.Examinations == 0 {
		s.LeastOpen = 0
	}
}

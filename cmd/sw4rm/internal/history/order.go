package history

import (
	"fmt"
	"slices"
)

// checkOrder: the operations of a lane begin to be handled in the order in which they were sent, each for the first time.
// An operation whose sending overlapped that of the one before it has no order with it.
func checkOrder(events []Event) []*Violation {
	type op struct{ called, sent, begins Event }
	lanes := map[string]map[string]*op{}
	of := map[string]*op{}
	for _, e := range events {
		switch {
		case e.Op == Send && e.Kind == Call && e.Lane != "":
			if lanes[e.Lane] == nil {
				lanes[e.Lane] = map[string]*op{}
			}
			if of[e.Key] == nil {
				of[e.Key] = &op{called: e}
				lanes[e.Lane][e.Key] = of[e.Key]
			}
		case of[e.Key] == nil:
		case e.Op == Send && e.Kind == Return && of[e.Key].sent.T == 0:
			of[e.Key].sent = e
		case e.Op == Handle && e.Kind == Call && of[e.Key].begins.T == 0:
			of[e.Key].begins = e
		}
	}
	var found []*Violation
	for _, lane := range sortedKeys(lanes) {
		ops := make([]*op, 0, len(lanes[lane]))
		for _, o := range lanes[lane] {
			if o.begins.T != 0 && o.sent.T != 0 {
				ops = append(ops, o)
			}
		}
		slices.SortFunc(ops, func(a, b *op) int { return inTime(a.called, b.called) })
		for i, after := range ops {
			for _, before := range ops[:i] {
				if before.sent.T < after.called.T && after.begins.T < before.begins.T {
					found = append(found, &Violation{
						InOrder, fmt.Sprintf("%s was handled before %s, which was sent before it in lane %s", after.begins.Key, before.begins.Key, lane),
						[]Event{before.sent, after.called, after.begins, before.begins},
					})
				}
			}
		}
	}
	return found
}

// checkTTL: no handler begins after its operation's time to live, and none is given up before it.
func (f Floor) checkTTL(events []Event) []*Violation {
	var found []*Violation
	sorted(by(events, []Op{Send, Handle, Finish}, keyOf), func(key string, events []Event) {
		var called, sent Event
		for _, e := range events {
			switch {
			case e.Op == Send && e.Kind == Call && called.T == 0:
				called = e
			case e.Op == Send && e.Kind == Return && sent.T == 0:
				sent = e
			case called.TTL == 0:
			case e.Op == Handle && e.Kind == Call && sent.T != 0 && e.T > sent.T+called.TTL+f.Slack:
				found = append(found, &Violation{InTime, fmt.Sprintf("%s began after its time to live", key), []Event{sent, e}})
				return
			case e.Op == Finish && e.Code == ttlExpired && e.T < called.T+called.TTL:
				found = append(found, &Violation{InTime, fmt.Sprintf("%s was given up before its time to live", key), []Event{called, e}})
				return
			}
		}
	})
	return found
}

// ttlExpired is the code of what has run out.
const ttlExpired = "TTL_EXPIRED"

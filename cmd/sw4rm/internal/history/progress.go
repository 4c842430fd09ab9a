package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// still is a time in which nothing happened to an operation that had not ended, and no fault came.
type still struct {
	key      string
	from, to Event
}

func (s still) length() int64 { return s.to.T - s.from.T }

// progress knows of the operations of a history what keeps them from moving.
type progress struct {
	events map[string][]Event // by key, until the end
	called map[string]Event   // how each was sent
	lanes  map[string][]string
	runs   map[string][]run   // by token
	up     map[string][]still // by agent, while a process of it ran
	faults []Event
}

func progressOf(events []Event) *progress {
	p := &progress{
		events: map[string][]Event{}, called: map[string]Event{}, lanes: map[string][]string{}, runs: runs(events), up: map[string][]still{},
	}
	keys := map[string]string{} // by token
	for _, e := range events {
		if e.Key != "" && e.Token != "" {
			keys[e.Token] = e.Key
		}
	}
	ended, unknown := map[string]bool{}, map[string]bool{}
	started := map[string]Event{}
	var last Event
	for _, e := range events {
		last = e
		switch e.Op {
		case Up:
			started[e.Actor] = e
		case Kill, Down:
			p.up[agentOf(e.Actor)] = append(p.up[agentOf(e.Actor)], still{from: started[e.Actor], to: e})
			delete(started, e.Actor)
		}
		if e.Op == Kill || e.Op == Down || e.Op == Up || e.Op == Fault {
			p.faults = append(p.faults, e)
		}
		key := cmp.Or(e.Key, keys[e.Token])
		if key == "" || ended[key] {
			continue
		}
		if e.Op == Send && e.Kind == Call && p.called[key].Op == "" {
			p.called[key] = e
			if e.Lane != "" {
				p.lanes[e.Lane] = append(p.lanes[e.Lane], key)
			}
		}
		ended[key] = e.Op == Finish
		if e.Op == Send {
			unknown[key] = e.Kind == Unknown
		}
		p.events[key] = append(p.events[key], e)
	}
	last.T++ // what has not ended stands still until after the last event
	for actor, e := range started {
		p.up[agentOf(actor)] = append(p.up[agentOf(actor)], still{from: e, to: Event{T: math.MaxInt64}})
	}
	for key := range p.called {
		if !ended[key] && !unknown[key] {
			p.events[key] = append(p.events[key], last)
		}
	}
	return p
}

// agentOf returns the agent of a process.
func agentOf(actor string) string {
	id, _, _ := strings.Cut(actor, ".")
	return id
}

// stills returns the times longer than least in which an operation stood still without a cause, the longest first.
func (p *progress) stills(least int64) []still {
	var found []still
	for key, events := range p.events {
		if p.called[key].Op == "" {
			continue // nobody sent it
		}
		for i := 1; i < len(events); i++ {
			offered := events[i-1].Op == Send && events[i-1].Kind == Call // and not yet accepted
			if !offered && events[i].T-events[i-1].T > least {
				found = append(found, p.split(still{key, events[i-1], events[i]})...)
			}
		}
	}
	slices.SortFunc(found, func(a, b still) int {
		return cmp.Or(cmp.Compare(b.length(), a.length()), cmp.Compare(a.key, b.key), inTime(a.from, b.from))
	})
	var without []still
	for _, s := range found {
		if s.length() > least && !p.caused(s) {
			without = append(without, s)
		}
	}
	return without
}

// split cuts a time into those between faults, and between the events of those before it in its lane: each gives it cause to
// wait anew.
func (p *progress) split(s still) []still {
	cuts := between(p.faults, s)
	for _, key := range p.before(s.key) {
		cuts = append(cuts, between(p.events[key], s)...)
	}
	slices.SortFunc(cuts, inTime)
	var parts []still
	from := s.from
	for _, e := range append(cuts, s.to) {
		parts = append(parts, still{s.key, from, e})
		from = e
	}
	return parts
}

// between returns the events of a time. They are in order.
func between(events []Event, s still) []Event {
	i, _ := slices.BinarySearchFunc(events, s.from.T+1, func(e Event, t int64) int { return cmp.Compare(e.T, t) })
	j, _ := slices.BinarySearchFunc(events, s.to.T, func(e Event, t int64) int { return cmp.Compare(e.T, t) })
	return slices.Clone(events[i:max(i, j)])
}

// before returns the operations before one in its lane.
func (p *progress) before(key string) []string {
	own := p.called[key]
	var all []string
	for _, other := range p.lanes[own.Lane] {
		if p.called[other].N < own.N {
			all = append(all, other)
		}
	}
	return all
}

// caused tells whether an operation has a live cause to stand still: a handler works on it, its receiver or whoever has it
// does not run, or one before it in its lane has not ended.
func (p *progress) caused(s still) bool {
	spans := func(from, to int64) bool { return from <= s.from.T && s.to.T <= to }
	for _, r := range p.runs[tokenIn(p.events[s.key])] {
		if spans(r.begin, r.end) {
			return true
		}
	}
	away := func(id string) bool {
		return p.up[id] != nil && !slices.ContainsFunc(p.up[id], func(u still) bool { return u.from.T < s.to.T && s.from.T < u.to.T })
	}
	if id, ok := strings.CutPrefix(p.called[s.key].To, "agent:"); ok && away(id) {
		return true
	}
	if slices.ContainsFunc(p.holders(s), away) {
		return true
	}
	return slices.ContainsFunc(p.before(s.key), func(key string) bool {
		events := p.events[key]
		return spans(events[0].T, events[len(events)-1].T)
	})
}

// holders returns the agent whose handler was cut off last before a time, and those for which the operation
// is said to wait after it.
func (p *progress) holders(s still) []string {
	var all []string
	for _, r := range slices.Backward(p.runs[tokenIn(p.events[s.key])]) {
		if r.killed && r.end <= s.from.T {
			all = append(all, agentOf(r.event.Actor))
			break
		}
	}
	for _, e := range p.events[s.key] {
		if e.Op == Hold && e.Cause == Absent && e.T >= s.to.T {
			all = append(all, e.To)
		}
	}
	return all
}

func tokenIn(events []Event) string {
	for _, e := range events {
		if e.Token != "" {
			return e.Token
		}
	}
	return ""
}

// checkProgress: between faults nothing stands still for longer than it may, but for a cause.
func (f Floor) checkProgress(events []Event) []*Violation {
	if f.Idle == 0 {
		return nil
	}
	var found []*Violation
	for _, s := range progressOf(events).stills(f.Idle) {
		found = append(found, &Violation{
			Moves, fmt.Sprintf("nothing happened to %s for %.3fs, and nothing says why", s.key, float64(s.length())/1e9), []Event{s.from, s.to},
		})
	}
	return found
}

// LongestStill returns for how many nanoseconds an operation stood still at most without a cause, and without any fault.
func LongestStill(events []Event) int64 {
	events = slices.Clone(events)
	slices.SortStableFunc(events, inTime)
	nameAll(events)
	if all := progressOf(events).stills(0); len(all) > 0 {
		return all[0].length()
	}
	return 0
}

package main

import (
	"fmt"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/ledger"
	"github.com/sw4rm/sw4rm-go/examples/review/internal/result"
)

// totals is what became of the messages, from two sources: what the client saw, and what the reviewer's handler wrote
// into its ledger.
type totals struct {
	sent, fulfilled, redelivered, repeated, twice, lost int
	// problems are sentences on what is wrong; a run without any is as it should be.
	problems []string
}

// history is what the ledger has of one message.
type history struct {
	runs []ledger.Entry
	// ended has the runs that came to their end.
	ended map[string]bool
	// overlaps tells that a run started in a process before the one before it had ended there.
	overlaps bool
}

func (t *totals) problem(format string, args ...any) {
	t.problems = append(t.problems, fmt.Sprintf(format, args...))
}

// count works the totals out, and puts the number of runs into the results.
func count(o *outcome, results []result.Result) totals {
	t := totals{sent: o.stored}
	if o.stored != o.files || len(results) != o.files {
		t.problem("there are %d Go files, but %d messages were stored and %d results came", o.files, o.stored, len(results))
	}
	histories := read(o.entries)
	for i := range results {
		r := &results[i]
		h := histories[r.Path]
		if h == nil {
			h = &history{}
		}
		r.Runs = len(h.runs)
		t.add(r, h)
	}
	t.lost = t.sent - len(results) + t.lost
	t.judge(o)
	return t
}

// add counts one message.
func (t *totals) add(r *result.Result, h *history) {
	switch r.Stage {
	case "FULFILLED":
		t.fulfilled++
	case "NONE":
		t.lost++
	default:
		t.problem("%s ended as %s: %s", r.Path, r.Stage, r.Error)
	}
	if r.Attempts > 1 || len(h.runs) > 1 {
		t.redelivered++
	}
	t.repeated += max(0, len(h.runs)-1)
	if h.overlaps {
		t.problem("%s was in two runs of the handler at once", r.Path)
	}
	if r.Stage == "FULFILLED" && !h.ended[r.RunID] {
		t.problem("%s has a reply that comes from no finished run of the handler", r.Path)
	}
	if r.Changed || startedAfter(r, h) {
		t.twice++
	}
}

// startedAfter tells whether the handler ran again for a message that had its outcome.
func startedAfter(r *result.Result, h *history) bool {
	for _, run := range h.runs {
		if !r.EndedAt.IsZero() && run.At.After(r.EndedAt) {
			return true
		}
	}
	return false
}

// judge says which totals are wrong.
func (t *totals) judge(o *outcome) {
	if t.fulfilled != t.sent {
		t.problem("%d messages were sent, but %d fulfilled", t.sent, t.fulfilled)
	}
	if t.twice != 0 {
		t.problem("%d messages have more than one outcome", t.twice)
	}
	if t.lost != 0 {
		t.problem("%d messages are lost", t.lost)
	}
	if o.reviewer == 0 || o.router == 0 {
		t.problem("the reviews came before the reviewer and the router were killed")
		return
	}
	// The kill was in the middle of something only if it left runs without an end; each of them must run again.
	if t.repeated == 0 || t.redelivered == 0 {
		t.problem("the reviewer was killed, but no handler ran again")
	}
}

// read sorts the ledger by message.
func read(entries []ledger.Entry) map[string]*history {
	histories := map[string]*history{}
	open := map[string]ledger.Entry{}
	for _, e := range entries {
		h := histories[e.Path]
		if h == nil {
			h = &history{ended: map[string]bool{}}
			histories[e.Path] = h
		}
		last, running := open[e.Path]
		if e.Ended {
			h.ended[e.RunID] = true
			if running && last.RunID == e.RunID {
				delete(open, e.Path)
			}
			continue
		}
		h.overlaps = h.overlaps || running && last.PID == e.PID
		h.runs = append(h.runs, e)
		open[e.Path] = e
	}
	return histories
}

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/ledger"
	"github.com/sw4rm/sw4rm-go/examples/review/internal/result"
)

// killed is a run in which all went well: a.go was reviewed once; b.go was being reviewed when the reviewer was killed,
// and was reviewed again by the next process.
func killed() *outcome {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	return &outcome{
		files: 2, stored: 2, reviewer: 10, router: 9,
		results: []result.Result{
			{Path: "b.go", Stage: "FULFILLED", Attempts: 1, RunID: "3", EndedAt: at(9)},
			{Path: "a.go", Stage: "FULFILLED", Attempts: 1, RunID: "1", EndedAt: at(3)},
		},
		entries: []ledger.Entry{
			{Path: "a.go", RunID: "1", PID: 10, At: at(1)},
			{Path: "b.go", RunID: "2", PID: 10, At: at(1)},
			{Path: "a.go", RunID: "1", PID: 10, At: at(2), Ended: true},
			{Path: "b.go", RunID: "3", PID: 11, At: at(7)},
			{Path: "b.go", RunID: "3", PID: 11, At: at(8), Ended: true},
		},
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	o := killed()
	got := count(o, o.sorted())
	if len(got.problems) > 0 {
		t.Errorf("problems: %q", got.problems)
	}
	got.problems = nil
	if want := (totals{sent: 2, fulfilled: 2, redelivered: 1, repeated: 1}); !equal(got, want) {
		t.Errorf("totals %+v, want %+v", got, want)
	}
}

func equal(a, b totals) bool {
	return a.sent == b.sent && a.fulfilled == b.fulfilled && a.redelivered == b.redelivered && a.repeated == b.repeated &&
		a.twice == b.twice && a.lost == b.lost
}

// TestWrong changes the good run, and expects that the totals and a sentence show it.
func TestWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  func(*outcome)
		want    totals
		problem string
	}{
		{name: "lost without a result", change: func(o *outcome) { o.results = o.results[:1] },
			want: totals{sent: 2, fulfilled: 1, redelivered: 1, repeated: 1, lost: 1}, problem: "1 messages are lost"},
		{name: "still open", change: func(o *outcome) { o.results[1].Stage = "NONE" },
			want: totals{sent: 2, fulfilled: 1, redelivered: 1, repeated: 1, lost: 1}, problem: "1 messages are lost"},
		{name: "refused", change: func(o *outcome) { o.results[1].Stage = "REJECTED" },
			want: totals{sent: 2, fulfilled: 1, redelivered: 1, repeated: 1}, problem: "a.go ended as REJECTED"},
		{name: "not stored", change: func(o *outcome) { o.stored, o.results = 1, o.results[:1] },
			want: totals{sent: 1, fulfilled: 1, redelivered: 1, repeated: 1}, problem: "there are 2 Go files"},
		{name: "another outcome", change: func(o *outcome) { o.results[0].Changed = true },
			want: totals{sent: 2, fulfilled: 2, redelivered: 1, repeated: 1, twice: 1}, problem: "1 messages have more than one outcome"},
		{name: "run after the outcome", change: func(o *outcome) { o.results[0].EndedAt = time.Unix(6, 0) },
			want: totals{sent: 2, fulfilled: 2, redelivered: 1, repeated: 1, twice: 1}, problem: "1 messages have more than one outcome"},
		{name: "two runs at once", change: func(o *outcome) { o.entries[3].PID = 10 },
			want: totals{sent: 2, fulfilled: 2, redelivered: 1, repeated: 1}, problem: "b.go was in two runs of the handler at once"},
		{name: "reply of an unfinished run", change: func(o *outcome) { o.results[0].RunID = "2" },
			want: totals{sent: 2, fulfilled: 2, redelivered: 1, repeated: 1}, problem: "b.go has a reply that comes from no finished run"},
		{name: "killed too late", change: func(o *outcome) { o.entries = slices.Delete(o.entries, 1, 2) },
			want: totals{sent: 2, fulfilled: 2}, problem: "the reviewer was killed, but no handler ran again"},
		{name: "never killed", change: func(o *outcome) { o.router = 0 },
			want: totals{sent: 2, fulfilled: 2, redelivered: 1, repeated: 1}, problem: "before the reviewer and the router were killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := killed()
			tt.change(o)
			got := count(o, o.sorted())
			if !equal(got, tt.want) {
				t.Errorf("totals %+v, want %+v", got, tt.want)
			}
			if !slices.ContainsFunc(got.problems, func(p string) bool { return strings.Contains(p, tt.problem) }) {
				t.Errorf("problems %q, want one with %q", got.problems, tt.problem)
			}
		})
	}
}

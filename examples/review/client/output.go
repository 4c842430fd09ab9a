package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/result"
	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
)

// output is where results go. Its methods are called one after another, except stored, which may be called beside them.
type output interface {
	stored(n int)
	result(r reviewed)
	done(results []reviewed)
}

// textOutput is for people: findings as compilers write them, then a summary.
type textOutput struct {
	w     io.Writer
	table bool
}

func (o *textOutput) stored(int) {}

func (o *textOutput) result(r reviewed) {
	if r.Error != "" {
		fmt.Fprintf(o.w, "%s: %s\n", r.Path, r.Error)
	}
	for _, f := range r.review.GetFindings() {
		fmt.Fprintf(o.w, "%s:%d:%d: %s: %s (%s)\n", r.Path, f.GetLine(), f.GetColumn(),
			word(f.GetSeverity().String(), "SEVERITY_"), f.GetMessage(), word(f.GetCheck().String(), "CHECK_"))
	}
}

func (o *textOutput) done(results []reviewed) {
	if o.table {
		fmt.Fprintln(o.w)
		rows := make([]result.Result, 0, len(results))
		for _, r := range results {
			rows = append(rows, r.Result)
		}
		if err := result.Table(o.w, rows); err != nil {
			fmt.Fprintln(o.w, err)
		}
		fmt.Fprintln(o.w)
	}
	by := map[reviewv1.Severity]int{}
	for _, r := range results {
		for _, f := range r.review.GetFindings() {
			by[f.GetSeverity()]++
		}
	}
	done := count(results, func(r reviewed) bool { return r.review != nil })
	fmt.Fprintf(o.w, "reviewed %d of %d files: errors %d, warnings %d, notes %d\n", done, len(results), by[reviewv1.Severity_SEVERITY_ERROR],
		by[reviewv1.Severity_SEVERITY_WARNING], by[reviewv1.Severity_SEVERITY_NOTE])
}

// word makes an enumeration's name readable: CHECK_LONG_FUNCTION is long-function.
func word(name, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, prefix), "_", "-"))
}

// jsonOutput is for programs.
type jsonOutput struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *jsonOutput) stored(n int) { o.event(result.Event{Stored: n}) }

func (o *jsonOutput) result(r reviewed) { o.event(result.Event{Result: &r.Result}) }

func (o *jsonOutput) done([]reviewed) { o.event(result.Event{Done: true}) }

func (o *jsonOutput) event(e result.Event) {
	line, err := json.Marshal(e)
	if err != nil {
		line = fmt.Appendf(nil, `{"error":%q}`, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.w, "%s\n", line)
}

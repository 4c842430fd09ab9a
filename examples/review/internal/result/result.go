// Package result is what the client tells about the messages it has sent, to people as a table and to programs as JSON.
package result

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// Event is one line that the client writes for programs.
type Event struct {
	// Stored tells that all messages are durable; the router may not have seen one yet.
	Stored int `json:"stored,omitempty"`
	// Result is a message that has come to its outcome.
	Result *Result `json:"result,omitempty"`
	// Done ends the list.
	Done bool `json:"done,omitempty"`
}

// Result is what became of one message. Times are counted from the send; those that have not come are nil.
type Result struct {
	Path     string `json:"path"`
	Ref      string `json:"ref"`
	Findings int    `json:"findings"`
	// SentAt and EndedAt are when the message was stored and when its outcome was.
	SentAt    time.Time      `json:"sent_at"`
	EndedAt   time.Time      `json:"ended_at"`
	Received  *time.Duration `json:"received,omitempty"`
	Read      *time.Duration `json:"read,omitempty"`
	Fulfilled *time.Duration `json:"fulfilled,omitempty"`
	Attempts  int            `json:"attempts"`
	// RunID names the handler's run that made the reply.
	RunID string `json:"run_id,omitempty"`
	// Stage is the outcome, NONE for a message that is still open.
	Stage string `json:"stage"`
	// Error says why the outcome is not FULFILLED.
	Error string `json:"error,omitempty"`
	// Changed tells that the outcome was another one when it was read again.
	Changed bool `json:"changed,omitempty"`
	// Runs is how often the reviewer's handler ran, where that is known.
	Runs int `json:"runs,omitempty"`
}

// Table writes the results, one a line. The column of runs is there when any is known.
func Table(w io.Writer, results []Result) error {
	runs := false
	for _, r := range results {
		runs = runs || r.Runs > 0
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	width := pathWidth(results)
	head := pad("FILE", width) + "\tFINDINGS\tRECEIVED\tREAD\tFULFILLED\tATTEMPTS\t"
	if runs {
		head += "RUNS\t"
	}
	fmt.Fprintln(tw, head)
	for _, r := range results {
		cells := []string{
			pad(r.Path, width), strconv.Itoa(r.Findings), since(r.Received), since(r.Read), fulfilled(r), strconv.Itoa(r.Attempts),
		}
		if runs {
			cells = append(cells, strconv.Itoa(r.Runs))
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t")+"\t")
	}
	return tw.Flush()
}

func pathWidth(results []Result) int {
	width := len("FILE")
	for _, r := range results {
		width = max(width, utf8.RuneCountInString(r.Path))
	}
	return width
}

// pad makes paths align left in a table that aligns right.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func fulfilled(r Result) string {
	if r.Fulfilled == nil && r.Stage != "NONE" {
		return r.Stage
	}
	return since(r.Fulfilled)
}

// since writes a time after the send with three digits or so.
func since(d *time.Duration) string {
	switch {
	case d == nil:
		return "-"
	case *d < 10*time.Millisecond:
		return fmt.Sprintf("+%.1f ms", float64(*d)/float64(time.Millisecond))
	case *d < time.Second:
		return fmt.Sprintf("+%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("+%.2f s", d.Seconds())
	}
}

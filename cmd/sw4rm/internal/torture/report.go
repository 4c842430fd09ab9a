package torture

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Result is what came of a promise.
type Result string

// The results.
const (
	Held   Result = "held"
	Broken Result = "BROKEN"
	// NotExercised is a promise of which the run says nothing.
	NotExercised Result = "not exercised"
)

// Promise is a promise with what the run has seen of it.
type Promise struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Result Result `json:"result"`
	// Seen says what was counted, or why nothing was.
	Seen string `json:"seen"`
	// Violations tell how it was broken, each with what shows it.
	Violations []string `json:"violations,omitempty"`
}

// Report is what came of a run.
type Report struct {
	Seed uint64 `json:"seed"`
	// Operations were sent, Calm of them before the first fault could come. Fulfilled of them ended well.
	Operations int `json:"operations"`
	Calm       int `json:"calm"`
	Fulfilled  int `json:"fulfilled"`
	// Ended counts outcomes by stage and code.
	Ended map[string]int `json:"ended"`
	// Faults counts what was done.
	Faults   map[string]int `json:"faults"`
	Promises []Promise      `json:"promises"`
	// Notes are what the user should know besides.
	Notes []string `json:"notes,omitempty"`
	// Repeat is the command that does the same again.
	Repeat string `json:"repeat"`
	// Directory has logs, data and the history of the run; empty when it was removed.
	Directory string `json:"directory,omitempty"`
}

// Held tells whether no promise was broken.
func (r *Report) Held() bool {
	for _, p := range r.Promises {
		if p.Result == Broken {
			return false
		}
	}
	return true
}

// WriteJSON writes the report as one object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// mostShown is how many violations of a promise are written out.
const mostShown = 5

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := []string{"PROMISE\t\tRESULT\tSEEN"}
	for _, p := range r.Promises {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s", p.ID, p.Name, p.Result, p.Seen))
	}
	if _, err := fmt.Fprintln(table, strings.Join(rows, "\n")); err != nil {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var text strings.Builder
	for _, p := range r.Promises {
		if len(p.Violations) == 0 {
			continue
		}
		fmt.Fprintf(&text, "\n%s %s is broken:\n", p.ID, p.Name)
		for i, v := range p.Violations {
			if i == mostShown {
				fmt.Fprintf(&text, "  … and %d more\n", len(p.Violations)-mostShown)
				break
			}
			fmt.Fprintf(&text, "  %s\n", strings.ReplaceAll(v, "\n", "\n  "))
		}
	}
	fmt.Fprintf(&text, "\n%d operations, %d of them before any fault: %s\n", r.Operations, r.Calm, counted(r.Ended))
	fmt.Fprintf(&text, "faults: %s\n", counted(r.Faults))
	fmt.Fprintf(&text, "repeat with: %s\n", r.Repeat)
	if r.Directory != "" {
		fmt.Fprintf(&text, "logs, data and history are in %s\n", r.Directory)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func counted(m map[string]int) string {
	var parts []string
	for _, name := range sortedNames(m) {
		parts = append(parts, fmt.Sprintf("%d %s", m[name], name))
	}
	return listedAll(parts)
}

func listedAll(parts []string) string {
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

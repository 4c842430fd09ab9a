package result

import (
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	t.Parallel()
	after := func(d time.Duration) *time.Duration { return &d }
	results := []Result{
		{Path: "a.go", Findings: 12, Received: after(1200 * time.Microsecond), Read: after(34 * time.Millisecond),
			Fulfilled: after(1234 * time.Millisecond), Attempts: 1, Stage: "FULFILLED"},
		{Path: "long/nämé.go", Attempts: 2, Stage: "REJECTED"},
		{Path: "open.go", Attempts: 1, Stage: "NONE"},
	}
	for _, tt := range []struct {
		name string
		runs int
		want string
	}{
		{name: "without runs", want: `
  FILE          FINDINGS  RECEIVED    READ  FULFILLED  ATTEMPTS
  a.go                12   +1.2 ms  +34 ms    +1.23 s         1
  long/nämé.go         0         -       -   REJECTED         2
  open.go              0         -       -          -         1
`},
		{name: "with runs", runs: 3, want: `
  FILE          FINDINGS  RECEIVED    READ  FULFILLED  ATTEMPTS  RUNS
  a.go                12   +1.2 ms  +34 ms    +1.23 s         1     3
  long/nämé.go         0         -       -   REJECTED         2     0
  open.go              0         -       -          -         1     0
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows := append([]Result(nil), results...)
			rows[0].Runs = tt.runs
			var b strings.Builder
			if err := Table(&b, rows); err != nil {
				t.Fatal(err)
			}
			if got := "\n" + b.String(); got != tt.want {
				t.Errorf("got%swant%s", got, tt.want)
			}
		})
	}
}

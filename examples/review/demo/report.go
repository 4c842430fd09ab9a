package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/result"
)

const legend = `
RECEIVED, READ and FULFILLED are counted from the send; "-" is a stage of which the client had not heard before a later
one, or the reply, came. ATTEMPTS is how often the message was sent, RUNS how often the reviewer's handler started for
it. The totals come from the client's handles and from a ledger that the handler writes:

  redelivered              messages with more than one attempt or more than one run
  handler runs repeated    runs beyond the first of each message: a run that was killed starts again
  outcomes recorded twice  messages whose outcome changed when it was read again, or that ran again after they had one
  lost                     messages without an outcome

`

// report prints table and totals, and fails when a total is wrong.
func (d *demo) report(o *outcome) error {
	results := o.sorted()
	t := count(o, results)
	fmt.Fprintln(d.out)
	if err := result.Table(d.out, results); err != nil {
		return err
	}
	findings := 0
	for _, r := range results {
		findings += r.Findings
	}
	fmt.Fprintf(d.out, "\n%d findings in %d files\n", findings, len(results))
	fmt.Fprint(d.out, legend)
	for _, line := range []struct {
		name string
		n    int
	}{
		{"sent", t.sent}, {"fulfilled", t.fulfilled}, {"redelivered", t.redelivered}, {"handler runs repeated", t.repeated},
		{"outcomes recorded twice", t.twice}, {"lost", t.lost},
	} {
		fmt.Fprintf(d.out, "%s %d\n", line.name, line.n)
	}
	if len(t.problems) > 0 {
		return errors.New(strings.Join(t.problems, "\n"))
	}
	return nil
}

// showGenerated shows that the schema gives the committed code.
func (d *demo) showGenerated(ctx context.Context) error {
	fmt.Fprintln(d.out, "\nbuf generate in examples/review, compared with the committed code:")
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "checkgenerated"), "-buf", filepath.Join(d.bin, "buf"), "examples/review")
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.root, d.out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compare the generated code: %w", err)
	}
	return nil
}

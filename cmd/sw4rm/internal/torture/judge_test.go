package torture

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/catalog"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

func TestEffects(t *testing.T) {
	name := filepath.Join(t.TempDir(), "effects")
	e := &effects{file: name}
	require.NoError(t, e.begin(t.Context()), "it need not be there yet")
	_, err := e.since(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(name, []byte("old 1\nold 2\ntwice 1\n"), 0o600))
	require.NoError(t, e.begin(t.Context()))
	require.NoError(t, os.WriteFile(name, []byte("old 1\nold 2\ntwice 1\ntwice 2\n\n  a#debit 5 EUR\n\"b\",x\nc\td\nc\n"), 0o600))
	seen, err := e.since(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]int{"twice": 1, "a#debit": 1, "b": 1, "c": 2}, seen)
	require.Equal(t, "a", tokenOf("a#debit"))

	e = &effects{command: "cat " + name}
	require.NoError(t, e.begin(t.Context()))
	seen, err = e.since(t.Context())
	require.NoError(t, err)
	require.Empty(t, seen)
	require.NoError(t, (&effects{}).begin(t.Context()))
}

// judged returns a run in which two operations were fulfilled, and others were not.
func judged(t *testing.T, effects string) (*run, []*operation) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "effects")
	require.NoError(t, os.WriteFile(name, []byte(effects), 0o600))
	known, err := catalog.Load(t.Context(), catalog.Source{Paths: []string{"../../../../examples/torture/proto"}})
	require.NoError(t, err)
	x := known[0]
	r := &run{history: newRecorder(), affecting: map[string]bool{x.Name(): true}, faults: &faults{}}
	r.effects.file = name
	all := []*operation{
		{key: "op-1", token: "t1", exchange: x, done: true}, {key: "op-2", token: "t2", exchange: x, done: true},
		{key: "op-3", token: "t3", exchange: x, done: true, err: ack.Rejectf(ack.ValidationError, "no")},
		{key: "op-4", exchange: x, done: true, refused: ack.Rejectf(ack.BufferFull, "full")}, {key: "op-5", token: "t5", exchange: x},
	}
	for _, o := range all {
		r.history.name(o.token, o.key)
	}
	return r, all
}

func TestJudgeEffects(t *testing.T) {
	for _, test := range []struct {
		name, effects string
		wrong         []string
	}{
		{"each once", "t1 x\nt2 x\n", nil},
		{"several of one operation", "t1#debit\nt1#credit\nt2\n", nil},
		{"of an open operation", "t1\nt2\nt5\n", nil},
		{"twice", "t1\nt2\nt1\n", []string{"t1 (op-1) has had its effect 2 times"}},
		{"not at all", "t1\n", []string{"t2 (op-2) was fulfilled and has had no effect"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, all := judged(t, test.effects)
			seen, wrong, err := r.judgeEffects(t.Context(), all)
			require.NoError(t, err)
			require.NotEmpty(t, seen)
			require.Len(t, wrong, len(test.wrong))
			for i := range wrong {
				require.Contains(t, wrong[i], test.wrong[i])
			}
		})
	}
	r, all := judged(t, "t1\nsomebody's\n")
	_, _, err := r.judgeEffects(t.Context(), all)
	var wrong *EffectsError
	require.ErrorAs(t, err, &wrong)
}

func TestTyped(t *testing.T) {
	_, all := judged(t, "")
	n, untyped := typed(all)
	require.Equal(t, 2, n)
	require.Empty(t, untyped)
	all[0].err = errors.New("something")
	all[1].err = &ack.Error{Stage: ack.Failed}
	n, untyped = typed(all)
	require.Equal(t, 4, n)
	require.Len(t, untyped, 2)
	require.Contains(t, untyped[0], "op-1")
}

// TestViolations breaks promises in a history, and finds each with its promise.
func TestViolations(t *testing.T) {
	e := func(at int64, op history.Op, kind history.Kind, stage, store string) history.Event {
		return history.Event{T: at, Actor: store, Op: op, Kind: kind, Key: "op", Token: "t", Message: "m", Stage: stage, Store: store}
	}
	sent := []history.Event{e(1, history.Send, history.Call, "", ""), e(2, history.Send, history.Return, "", "")}
	fulfilled := e(9, history.Finish, history.Return, "FULFILLED", "")
	for promise, events := range map[string][]history.Event{
		"P2": nil,
		"P3": {e(3, history.Custody, history.Call, "", "a"), e(4, history.Custody, history.Call, "", "b"), fulfilled},
		"P4": {e(3, history.Stage, history.Info, "READ", ""), e(4, history.Stage, history.Info, "RECEIVED", ""), fulfilled},
		"P8": {{T: 5, Op: history.Hold, Key: "op", Token: "t", Place: history.InQueue}},
	} {
		found := violations(append(sent[:2:2], events...), 0)
		require.Len(t, found, 1, "%s: %v", promise, found)
		require.Len(t, found[promise], 1, "%s: %v", promise, found)
	}
	require.Empty(t, violations(append(sent[:2:2], fulfilled), 0))

	poisoned := e(9, history.Finish, history.Return, "FAILED", "")
	poisoned.Note = "poison: its handler was cut off"
	require.Len(t, violations(append(sent[:2:2], poisoned), 0)["P3"], 1, "nothing was cut off")
}

// TestEveryCheckHasItsPromise wants each check of histories to be about a promise that the report tells of, or to be one
// that violations leaves switched off.
func TestEveryCheckHasItsPromise(t *testing.T) {
	off := []string{history.Moves, history.Drained, history.Bounded, history.NotVacuous} // the floor asks for them
	file, err := parser.ParseFile(token.NewFileSet(), "../history/check.go", nil, 0)
	require.NoError(t, err)
	checks := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if decl, ok := n.(*ast.GenDecl); ok && decl.Tok != token.CONST {
			return false
		}
		c, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		text, err := strconv.Unquote(c.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		checks++
		assert.NotEqual(t, slices.Contains(off, text), promiseOf[text] != "", "%s: %s", c.Names[0], text)
		return false
	})
	require.Equal(t, len(promiseOf)+len(off), checks)
}

func TestReport(t *testing.T) {
	r := &Report{Seed: 7, Operations: 3, Calm: 1, Ended: map[string]int{"FULFILLED": 3}, Repeat: "sw4rm torture --seed=7 -- x"}
	r.add("P2", "no loss", true, "all there", "nothing", nil)
	r.add("P6", "TTL", false, "x", "nothing had one", nil)
	require.True(t, r.Held())
	r.add("P3", "one outcome", true, "all there", "nothing", []string{"a\nb", "c", "d", "e", "f", "g", "h"})
	r.add("P4", "forward only", false, "all there", "nothing", []string{"once"})
	require.False(t, r.Held())
	var text bytes.Buffer
	require.NoError(t, r.WriteText(&text))
	require.Equal(t, `PROMISE                RESULT         SEEN
P2       no loss       held           all there
P6       TTL           not exercised  nothing had one
P3       one outcome   BROKEN         7 times; see below
P4       forward only  BROKEN         once; see below

P3 one outcome is broken:
  a
  b
  c
  d
  e
  f
  … and 2 more

P4 forward only is broken:
  once

3 operations, 1 of them before any fault: 3 FULFILLED
faults: none
repeat with: sw4rm torture --seed=7 -- x
`, text.String())
	require.Error(t, r.WriteText(failing{}))
	require.Error(t, r.WriteJSON(failing{}))
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestPlan draws the same faults from the same seed, within the run.
func TestPlan(t *testing.T) {
	for seed := range uint64(50) {
		for _, n := range []int{0, 1, 2, 12, 40} {
			all := plan(seed, 200, n)
			require.Equal(t, all, plan(seed, 200, n))
			require.Len(t, all, n)
			for i, f := range all {
				require.Less(t, f.after, 200)
				require.GreaterOrEqual(t, f.after, 0)
				require.NotEmpty(t, f.kind.String())
				require.Equal(t, f.kind == oldCopy && n < 16, i == n-1 && n > 2 && n < 16, "old copies come last")
			}
		}
	}
}

func TestSelected(t *testing.T) {
	known, err := catalog.Load(t.Context(), catalog.Source{Paths: []string{"../../../../examples/torture/proto"}})
	require.NoError(t, err)
	for only, n := range map[string]int{
		"Deposit": 1, "Ledger/Deposit": 1, "acme.ledger.v1.Ledger/Deposit": 1, "Ledger": 2, "acme.ledger.v1.Ledger": 2, "v1.Ledger": 0, "Nope": 0,
	} {
		count := 0
		for _, x := range known {
			if selected(x, []string{only}) {
				count++
			}
		}
		require.Equal(t, n, count, only)
	}
}

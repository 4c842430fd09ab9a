package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const tortureSchema = "../../examples/torture/proto"

// TestTortureErrors asks for what cannot be done. Each error names the thing and the remedy, on one line at the end.
func TestTortureErrors(t *testing.T) {
	schema, err := filepath.Abs(tortureSchema)
	require.NoError(t, err)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o600))
	garbage := filepath.Join(t.TempDir(), "schema.binpb")
	require.NoError(t, os.WriteFile(garbage, []byte("\xff"), 0o600))
	with := func(args ...string) []string { return append([]string{"torture", "--schema", schema}, args...) }
	for name, test := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"no command":             {with(), 2, []string{"there is no agent to start", "-- ./my-agent"}},
		"a command without --":   {with("./my-agent"), 2, []string{`"./my-agent" stands before --`}},
		"command not found":      {with("--", "no-such-agent-anywhere"), 2, []string{"no-such-agent-anywhere", "cannot be started"}},
		"command not executable": {with("--", garbage), 2, []string{garbage, "permission denied"}},
		"agent that ends": {
			with("--", "sh", "-c", "echo the disk is gone >&2; exit 3"), 1, []string{"ended by itself (exit status 3)", "the disk is gone"},
		},
		"agent that ends well":        {with("--", "true"), 1, []string{"ended by itself (exit status 0)", "it printed nothing"}},
		"agent that never connects":   {with("--start-timeout=300ms", "--", "sh", "-c", "echo waiting; sleep 60"), 1, []string{"has not connected", "within 300ms", "waiting", "SW4RM_ROUTER_ADDR"}},
		"no schema":                   {[]string{"torture", "--", "true"}, 2, []string{"--schema"}},
		"schema that is not there":    {[]string{"torture", "--schema", "/nowhere", "--", "true"}, 2, []string{"/nowhere"}},
		"unreadable schema":           {[]string{"torture", "--schema", garbage, "--", "true"}, 2, []string{garbage, "buf build"}},
		"address in use":              {with("--listen", taken.Addr().String(), "--", "true"), 3, []string{taken.Addr().String() + " is in use", "--listen localhost:0"}},
		"address of another machine":  {with("--listen", "192.0.2.1:1", "--", "true"), 3, []string{"192.0.2.1:1"}},
		"no operations":               {with("--ops=0", "--", "true"), 2, []string{"--ops is 0"}},
		"a negative number of faults": {with("--faults=-1", "--", "true"), 2, []string{"--faults is -1"}},
		"a lease that is too short":   {with("--lease=1ms", "--", "true"), 2, []string{"--lease is 1ms"}},
		"two kinds of effects":        {with("--effects=a", "--effects-command=b", "--", "true"), 2, []string{"--effects-command"}},
		"effects that fail":           {with("--effects-command=echo broken >&2; exit 1", "--", "true"), 1, []string{"--effects-command failed", "broken"}},
		"data that are there":         {with("--data", full, "--", "true"), 2, []string{full + " is not empty"}},
		"data that cannot be made":    {with("--data", filepath.Join(garbage, "data"), "--", "true"), 2, []string{garbage}},
		"an unknown flag":             {with("--nonsense", "--", "true"), 2, []string{"--nonsense"}},
	} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			code, stdout, stderr := run(t, []string{"TMPDIR=" + temp}, test.args...)
			require.Equal(t, test.code, code, stderr)
			require.Empty(t, stdout)
			if left, err := filepath.Glob(filepath.Join(temp, "sw4rm-torture-*")); assert.NoError(t, err) && !strings.HasPrefix(name, "agent that") {
				require.Empty(t, left, "what was not begun leaves nothing")
			}
			lines := strings.Split(strings.TrimSpace(stderr), "\n")
			last := lines[len(lines)-1]
			require.True(t, strings.HasPrefix(last, "sw4rm: "), stderr)
			require.Contains(t, last, "Fix: ")
			for _, want := range test.want {
				require.Contains(t, last, want)
			}
		})
	}
}

// TestTortureOfAnAgent asks for what an agent cannot do, and for the result as JSON.
func TestTortureOfAnAgent(t *testing.T) {
	schema, err := filepath.Abs(tortureSchema)
	require.NoError(t, err)
	other, err := filepath.Abs("../../examples/review/proto")
	require.NoError(t, err)
	agent := ledger(t)
	with := func(args ...string) []string { return append([]string{"torture", "--schema", schema}, args...) }
	t.Run("agent of another schema", func(t *testing.T) {
		code, _, stderr := run(t, nil, "torture", "--schema", other, "--", agent, "-book", filepath.Join(t.TempDir(), "book"))
		require.Equal(t, 2, code, stderr)
		require.Contains(t, stderr, "the schema has no exchange that the agent handles: ledger-1 serves acme.ledger.v1.Ledger, ledger, and the schema has acme.review.v1.")
	})
	t.Run("nothing of what is asked for", func(t *testing.T) {
		code, _, stderr := run(t, nil, with("--only=Nope", "--", agent, "-book", filepath.Join(t.TempDir(), "book"))...)
		require.Equal(t, 2, code, stderr)
		require.Contains(t, stderr, "--only Nope leaves nothing of acme.ledger.v1.Ledger/Close, acme.ledger.v1.Ledger/Deposit")
	})
	t.Run("effects of something else", func(t *testing.T) {
		code, _, stderr := run(t, nil, with("--ops=10", "--faults=1", "--effects-command=date +%N", "--", agent, "-book", filepath.Join(t.TempDir(), "book"))...)
		require.Equal(t, 1, code, stderr)
		require.Contains(t, stderr, "belongs to no operation of this run. Fix: begin each line with the operation's token")
	})
	t.Run("page", func(t *testing.T) { torturePage(t, schema, agent) })
	t.Run("as JSON", func(t *testing.T) { tortureAsJSON(t, schema, agent) })
}

// tortureAsJSON prints an object that programs read.
func tortureAsJSON(t *testing.T, schema, agent string) {
	data := filepath.Join(t.TempDir(), "data")
	code, stdout, stderr := run(t, nil, "torture", "--schema", schema, "--seed=5", "--ops=40", "--faults=2", "--json", "--data", data,
		"--only=Deposit,acme.ledger.v1.Ledger/Close", "--", agent, "-book", filepath.Join(t.TempDir(), "it's a book"))
	require.Equal(t, 0, code, "%s%s", stdout, stderr)
	var report struct {
		Seed       uint64
		Operations int
		Ended      map[string]int
		Faults     map[string]int
		Promises   []struct{ ID, Name, Result, Seen string }
		Repeat     string
		Directory  string
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	require.EqualValues(t, 5, report.Seed)
	require.GreaterOrEqual(t, report.Operations, 40)
	require.Len(t, report.Promises, 15)
	require.Equal(t, "P2 no loss held", report.Promises[1].ID+" "+report.Promises[1].Name+" "+report.Promises[1].Result)
	require.Contains(t, report.Repeat, "--only=Deposit --only=acme.ledger.v1.Ledger/Close --ops=40 --faults=2 --json=true -- ")
	require.Contains(t, report.Repeat, `it'\''s a book'`)
	require.Equal(t, data, report.Directory)
	require.FileExists(t, filepath.Join(data, "history.jsonl"))
	require.FileExists(t, filepath.Join(data, "agent.1.log"))
	total := 0
	for _, n := range report.Ended {
		total += n
	}
	require.Equal(t, report.Operations, total)
}

// torturePage runs the commands of docs/torture.md and compares what the page shows.
func torturePage(t *testing.T, schema, agent string) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "torture.md"))
	require.NoError(t, err)
	dir, bin := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(schema, filepath.Join(dir, "proto")))
	require.NoError(t, os.Symlink(agent, filepath.Join(bin, "ledger")))
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %q \"$@\"\n", asCommand, os.Args[0])
	require.NoError(t, os.WriteFile(filepath.Join(bin, "sw4rm"), []byte(script), 0o700))
	blocks := regexp.MustCompile("(?s)<!-- (\\w+) ?(\\d*) -->\n```\\w*\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Equal(t, strings.Count(string(page), "```"), 2*len(blocks), "every block says what to do with it")
	out, commands := "", 0
	for _, b := range blocks {
		if b[1] == "prints" {
			requireShown(t, b[3], out)
			continue
		}
		commands++
		cmd := exec.CommandContext(t.Context(), "sh", "-c", b[3])
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+t.TempDir())
		var said bytes.Buffer
		cmd.Stderr = &said
		shown, err := cmd.Output()
		require.Equal(t, b[2], fmt.Sprint(cmd.ProcessState.ExitCode()), "%s: %v\n%s\n%s", b[3], err, shown, &said)
		out = string(shown)
	}
	require.Equal(t, 3, commands)
	_, help, _ := run(t, nil, "torture", "--help")
	for _, flag := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(string(page), -1) {
		require.Contains(t, help, flag)
	}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d) \| (.*) \|$`).FindAllStringSubmatch(string(page), -1) {
		require.Contains(t, help, "  "+row[1]+"  "+row[2]+"\n")
	}
}

// ledger builds the example's agent.
func ledger(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/sw4rm/sw4rm-go/examples/torture/ledger").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

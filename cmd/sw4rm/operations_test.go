package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOperationsPage runs the command lines of docs/operations.md, in order, and compares what the page shows.
func TestOperationsPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	w := populated(t)
	w.stopServices()
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %q \"$@\"\n", asCommand, os.Args[0])
	require.NoError(t, os.WriteFile(filepath.Join(bin, "sw4rm"), []byte(script), 0o700))

	blocks := regexp.MustCompile("(?s)<!-- (\\w+) -->\n```\\w*\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Equal(t, strings.Count(string(page), "```"), 2*len(blocks), "every block says what to do with it")
	commands, out := 0, ""
	for _, b := range blocks {
		switch b[1] {
		case "run":
			cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", b[2])
			cmd.Dir = w.root
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			shown, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s\n%s", b[2], shown)
			out = string(shown)
			commands += strings.Count(b[2], "sw4rm buffer ")
		case "prints":
			requireShown(t, b[2], out)
		default:
			t.Fatalf("nobody knows what to do with %q", b[1])
		}
	}
	require.GreaterOrEqual(t, commands, 14)
	for _, verb := range []string{"ls", "data", "verify", "salvage", "export", "import", "backup", "restore", "upgrade", "requeue", "drop"} {
		require.Contains(t, string(page), "sw4rm buffer "+verb)
		w.ok("buffer", verb, "--help")
	}
	for _, flag := range []string{"--min-free-disk", "--max-work", "--max-waiting", "--max-agents"} {
		require.Contains(t, string(page), flag)
		require.Contains(t, w.ok("up", "--help"), flag)
	}
}

// requireShown checks that the lines that a page shows are among those that were printed, in order; … is any text.
func requireShown(t *testing.T, page, out string) {
	t.Helper()
	rest := strings.Join(columns(out), "\n") + "\n"
	for _, line := range columns(page) {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(line), " …", "…")
		pattern = strings.ReplaceAll(strings.ReplaceAll(pattern, `\|…`, "…"), `…\|`, "…")
		found := regexp.MustCompile("(?m)^" + strings.ReplaceAll(pattern, "…", ".*") + "$").FindStringIndex(rest)
		require.NotNil(t, found, "the page shows %q, and this was printed: %s", line, out)
		rest = rest[found[1]:]
	}
}

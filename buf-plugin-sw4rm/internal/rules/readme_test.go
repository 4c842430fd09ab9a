package rules_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"buf.build/go/bufplugin/check"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/buf-plugin-sw4rm/internal/rules"
)

// The tables in README.md are those that the code has.
func TestReadme(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	var want []string
	for _, r := range rules.Spec().Rules {
		command, byDefault := "`buf lint`", "yes"
		if r.Type == check.RuleTypeBreaking {
			command = "`buf breaking`"
		}
		if !r.Default {
			byDefault = "no"
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s | %s |", r.ID, command, byDefault, strings.Join(r.CategoryIDs, ", "), r.Purpose))
	}
	require.Equal(t, strings.Join(want, "\n"), strings.Join(table(string(b), "| rule |"), "\n"))

	want = nil
	for _, c := range rules.Spec().Categories {
		want = append(want, fmt.Sprintf("| `%s` | %s |", c.ID, c.Purpose))
	}
	require.Equal(t, strings.Join(want, "\n"), strings.Join(table(string(b), "| category |"), "\n"))

	want = nil
	for _, o := range rules.Options() {
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", o.Name, o.Values, o.Meaning))
	}
	require.Equal(t, strings.Join(want, "\n"), strings.Join(table(string(b), "| option |"), "\n"))
}

// table returns the rows of the table whose head begins as given.
func table(text, head string) []string {
	var rows []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, head):
			inside = true
		case inside && strings.HasPrefix(line, "| ---"):
		case inside && !strings.HasPrefix(line, "|"):
			return rows
		case inside:
			rows = append(rows, line)
		}
	}
	return rows
}

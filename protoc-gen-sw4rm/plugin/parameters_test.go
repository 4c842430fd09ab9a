package plugin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

// TestParametersAreDocumented holds the table for people to the parameters that there are.
func TestParametersAreDocumented(t *testing.T) {
	t.Parallel()
	document := plugintest.ReadFile(t, "../PARAMETERS.md")
	_, table, ok := strings.Cut(document, "| --- | --- | --- | --- |\n")
	require.True(t, ok)
	var want strings.Builder
	for _, p := range plugin.Parameters() {
		values := "`" + strings.ReplaceAll(p.Values, ", ", "`, `") + "`"
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", p.Name, values, p.Default, p.Meaning)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	require.Equal(t, want.String(), table+"\n")
}

// TestEveryParameterWorks passes each parameter with each of its values, and looks for what it does.
func TestEveryParameterWorks(t *testing.T) {
	t.Parallel()
	values := map[string][]string{
		"module": {"example.com/acme"}, "MFILE": {"example.com/other;other"}, "package_suffix": {"sw4rm"},
	}
	for _, p := range plugin.Parameters() {
		choices, ok := values[p.Name]
		if !ok {
			choices = strings.Split(p.Values, ", ")
		}
		for _, v := range choices {
			parameter := strings.Replace(p.Name, "FILE", "acme.proto", 1) + "=" + v
			t.Run(parameter, func(t *testing.T) {
				t.Parallel()
				resp := plugintest.Run(t, request(t, parameter, header+service))
				require.Empty(t, resp.GetError())
				require.NotEmpty(t, resp.GetFile())
			})
		}
	}
}

package agent_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/sw4rm/sw4rm-go"

// TestLinkedModules holds what a program links that uses generated code alone, or an agent without its store on disk. A
// module more is a decision, not an accident.
func TestLinkedModules(t *testing.T) {
	grpcBrings := []string{"golang.org/x/net", "golang.org/x/sys", "golang.org/x/text", "google.golang.org/genproto/googleapis/rpc"}
	tests := []struct {
		pkg  string
		want []string
	}{
		{"runtime/address", nil},
		{"runtime/exchange", []string{"google.golang.org/protobuf"}},
		{"runtime/agent", append([]string{"github.com/google/uuid", "google.golang.org/grpc", "google.golang.org/protobuf"}, grpcBrings...)},
	}
	for _, test := range tests {
		t.Run(test.pkg, func(t *testing.T) {
			got := deps(t, test.pkg, `{{with .Module}}{{.Path}}{{end}}`)
			require.ElementsMatch(t, append([]string{module}, test.want...), got)
		})
	}
}

// TestLinkedPackages holds that nothing of the runtime depends on what stands above it.
func TestLinkedPackages(t *testing.T) {
	for _, pkg := range []string{"runtime/exchange", "runtime/agent", "runtime/sw4rm"} {
		for _, dep := range deps(t, pkg, "{{.ImportPath}}") {
			for _, above := range []string{"cmd", "services", "examples", "runtime/agenttest", "proto/sw4rm/options"} {
				require.False(t, strings.HasPrefix(dep+"/", module+"/"+above+"/"), "%s links %s", pkg, dep)
			}
		}
	}
}

// deps returns what the format says of all packages that pkg links, sorted, each once.
func deps(t *testing.T, pkg, format string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-f", format, module+"/"+pkg).Output()
	require.NoError(t, err)
	lines := strings.Fields(string(out))
	slices.Sort(lines)
	return slices.Compact(lines)
}

//go:build mutants

package mutants

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mutant is a planted bug.
type mutant struct {
	// name says what is wrong.
	name string
	// edits plant it: one, or one for each of several guards that each cover for the other.
	edits []edit
	// by is the campaign that has to find it.
	by campaign
}

// edit changes a file: old, which is there once, becomes new.
type edit struct{ file, old, new string }

// campaign is a test of the project, with all that it needs to be repeated.
type campaign struct {
	name, pkg, run string
	// flags are the test's own.
	flags []string
}

func (c campaign) String() string {
	return strings.TrimSpace(fmt.Sprintf("go test %s -run '%s' %s", c.pkg, c.run, strings.Join(c.flags, " ")))
}

// root is the folder of the module.
const root = "../../../.."

// apply returns the file with the edit in it. It fails when the code has changed, and the bug can not be planted as it is
// written down.
func (e edit) apply(t *testing.T) []byte {
	t.Helper()
	code, err := os.ReadFile(filepath.Join(root, e.file))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(code), e.old), "how often %q is in %s", e.old, e.file)
	return []byte(strings.Replace(string(code), e.old, e.new, 1))
}

// plant writes an overlay for the go command and returns its path.
func (m mutant) plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for _, e := range m.edits {
		bad := filepath.Join(dir, filepath.Base(e.file))
		require.NoError(t, os.WriteFile(bad, e.apply(t), 0o600))
		good, err := filepath.Abs(filepath.Join(root, e.file))
		require.NoError(t, err)
		replace[good] = bad
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	require.NoError(t, err)
	path := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(path, overlay, 0o600))
	return path
}

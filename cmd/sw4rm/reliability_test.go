package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReliabilityPage wants every test and command that docs/reliability.md names to exist.
func TestReliabilityPage(t *testing.T) {
	const root = "../.."
	page, err := os.ReadFile(filepath.Join(root, "docs", "reliability.md"))
	require.NoError(t, err)
	named := 0
	for _, m := range regexp.MustCompile("`(\\./[\\w./-]+)` ((?:(?:Test|Fuzz)\\w+(?:, )?)+)").FindAllStringSubmatch(string(page), -1) {
		files, err := filepath.Glob(filepath.Join(root, m[1], "*_test.go"))
		require.NoError(t, err)
		var code strings.Builder
		for _, file := range files {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			code.Write(b)
		}
		for name := range strings.SplitSeq(strings.TrimSuffix(m[2], ", "), ", ") {
			assert.True(t, strings.Contains(code.String(), "func "+name+"("), "%s has no %s", m[1], name)
			named++
		}
	}
	require.Greater(t, named, 30)

	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	commands := regexp.MustCompile("`make ([a-z-]+)").FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, commands)
	for _, m := range commands {
		assert.Regexp(t, `(?m)^`+regexp.QuoteMeta(m[1])+`:`, string(makefile))
	}
}

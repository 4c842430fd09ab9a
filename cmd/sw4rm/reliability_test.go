package main

import (
	"io/fs"
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

// TestEveryPackageLooksForLeaks wants goroutines that a package's tests leave behind to fail them.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	const root = "../.."
	looks := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() != ".." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		code, err := os.ReadFile(path)
		dir := filepath.Dir(path)
		looks[dir] = looks[dir] || strings.Contains(string(code), "goleak.VerifyTestMain(") || strings.Contains(string(code), "goleak.Find(")
		return err
	})
	require.NoError(t, err)
	require.Greater(t, len(looks), 40)
	for dir, does := range looks {
		assert.True(t, does, "%s has tests and no TestMain with goleak", dir)
	}
}

// Package source finds the Go files that are to be reviewed.
package source

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files returns the Go files that are named, and those below the folders that are named, sorted and each once. Folders
// whose names begin with a dot or an underscore are left out, and so is vendor.
func Files(paths ...string) ([]string, error) {
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("find Go files: %w", err)
		}
		if !info.IsDir() {
			files = append(files, filepath.Clean(p))
			continue
		}
		below, err := walk(p)
		if err != nil {
			return nil, fmt.Errorf("find Go files: %w", err)
		}
		files = append(files, below...)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

func walk(root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != root && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "vendor") {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() && strings.HasSuffix(d.Name(), ".go") {
			files = append(files, filepath.Clean(p))
		}
		return nil
	})
	return files, err
}

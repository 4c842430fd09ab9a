//go:build !unix

package pebble

import (
	"fmt"
	"os"
	"path/filepath"
)

// prepareDir makes dir if it is missing. Who may use it is up to the access control list that it inherits.
func prepareDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("creating data directory: %w", err)
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding data directory %s: %w", dir, err)
	}
	return filepath.EvalSymlinks(absolute)
}

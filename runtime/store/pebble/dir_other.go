//go:build !unix

package pebble

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// prepareDir makes dir if it is missing. Who may use it is up to the access control list that it inherits.
func prepareDir(dir string) (string, error) {
	if dir == "" {
		return "", &store.PermissionError{Dir: `""`, Problem: "it has no name", Fix: "name a directory that you can write"}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", &store.PermissionError{
			Dir: dir, Problem: fmt.Sprintf("it cannot be made: %v", err), Fix: "use a directory that you can write",
		}
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding data directory %s: %w", dir, err)
	}
	return filepath.EvalSymlinks(absolute)
}

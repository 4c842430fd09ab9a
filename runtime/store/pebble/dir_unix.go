//go:build unix

package pebble

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// prepareDir makes dir if it is missing and sees to it that nobody else can use it. It returns the path without links:
// what is checked is what is used, and one directory has one name.
func prepareDir(dir string) (string, error) {
	if dir == "" {
		return "", &store.PermissionError{Dir: `""`, Problem: "it has no name", Fix: "name a directory that you can write"}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", unusable(dir, "cannot be made", err)
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding data directory %s: %w", dir, err)
	}
	real, err := filepath.EvalSymlinks(absolute)
	if err != nil {
		return "", fmt.Errorf("finding data directory %s: %w", dir, err)
	}
	info, err := os.Lstat(real)
	if err != nil {
		return "", fmt.Errorf("looking at data directory: %w", err)
	}
	return real, checkDir(real, info)
}

func checkDir(dir string, info os.FileInfo) error {
	if !info.IsDir() {
		return &store.PermissionError{Dir: dir, Problem: "it is no directory", Fix: "name a directory"}
	}
	me := os.Geteuid()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && me != 0 && int(stat.Uid) != me {
		return &store.PermissionError{
			Dir:     dir,
			Problem: fmt.Sprintf("it belongs to user %d and this process runs as user %d", stat.Uid, me),
			Fix:     fmt.Sprintf("chown it to user %d, or use another directory", me),
		}
	}
	mode := info.Mode().Perm()
	if mode&0o022 != 0 {
		return &store.PermissionError{
			Dir:     dir,
			Problem: fmt.Sprintf("others can write to it (mode %04o)", mode),
			Fix:     fmt.Sprintf("make sure that its content is yours, then chmod 700 %s", dir),
		}
	}
	if mode == 0o700 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		if errors.Is(err, os.ErrPermission) {
			return &store.PermissionError{
				Dir:     dir,
				Problem: fmt.Sprintf("others can read it (mode %04o)", mode),
				Fix:     "chmod 700 " + dir,
			}
		}
		return unusable(dir, "cannot be restricted to you", err)
	}
	return nil
}

// unusable says what the system has against dir.
func unusable(dir, problem string, err error) error {
	return &store.PermissionError{
		Dir:     dir,
		Problem: fmt.Sprintf("it %s: %v", problem, err),
		Fix:     "use a directory that you can write",
	}
}

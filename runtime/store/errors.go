package store

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound says that there is no value under a key.
	ErrNotFound = errors.New("not found")
	// ErrFailed says that a write, sync or read has failed, and that the store takes and answers nothing any more. After
	// a read of damage it comes with a *DamagedError.
	ErrFailed = errors.New("the store has failed")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrStop ends a scan early.
	ErrStop = errors.New("stop")
)

// InUseError says that another process, or this one, has the directory open.
type InUseError struct{ Dir string }

// Error implements error.
func (e *InUseError) Error() string {
	return fmt.Sprintf("data directory %s is in use by another process. Fix: stop that process, or use another directory", e.Dir)
}

// VersionError says that another version of this software wrote the directory, and that this one does not read it.
type VersionError struct {
	Dir         string
	Found, Know int
}

// Error implements error.
func (e *VersionError) Error() string {
	if e.Found < e.Know {
		return fmt.Sprintf("data directory %s has format %d, which is too old for this version. Fix: open it once with a version that is between the two", e.Dir, e.Found)
	}
	return fmt.Sprintf("data directory %s has format %d, and this version reads up to %d. Fix: use the version that wrote it, or a newer one", e.Dir, e.Found, e.Know)
}

// DamagedError says that what was read is not what was written.
type DamagedError struct {
	// File is the damaged file or the directory; Offset is its place in the file, -1 when unknown.
	File   string
	Offset int64
	// Key is the damaged record's key, if it is known.
	Key []byte
	Err error
}

// Error implements error.
func (e *DamagedError) Error() string {
	text := fmt.Sprintf("%s is damaged", e.File)
	if e.Offset >= 0 {
		text += fmt.Sprintf(" at byte %d", e.Offset)
	}
	if len(e.Key) > 0 {
		text += fmt.Sprintf(" (record %q)", e.Key)
	}
	return fmt.Sprintf("%s: %v. Fix: restore the directory from a backup, or see with sw4rm buffer verify what is damaged and copy what is whole with sw4rm buffer salvage; it was left as it is", text, e.Err)
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Err }

// PermissionError says that the directory cannot be used as it is.
type PermissionError struct {
	Dir          string
	Problem, Fix string
}

// Error implements error.
func (e *PermissionError) Error() string {
	return fmt.Sprintf("data directory %s: %s. Fix: %s", e.Dir, e.Problem, e.Fix)
}

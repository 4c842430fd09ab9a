package offline

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// Backup copies a directory to target: a new file if its name ends with .tar, else a new directory. The directory is read
// from end to end before, and locked until the copy is on disk.
func Backup(ctx context.Context, dir, target string, w io.Writer) error {
	var instance store.Instance
	var err error
	files := 0
	each := func(put func(name string, size int64, content io.Reader) error) error {
		instance, err = pebble.Copy(dir, options(), func(name string, size int64, content io.Reader) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			files++
			return put(name, size, content)
		})
		return err
	}
	if strings.HasSuffix(target, ".tar") {
		err = backupFile(target, each)
	} else {
		err = build(target, func(tmp string) error {
			err := each(func(name string, _ int64, content io.Reader) error { return putFile(tmp, name, content) })
			return errors.Join(err, syncDir(tmp))
		})
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "backup of store %s after opening %d: %d files in %s\n", instance.ID, instance.Epoch, files, target)
	return err
}

// putFile writes a new file into dir, durably.
func putFile(dir, name string, content io.Reader) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// backupFile writes an archive under another name, and gives it its own when it is on disk.
func backupFile(target string, each func(func(name string, size int64, content io.Reader) error) error) (err error) {
	if _, err := os.Lstat(target); err == nil {
		return &TargetError{target, "it exists", "name a file that does not exist"}
	}
	f, err := os.OpenFile(target+".unfinished", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return &TargetError{target, fmt.Sprintf("it cannot be made: %v", err), "name a file in a directory that you can write, and remove what is left of an interrupted backup"}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	archive := tar.NewWriter(f)
	err = each(func(name string, size int64, content io.Reader) error {
		head := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if err := archive.WriteHeader(head); err != nil {
			return err
		}
		_, err := io.Copy(archive, content)
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(archive.Close(), f.Sync()); err != nil {
		return fmt.Errorf("writing %s: %w", target, err)
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(filepath.Dir(target)))
}

// Restore makes the new directory dir of a backup, reads it from end to end, and makes it fit to be opened: in place of the
// one that was copied, or, with fresh, as a store of its own.
func Restore(ctx context.Context, backup, dir string, fresh bool, w io.Writer) error {
	var next store.Instance
	var kind Kind
	err := build(dir, func(tmp string) error {
		if err := unpack(ctx, backup, tmp); err != nil {
			return err
		}
		if err := verifyBackup(ctx, backup, tmp); err != nil {
			return err
		}
		err := read(tmp, func(_ store.Reader, k Kind) error {
			kind = k
			return nil
		})
		if err != nil {
			return err
		}
		next, err = pebble.Adopt(tmp, options(), fresh)
		return err
	})
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s is store %s again, as of opening %d", dir, next.ID, next.Epoch)
	switch {
	case fresh:
		text = ownStore(dir, next.ID, kind)
	case kind == Agent:
		text += ". If that one was opened since the backup, the router refuses this one as rolled back: then restore with --new-instance"
	}
	_, err = fmt.Fprintln(w, text)
	return err
}

// verifyBackup checks what was unpacked of a backup into tmp, and tells of it as of the backup.
func verifyBackup(ctx context.Context, backup, tmp string) error {
	var found strings.Builder
	err := Verify(ctx, tmp, &found)
	var none *store.PermissionError
	var version *store.VersionError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &none):
		return &TargetError{backup, none.Problem, "use a file or directory that sw4rm buffer backup has made"}
	case errors.As(err, &version):
		return &store.VersionError{Dir: backup, Found: version.Found, Know: version.Know}
	}
	first, _, _ := strings.Cut(strings.ReplaceAll(strings.ReplaceAll(found.String(), tmp+"/", ""), tmp, backup), "\n")
	return &BackupError{Backup: backup, Found: first, Err: err}
}

// BackupError says that a backup is not what was copied.
type BackupError struct {
	Backup string
	// Found is the first damage.
	Found string
	Err   error
}

// Error implements error.
func (e *BackupError) Error() string {
	found := e.Found
	if found == "" {
		found = e.Err.Error()
	}
	return fmt.Sprintf("the backup %s cannot be restored: %s. Fix: use another backup; nothing was made of this one", e.Backup, found)
}

// Unwrap returns the cause.
func (e *BackupError) Unwrap() error { return e.Err }

// unpack puts the files of a backup into dir.
func unpack(ctx context.Context, backup, dir string) error {
	info, err := os.Stat(backup)
	if err != nil {
		return &TargetError{backup, fmt.Sprintf("it cannot be read: %v", err), "name a file or directory that sw4rm buffer backup has made"}
	}
	if info.IsDir() {
		return unpackDir(ctx, backup, dir)
	}
	f, err := os.Open(backup)
	if err != nil {
		return &TargetError{backup, fmt.Sprintf("it cannot be read: %v", err), "name a file that you can read"}
	}
	return errors.Join(unpackArchive(ctx, backup, tar.NewReader(f), dir), f.Close(), syncDir(dir))
}

func unpackArchive(ctx context.Context, backup string, archive *tar.Reader, dir string) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		head, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &TargetError{backup, fmt.Sprintf("it is no whole archive: %v", err), "use another backup"}
		case head.Typeflag != tar.TypeReg || !plainName(head.Name):
			return &TargetError{backup, fmt.Sprintf("it holds %q, which no data directory has", head.Name), "use a file that sw4rm buffer backup has made"}
		}
		err = putFile(dir, head.Name, archive)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return &TargetError{backup, "it is no whole archive: it ends in the middle of a file", "use another backup"}
		}
		if err != nil {
			return fmt.Errorf("unpacking %s: %w", backup, err)
		}
	}
}

func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\\\x00")
}

// unpackDir copies a backup that is a directory: it may be restored more than once, so it stays as it is.
func unpackDir(ctx context.Context, backup, dir string) error {
	_, err := pebble.Copy(backup, options(), func(name string, _ int64, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return putFile(dir, name, content)
	})
	return errors.Join(err, syncDir(dir))
}

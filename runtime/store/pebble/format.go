package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// format is the version of what is in the directory. It grows with every change that an older version cannot read.
const format = 1

// oldestFormat is the oldest that Open still reads.
const oldestFormat = 1

// formatName is the file that tells whose directory it is.
const formatName = "sw4rm.format"

// The states of a directory. In the first, nothing in it was ever promised to anybody.
const (
	stateMaking = "making"
	stateReady  = "ready"
)

// formatFile is the content of the format file.
type formatFile struct {
	version   int
	state, id string
}

func (f formatFile) encode() []byte {
	text := fmt.Sprintf("sw4rm format %d\nstate %s\nid %s\n", f.version, f.state, f.id)
	return fmt.Appendf([]byte(text), "crc32c %08x\n", crc32.Checksum([]byte(text), castagnoli()))
}

// readFormat reads dir's format file. The error is isNotExist when there is none.
func readFormat(fs vfs.FS, dir string) (f formatFile, err error) {
	path := fs.PathJoin(dir, formatName)
	data, err := readFile(fs, path)
	if err != nil {
		return f, err
	}
	text, sum := data, []byte(nil)
	if at := bytes.LastIndex(data, []byte("crc32c ")); at >= 0 {
		text, sum = data[:at], data[at:]
	}
	if string(sum) != fmt.Sprintf("crc32c %08x\n", crc32.Checksum(text, castagnoli())) {
		return f, damaged(path, -1, errors.New("its checksum does not match"))
	}
	if _, err := fmt.Sscanf(string(text), "sw4rm format %d\n", &f.version); err != nil {
		return f, damaged(path, 0, fmt.Errorf("it does not begin with a format: %w", err))
	}
	if f.version < oldestFormat || f.version > format {
		return f, &store.VersionError{Dir: dir, Found: f.version, Know: format}
	}
	if _, err := fmt.Sscanf(string(text), "sw4rm format %d\nstate %s\nid %s\n", &f.version, &f.state, &f.id); err != nil {
		return f, damaged(path, -1, fmt.Errorf("it does not read: %w", err))
	}
	return f, nil
}

// writeFormat replaces dir's format file, durably.
func writeFormat(fs vfs.FS, dir string, f formatFile) error {
	path := fs.PathJoin(dir, formatName)
	if err := replaceFile(fs, dir, path, f.encode()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func replaceFile(fs vfs.FS, dir, path string, data []byte) error {
	file, err := fs.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := fs.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }

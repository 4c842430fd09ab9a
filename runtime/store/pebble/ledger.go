package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// ledgerName is the file of the ledger.
const ledgerName = "sw4rm.synced"

// ledger notes, for each log and manifest, how many bytes of it are known to be synced and their CRC32C. Opening
// compares: Pebble takes damage near the end of a log or manifest for its end and would open with less.
//
// The ledger's own file is written after each sync, but synced only when a file goes and at Close. It is exact after
// the process ended in whatever way, and may lag after a power cut; what it says is true in both cases, since the
// files only grow.
type ledger struct {
	fs   vfs.FS
	path string

	mu      sync.Mutex
	file    vfs.File
	serial  uint64
	entries []ledgerEntry
	buf     []byte
}

// ledgerEntry says that the first size bytes of a file have the sum.
type ledgerEntry struct {
	name string
	size uint64
	sum  uint32
}

// The file has two slots, written in turn, so that one of them is whole whenever the power fails.
const ledgerSlot = 4096

// readLedger reads dir's ledger. A missing or unreadable one claims nothing.
func readLedger(fs vfs.FS, dir string) (*ledger, error) {
	l := &ledger{fs: fs, path: fs.PathJoin(dir, ledgerName)}
	data, err := readFile(fs, l.path)
	if err != nil && !isNotExist(err) {
		return nil, err
	}
	for at := 0; at < 2; at++ {
		from := min(at*ledgerSlot, len(data))
		serial, entries, ok := decodeSlot(data[from:min(from+ledgerSlot, len(data))])
		if ok && serial > l.serial {
			l.serial, l.entries = serial, entries
		}
	}
	return l, nil
}

// open makes the ledger writable.
func (l *ledger) open(private bool) error {
	file, err := l.fs.OpenReadWrite(l.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("opening %s: %w", l.path, err)
	}
	if private {
		if err := os.Chmod(l.path, 0o600); err != nil {
			return errors.Join(fmt.Errorf("restricting %s: %w", l.path, err), file.Close())
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file = file
	return nil
}

// close makes the ledger durable and closes it.
func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	return err
}

// A slot is a CRC32C of the rest, its length in bytes, the serial number and the entries.
const slotHeader = 4 + 4 + 8

func decodeSlot(slot []byte) (serial uint64, entries []ledgerEntry, ok bool) {
	if len(slot) < slotHeader {
		return 0, nil, false
	}
	n := binary.LittleEndian.Uint32(slot[4:])
	if n < slotHeader || uint64(n) > uint64(len(slot)) {
		return 0, nil, false
	}
	if binary.LittleEndian.Uint32(slot) != crc32.Checksum(slot[4:n], castagnoli()) {
		return 0, nil, false
	}
	serial = binary.LittleEndian.Uint64(slot[8:])
	for rest := slot[slotHeader:n]; len(rest) > 0; {
		name := int(rest[0])
		if len(rest) < 1+name+12 {
			return 0, nil, false
		}
		entries = append(entries, ledgerEntry{
			name: string(rest[1 : 1+name]),
			size: binary.LittleEndian.Uint64(rest[1+name:]),
			sum:  binary.LittleEndian.Uint32(rest[9+name:]),
		})
		rest = rest[13+name:]
	}
	return serial, entries, true
}

func (l *ledger) encodeSlot() []byte {
	buf := append(l.buf[:0], make([]byte, slotHeader)...)
	binary.LittleEndian.PutUint64(buf[8:], l.serial)
	for _, e := range l.entries {
		if len(buf)+13+len(e.name) > ledgerSlot {
			break // an absurd number of files: the rest is not watched
		}
		buf = append(buf, byte(len(e.name)))
		buf = append(buf, e.name...)
		buf = binary.LittleEndian.AppendUint64(buf, e.size)
		buf = binary.LittleEndian.AppendUint32(buf, e.sum)
	}
	binary.LittleEndian.PutUint32(buf[4:], uint32(len(buf)))
	binary.LittleEndian.PutUint32(buf, crc32.Checksum(buf[4:], castagnoli()))
	l.buf = buf
	return buf
}

// write writes the next slot. The caller holds mu.
func (l *ledger) write() error {
	if l.file == nil {
		return nil
	}
	l.serial++
	_, err := l.file.WriteAt(l.encodeSlot(), int64(l.serial%2)*ledgerSlot)
	return err
}

// forget makes durable that nothing is claimed of the file.
func (l *ledger) forget(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.find(name)
	if at < 0 {
		return nil
	}
	l.entries = slices.Delete(l.entries, at, at+1)
	if l.file == nil {
		return nil
	}
	if err := l.write(); err != nil {
		return err
	}
	return l.file.SyncData()
}

func (l *ledger) find(name string) int {
	return slices.IndexFunc(l.entries, func(e ledgerEntry) bool { return e.name == name })
}

// track follows a file that is written from its beginning.
func (l *ledger) track(name string) *track { return &track{ledger: l, entry: ledgerEntry{name: name}} }

// track is what was written to one file. A nil track follows nothing. One goroutine at a time writes a file.
type track struct {
	ledger *ledger
	entry  ledgerEntry
}

func (t *track) wrote(p []byte) {
	if t != nil {
		t.entry.size += uint64(len(p))
		t.entry.sum = crc32.Update(t.entry.sum, castagnoli(), p)
	}
}

// synced notes that everything written so far is synced.
func (t *track) synced() error {
	if t == nil {
		return nil
	}
	l := t.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	switch at := l.find(t.entry.name); {
	case at < 0:
		l.entries = append(l.entries, t.entry)
	case l.entries[at] == t.entry:
		return nil
	default:
		l.entries[at] = t.entry
	}
	if err := l.write(); err != nil {
		return fmt.Errorf("noting what is synced in %s: %w", l.path, err)
	}
	return nil
}

// verify compares the files of dir with what is claimed of them.
func (l *ledger) verify(dir string) error {
	for _, e := range l.entries {
		if err := e.verify(l.fs, dir); err != nil {
			return err
		}
	}
	return nil
}

// errMissing is damage: a file that should be there is not.
var errMissing = errors.New("the file is missing")

// verify compares a file of dir with what is claimed of it.
func (e ledgerEntry) verify(fs vfs.FS, dir string) error {
	path := fs.PathJoin(dir, e.name)
	data, err := readFile(fs, path)
	if isNotExist(err) && !isLog(e.name) {
		return nil // made shortly before a power cut; if it is the current one, Pebble misses it
	}
	if isNotExist(err) {
		return damaged(path, -1, errMissing)
	}
	if err != nil {
		return err
	}
	if uint64(len(data)) < e.size {
		return damaged(path, int64(len(data)), fmt.Errorf("the file ends here and had %d synced bytes", e.size))
	}
	if crc32.Checksum(data[:e.size], castagnoli()) != e.sum {
		return damaged(path, firstBroken(e.name, data[:e.size]),
			fmt.Errorf("the checksum of its first %d bytes does not match", e.size))
	}
	return nil
}

func damaged(file string, offset int64, err error) error {
	return &store.DamagedError{File: file, Offset: offset, Err: err}
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	var data bytes.Buffer
	if info, err := f.Stat(); err == nil {
		data.Grow(int(info.Size()) + bytes.MinRead)
	}
	_, err = io.Copy(&data, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return data.Bytes(), nil
}

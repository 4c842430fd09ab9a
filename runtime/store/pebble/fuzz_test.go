package pebble

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// FuzzFrame reads a stored value that could be anything.
func FuzzFrame(f *testing.F) {
	frame := make([]byte, 3+frameOverhead)
	fillFrame(frame, []byte("ukey"), []byte("abc"))
	f.Add([]byte("ukey"), frame)
	f.Add([]byte("ukey"), frame[:frameOverhead])
	f.Add([]byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, key, frame []byte) {
		payload, err := openFrame(key, frame)
		if err != nil {
			return
		}
		again := make([]byte, len(payload)+frameOverhead)
		if fillFrame(again, key, payload); !bytes.Equal(again, frame) {
			t.Fatalf("%x was read as %x, which is written as %x", frame, payload, again)
		}
	})
}

// FuzzLedger reads a note of what is synced that could be anything.
func FuzzLedger(f *testing.F) {
	l := &ledger{serial: 7, entries: []ledgerEntry{{"000002.log", 100, 5}, {"MANIFEST-000001", 9, 1}}}
	f.Add(bytes.Clone(l.encodeSlot()))
	f.Add(l.encodeSlot()[:20])
	f.Fuzz(func(t *testing.T, slot []byte) {
		serial, entries, ok := decodeSlot(slot)
		if !ok || len(slot) > ledgerSlot {
			return
		}
		again := (&ledger{serial: serial, entries: entries}).encodeSlot()
		if !bytes.HasPrefix(slot, again) {
			t.Fatalf("%x was read as %d %v, which is written as %x", slot, serial, entries, again)
		}
	})
}

// FuzzFiles checks a directory whose format file, log and manifest could be anything: it is found sound, damaged or of a
// newer version.
func FuzzFiles(f *testing.F) {
	f.Add(formatFile{state: stateReady, id: "0123"}.encode(), []byte("log"), []byte("manifest"))
	for _, data := range [][]byte{nil, make([]byte, 40), bytes.Repeat([]byte{0xff}, chunkBlock+20)} {
		f.Add(data, data, data)
	}
	f.Fuzz(func(t *testing.T, format, log, manifest []byte) {
		fs := vfs.NewMem()
		for name, data := range map[string][]byte{formatName: format, "000002.log": log, "MANIFEST-000001": manifest} {
			if err := replaceFile(fs, "/", name, data); err != nil {
				t.Fatal(err)
			}
		}
		_, err := readFormat(fs, "")
		for _, err := range []error{err, checkLog(fs, "000002.log"), checkManifest(fs, "MANIFEST-000001")} {
			var damage *store.DamagedError
			var version *store.VersionError
			if err != nil && !errors.As(err, &damage) && !errors.As(err, &version) {
				t.Fatalf("it is no damage: %v", err)
			}
		}
	})
}

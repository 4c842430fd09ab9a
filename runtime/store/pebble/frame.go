package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// A stored value is a version byte, the payload, and the CRC32C, little-endian, of the engine's key, the version byte
// and the payload. The key takes part so that a value found under another key shows too.
const (
	frameVersion  = 1
	frameOverhead = 1 + crc32.Size
)

// The engine's keys begin with one of these bytes, so that no user's key can meet one of ours.
const (
	metaSpace = 'm'
	userSpace = 'u'
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once by hash/crc32

// fillFrame writes the frame of payload into frame, whose length is len(payload)+frameOverhead.
func fillFrame(frame, key, payload []byte) {
	frame[0] = frameVersion
	n := 1 + copy(frame[1:], payload)
	binary.LittleEndian.PutUint32(frame[n:], frameSum(key, frame[:n]))
}

func frameSum(key, framed []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli(), key), castagnoli(), framed)
}

// openFrame returns the payload, which shares memory with frame.
func openFrame(key, frame []byte) ([]byte, error) {
	if len(frame) < frameOverhead {
		return nil, fmt.Errorf("the record has %d bytes, fewer than any record", len(frame))
	}
	n := len(frame) - crc32.Size
	if binary.LittleEndian.Uint32(frame[n:]) != frameSum(key, frame[:n]) {
		return nil, errors.New("the record's checksum does not match")
	}
	if frame[0] != frameVersion {
		return nil, fmt.Errorf("the record has version %d, not %d", frame[0], frameVersion)
	}
	return frame[1:n], nil
}

// payload opens the frame of the value under the engine's key.
func (d *DB) payload(key, frame []byte) ([]byte, error) {
	payload, err := openFrame(key, frame)
	if err != nil {
		return nil, &store.DamagedError{File: d.dir, Offset: -1, Key: append([]byte{}, key[1:]...), Err: err}
	}
	return payload, nil
}

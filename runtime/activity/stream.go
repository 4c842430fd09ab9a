package activity

import (
	"encoding/binary"
	"fmt"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
)

// frameKey is where a frame lies. The run is part of it, so that frames of one are never taken for those of another.
func frameKey(prefix string, record, run, n uint64) []byte {
	key := binary.BigEndian.AppendUint64(numberKey(prefix, record), run)
	return binary.BigEndian.AppendUint64(key, n)
}

// removeFrames removes all frames of a record.
func (t *tx) removeFrames(prefix string, record uint64) {
	t.batch.DeleteRange(numberKey(prefix, record), numberKey(prefix, record+1))
}

// frame reads a frame; ErrUnknown when it is not there. It needs no lock: frames are written once.
func (b *Buffer) frame(prefix string, record, run, n uint64, what string) (*storagepb.Frame, error) {
	var f storagepb.Frame
	if err := b.load(frameKey(prefix, record, run, n), &f); err != nil {
		return nil, fmt.Errorf("frame %d of %s %d: %w", n, what, record, err)
	}
	return &f, nil
}

// frameRoom tells whether the buffer has room for more frames: they share the bound of what is kept for deduplication.
func (b *Buffer) frameRoom() (used int64, ok bool) {
	used = b.frameBytes + b.meta.totals.dedupBytes()
	return used, used < b.cfg.MaxDedupBytes
}

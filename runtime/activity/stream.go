package activity

import (
	"cmp"
	"encoding/binary"
	"fmt"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
)

// Sequence names one sequence of frames of a stream: the attempt and the run of the handler that began it. The zero
// Sequence is that of frames whose sender numbers none.
type Sequence struct {
	Attempt uint32
	Run     uint64
}

// Compare orders sequences by age: a later one replaces an earlier one.
func (s Sequence) Compare(t Sequence) int {
	return cmp.Or(cmp.Compare(s.Attempt, t.Attempt), cmp.Compare(s.Run, t.Run))
}

// sequenced is what the states of both sides have in common.
type sequenced interface {
	GetAttempt() uint32
	GetRun() uint64
}

func sequenceOf(s sequenced) Sequence { return Sequence{Attempt: s.GetAttempt(), Run: s.GetRun()} }

// frameKey is where a frame lies. The sequence is part of it, so that frames of one are never taken for those of another.
func frameKey(prefix string, record uint64, s Sequence, n uint64) []byte {
	key := binary.BigEndian.AppendUint32(numberKey(prefix, record), s.Attempt)
	key = binary.BigEndian.AppendUint64(key, s.Run)
	return binary.BigEndian.AppendUint64(key, n)
}

// removeFrames removes all frames of a record.
func (t *tx) removeFrames(prefix string, record uint64) {
	t.batch.DeleteRange(numberKey(prefix, record), numberKey(prefix, record+1))
}

// frame reads a frame; ErrUnknown when it is not there. It needs no lock: frames are written once.
func (b *Buffer) frame(prefix string, record uint64, s Sequence, n uint64, what string) (*storagepb.Frame, error) {
	var f storagepb.Frame
	if err := b.load(frameKey(prefix, record, s, n), &f); err != nil {
		return nil, fmt.Errorf("frame %d of %s %d: %w", n, what, record, err)
	}
	return &f, nil
}

// frameRoom tells whether the buffer has room for more frames: they share the bound of what is kept for deduplication.
func (b *Buffer) frameRoom() (used int64, ok bool) {
	used = b.frameBytes + b.meta.totals.dedupBytes()
	return used, used < b.cfg.DedupMaxBytes
}

package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble's logs and manifests are chunks in blocks of 32 KiB. A chunk is a masked CRC32C of all after its length, the
// payload's length, a type, in logs also the low 32 bits of the log's number and, from FormatWALSyncChunks on, the
// offset up to which the log was synced when the chunk was written; then the payload.
const (
	chunkBlock  = 32 << 10
	plainHeader = 7
	logHeader   = plainHeader + 4
	syncHeader  = logHeader + 8
)

// Types come in fours: full, first, middle, last.
const (
	firstPlainType = 1
	firstLogType   = 5
	firstSyncType  = 9
	endOfTypes     = 13
)

// chunk is one valid chunk.
type chunk struct {
	at, end  int
	place    int // 0 full, 1 first, 2 middle, 3 last
	syncedTo uint64
	payload  []byte
}

// chunkReader finds chunks in a file's content.
type chunkReader struct {
	data   []byte
	log    bool
	number uint32
}

func newChunkReader(name string, data []byte) chunkReader {
	r := chunkReader{data: data, log: isLog(name)}
	if number, err := strconv.ParseUint(strings.TrimSuffix(name, ".log"), 10, 64); err == nil {
		r.number = uint32(number)
	}
	return r
}

// at returns the chunk at offset i, if a valid one begins there.
func (r chunkReader) at(i int) (c chunk, ok bool) {
	limit := min(len(r.data), i-i%chunkBlock+chunkBlock)
	if i+plainHeader > limit {
		return c, false
	}
	kind := r.data[i+6]
	header := plainHeader
	switch {
	case kind >= firstSyncType && kind < endOfTypes && r.log:
		header, c.place = syncHeader, int(kind-firstSyncType)
	case kind >= firstLogType && kind < firstSyncType && r.log:
		header, c.place = logHeader, int(kind-firstLogType)
	case kind >= firstPlainType && kind < firstLogType && !r.log:
		c.place = int(kind - firstPlainType)
	default:
		return c, false
	}
	c.at, c.end = i, i+header+int(binary.LittleEndian.Uint16(r.data[i+4:]))
	if c.end > limit || r.log && binary.LittleEndian.Uint32(r.data[i+7:]) != r.number {
		return c, false
	}
	if header == syncHeader {
		c.syncedTo = binary.LittleEndian.Uint64(r.data[i+11:])
	}
	sum := crc32.Checksum(r.data[i+6:c.end], castagnoli())
	if binary.LittleEndian.Uint32(r.data[i:]) != masked(sum) {
		return c, false
	}
	c.payload = r.data[i+header : c.end]
	return c, true
}

// valid calls fn for the chunks from the beginning, and returns where the first offset is at which there is none.
func (r chunkReader) valid(fn func(chunk)) int {
	i := 0
	for {
		c, ok := r.at(i)
		if ok {
			fn(c)
			i = c.end
			continue
		}
		next := i - i%chunkBlock + chunkBlock
		if next-i >= syncHeader || next > len(r.data) || !zero(r.data[i:next]) {
			return i
		}
		i = next // the end of a block that is too small for a chunk
	}
}

// after calls fn for the valid chunks beyond i, wherever they begin.
func (r chunkReader) after(i int, fn func(chunk)) {
	for i++; i+plainHeader <= len(r.data); {
		if c, ok := r.at(i); ok {
			fn(c)
			i = c.end
			continue
		}
		i++
	}
}

func zero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

// firstBroken returns the offset of the first chunk that does not read, -1 when all do.
func firstBroken(name string, data []byte) int64 {
	r := newChunkReader(name, data)
	if at := r.valid(func(chunk) {}); at < len(data) && !r.isTrailer(at) {
		return int64(at)
	}
	return -1
}

// isTrailer tells whether a log was ended properly at i.
func (r chunkReader) isTrailer(i int) bool {
	return r.log && i+logHeader <= len(r.data) && zero(r.data[i:i+6]) && r.data[i+6] == firstLogType &&
		binary.LittleEndian.Uint32(r.data[i+7:]) == r.number+1
}

// checkLog looks for damage in the last log, which Pebble reads up to the first chunk that does not read.
func checkLog(fs vfs.FS, path string) error {
	data, err := readFile(fs, path)
	if err != nil {
		return err
	}
	if end, proof := logEnd(newChunkReader(fs.PathBase(path), data)); proof != nil {
		return damaged(path, int64(end), proof)
	}
	return nil
}

// logEnd returns the offset of the first chunk of a log that does not read, and what proves that this is damage and not
// the end, torn by a power cut. That shows in what stands behind it: a later chunk that says that more was synced, or the
// beginnings of groups, of which the earlier must have been synced when the later was written.
func logEnd(r chunkReader) (end int, proof error) {
	var last uint64
	end = r.valid(func(c chunk) { last = max(last, groupOf(c)) })
	if r.isTrailer(end) {
		return end, nil
	}
	var seen []uint64
	r.after(end, func(c chunk) {
		if c.syncedTo > uint64(end) {
			proof = fmt.Errorf("a later part says that the log was synced up to byte %d", c.syncedTo)
		}
		if group := groupOf(c); group > 0 {
			seen = append(seen, group)
		}
	})
	if len(seen) > 1 || len(seen) == 1 && last > 0 && seen[0] > last+1 {
		proof = fmt.Errorf("group %d stands behind it and was written when this was synced", seen[len(seen)-1])
	}
	return end, proof
}

// groupOf returns the number of the group that the chunk's batch begins, 0 if it begins none.
func groupOf(c chunk) uint64 {
	if c.place != 0 || len(c.payload) < batchrepr.HeaderLen {
		return 0
	}
	changes := batchrepr.Read(c.payload)
	_, key, value, ok, err := changes.Next()
	if err != nil || !ok || string(key) != groupKey {
		return 0
	}
	return framedNumber([]byte(groupKey), value)
}

// framedNumber reads a framed number, 0 if it is none.
func framedNumber(key, frame []byte) uint64 {
	payload, err := openFrame(key, frame)
	if err != nil || len(payload) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(payload)
}

// checkManifest looks for damage in a manifest, of which each record is synced before the next is written: whatever
// does not read and has a record behind it is damage.
func checkManifest(fs vfs.FS, path string) error {
	data, err := readFile(fs, path)
	if err != nil {
		return err
	}
	r := newChunkReader(fs.PathBase(path), data)
	end := r.valid(func(chunk) {})
	later := false
	r.after(end, func(c chunk) { later = later || c.place < 2 })
	if later {
		return damaged(path, int64(end), errors.New("the record does not read, and later ones do"))
	}
	return nil
}

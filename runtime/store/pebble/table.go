package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble's tables are blocks, each followed by a byte that tells its compression and a masked CRC32C of both; behind them
// a footer. Here they are read block by block, so that one damaged block hides nothing of the others.
const (
	blockTrailer = 1 + crc32.Size
	// dataColumns is how many columns a block of records has: two of the key, and what Pebble adds.
	dataColumns = 7
	// dataHeader is what stands before a data block's columns: the length of its longest key.
	dataHeader = 4
)

// span is a piece of a file.
type span struct{ offset, length uint64 }

func (s span) end() uint64 { return s.offset + s.length + blockTrailer }

// table is one of Pebble's tables.
type table struct {
	fs   vfs.FS
	path string
	size uint64
	// data are the blocks with records, in order; others are all other blocks.
	data, others []span
	deletions    []deletion
	// wrong is what cannot be read of the table besides its blocks. When it does not say where these are, data has those that
	// could be found, and a hole between two of them as a block whose checksum does not match.
	wrong error
}

// deletion removes what was written to [start, end) before seq.
type deletion struct {
	start, end []byte
	seq        uint64
}

// entry is one version of a key. A later one has a higher seq.
type entry struct {
	key   []byte
	value []byte
	seq   uint64
	kind  pebble.InternalKeyKind
}

// openTable finds a table's blocks. What is damaged of the table is told by wrong; err is the file system's.
func openTable(fs vfs.FS, path string) (t *table, err error) {
	info, err := fs.Stat(path)
	if err != nil {
		return nil, err
	}
	t = &table{fs: fs, path: path, size: uint64(info.Size())}
	if t.wrong = t.readLayout(); t.wrong == nil {
		return t, nil
	}
	t.data, t.others = nil, nil
	return t, t.findBlocks()
}

// readLayout asks Pebble where the blocks are.
func (t *table) readLayout() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("reading its layout: %v", r)
		}
	}()
	f, err := t.fs.Open(t.path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	options := new(pebble.Options)
	options.EnsureDefaults()
	options.LoggerAndTracer = nil
	r, err := sstable.NewReader(context.Background(), readable, options.MakeReaderOptions())
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	l, err := r.Layout()
	if err != nil {
		return err
	}
	for _, h := range l.Data {
		t.data = append(t.data, span{h.Offset, h.Length})
	}
	others := append([]block.Handle{l.TopIndex, l.RangeDel, l.RangeKey, l.Properties, l.MetaIndex, l.BlobReferenceIndex}, l.Index...)
	for _, f := range l.Filter {
		others = append(others, f.Handle)
	}
	for _, h := range others {
		if h.Length > 0 {
			t.others = append(t.others, span{h.Offset, h.Length})
		}
	}
	return t.readDeletions(r)
}

func (t *table) readDeletions(r *sstable.Reader) error {
	iter, err := r.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil || iter == nil {
		return nil // its block is one of others, and found damaged there
	}
	defer iter.Close()
	s, err := iter.First()
	for ; s != nil; s, err = iter.Next() {
		for _, k := range s.Keys {
			t.deletions = append(t.deletions, deletion{append([]byte{}, s.Start...), append([]byte{}, s.End...), uint64(k.SeqNum())})
		}
	}
	return err
}

// findBlocks looks for data blocks from the table's beginning, where they are, one behind the other. Behind one that is
// damaged it goes on with the next that it recognizes.
func (t *table) findBlocks() error {
	data, err := readFile(t.fs, t.path)
	if err != nil {
		return err
	}
	for at := uint64(0); at < uint64(len(data)); {
		s, ok := dataBlock(data, at)
		if !ok {
			if s, ok = nextDataBlock(data, at); !ok {
				return nil
			}
			if s.offset >= at+blockTrailer {
				t.data = append(t.data, span{at, s.offset - at - blockTrailer})
			}
		}
		t.data = append(t.data, s)
		at = s.end()
	}
	return nil
}

// dataBlock returns the data block that begins at a place.
func dataBlock(data []byte, at uint64) (span, bool) {
	length, ok := blockAt(data[at:])
	if !ok {
		return span{}, false
	}
	s := span{at, length}
	content, err := unpack(data[at:s.end()])
	return s, err == nil && looksLikeData(content)
}

const (
	// maxPrelude is how many bytes a compressor writes in front of a block's first bytes, which it cannot shorten.
	maxPrelude = 16
	// maxTries bounds how many places are tried behind a damaged block: each costs a look at the rest of the table.
	maxTries = 256
)

// dataMark is how a data block begins behind the lower half of the length of its longest key.
var dataMark = []byte{0, 0, byte(colblk.Version1), dataColumns, 0}

// nextDataBlock looks for a data block behind a place: by how one begins, and then by its checksum.
func nextDataBlock(data []byte, from uint64) (span, bool) {
	tries := 0
	for at := int(from) + 1; at < len(data); {
		n := bytes.Index(data[at:], dataMark)
		if n < 0 {
			return span{}, false
		}
		head := at + n - 2
		for start := head; start > int(from) && start >= head-maxPrelude; start-- {
			if tries++; tries > maxTries {
				return span{}, false
			}
			if s, ok := dataBlock(data, uint64(start)); ok {
				return s, true
			}
		}
		at += n + 1
	}
	return span{}, false
}

// blockAt finds the length of the block at the beginning of data: the first at which the checksum matches.
func blockAt(data []byte) (uint64, bool) {
	table, sum := castagnoli(), ^uint32(0)
	for i := 0; i+crc32.Size < len(data); i++ {
		sum = table[byte(sum)^data[i]] ^ sum>>8
		if binary.LittleEndian.Uint32(data[i+1:]) == masked(^sum) && i > 0 {
			return uint64(i), true
		}
	}
	return 0, false
}

func masked(sum uint32) uint32 { return (sum>>15 | sum<<17) + 0xa282ead8 }

func looksLikeData(content []byte) bool {
	return len(content) > dataHeader+7 && content[dataHeader] == byte(colblk.Version1) &&
		binary.LittleEndian.Uint16(content[dataHeader+1:]) == dataColumns
}

// read returns a block's content.
func (t *table) read(s span) (content []byte, err error) {
	if s.end() > t.size || s.end() < s.offset {
		return nil, fmt.Errorf("the block of %d bytes goes beyond the file's end", s.length)
	}
	f, err := t.fs.Open(t.path)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, s.length+blockTrailer)
	_, err = f.ReadAt(raw, int64(s.offset))
	if err = errors.Join(err, f.Close()); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return unpack(raw)
}

// unpack checks and decompresses a block with its trailer.
func unpack(raw []byte) ([]byte, error) {
	n := len(raw) - blockTrailer
	if masked(crc32.Checksum(raw[:n+1], castagnoli())) != binary.LittleEndian.Uint32(raw[n+1:]) {
		return nil, fmt.Errorf("the checksum of its block of %d bytes does not match", n)
	}
	kind := block.CompressionIndicator(raw[n])
	if kind == block.NoCompressionIndicator {
		return append(make([]byte, 0, n), raw[:n]...), nil // aligned, which the decoder asks for
	}
	size, err := block.DecompressedLen(kind, raw[:n])
	if err != nil {
		return nil, fmt.Errorf("decompressing a block: %w", err)
	}
	content := make([]byte, size)
	if err := block.DecompressInto(kind, raw[:n], content); err != nil {
		return nil, fmt.Errorf("decompressing a block: %w", err)
	}
	return content, nil
}

// entries returns what a data block holds, in order.
func (t *table) entries(s span) (list []entry, err error) {
	content, err := t.read(s)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decoding a block: %v", r)
		}
	}()
	schema := colblk.DefaultKeySchema(pebble.DefaultComparer, 16)
	var decoder colblk.DataBlockDecoder
	decoder.Init(&schema, content)
	var iter colblk.DataBlockIter
	iter.InitOnce(&schema, pebble.DefaultComparer, nil)
	if err := iter.Init(&decoder, block.IterTransforms{}); err != nil {
		return nil, err
	}
	for kv := iter.First(); kv != nil; kv = iter.Next() {
		list = append(list, entry{
			key: append([]byte{}, kv.K.UserKey...), value: append([]byte{}, kv.InPlaceValue()...),
			seq: uint64(kv.K.SeqNum()), kind: kv.K.Kind(),
		})
	}
	return list, nil
}

package activity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"maps"
	"slices"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// checksOutside is how often a transaction's reads are checked without the buffer's lock before they are with it.
const checksOutside = 3

// CommitData stores a transaction's writes by themselves, durably. ErrConflict when it is void; *ack.Error, FAILED with
// BUFFER_FULL, when MaxDataBytes is used up or the disk is nearly full and the transaction needs more room than it frees.
func (b *Buffer) CommitData(ctx context.Context, t *DataTx) error {
	const what = "store data"
	if err := t.seal(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.mu.Lock()
	mark, err := b.commitData(t)
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return b.wait(ctx, mark)
}

func (b *Buffer) commitData(t *DataTx) (store.Mark, error) {
	c := b.begin()
	if err := b.addData(c, t); err != nil || c.batch.Len() == 0 {
		return 0, err
	}
	return b.commit(c, true, "write it")
}

// Close ends a transaction that is not committed. It may be called at any time.
func (t *DataTx) Close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

// seal ends the use of a transaction that is about to be committed, and checks what it has read without the buffer's lock.
// Nothing changes in a sealed transaction. A nil one reads and writes nothing.
func (t *DataTx) seal() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return ErrTxEnded
	}
	t.ended = true
	if t.err != nil {
		return t.err
	}
	for range checksOutside {
		version, _ := t.b.dataVersion()
		if !t.begun || version == t.since || len(t.writes) == 0 {
			return nil
		}
		if err := t.stands(); err != nil {
			return err
		}
		t.since = version
	}
	return nil
}

// stands returns ErrConflict when something that was read has changed.
func (t *DataTx) stands() error {
	for key, was := range t.gets {
		value, err := t.b.dataValue(key)
		if err != nil {
			return fmt.Errorf("read data %q: %w", key, err)
		}
		if digestOf(value) != was {
			return ErrConflict
		}
	}
	for _, s := range t.scans {
		sum := sha256.New()
		err := t.b.store.Scan(s.start, s.end, func(key, value []byte) error {
			hashEntry(sum, key, value)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read data: %w", err)
		}
		if !bytes.Equal(sum.Sum(nil), s.sum[:]) {
			return ErrConflict
		}
	}
	return nil
}

// hashEntry adds an entry to a digest, in a way that no two different lists of entries share.
func hashEntry(to hash.Hash, key, value []byte) {
	var sizes [16]byte
	binary.BigEndian.PutUint64(sizes[:8], uint64(len(key)))
	binary.BigEndian.PutUint64(sizes[8:], uint64(len(value)))
	to.Write(sizes[:]) // a hash never fails
	to.Write(key)
	to.Write(value)
}

// addData adds the writes of a sealed transaction to a change. What was only read is as good as never read: nothing
// depends on it. The caller holds the lock.
func (b *Buffer) addData(c *tx, t *DataTx) error {
	if t == nil || len(t.writes) == 0 {
		return nil
	}
	if b.data.version != t.since {
		if err := t.stands(); err != nil {
			return err
		}
	}
	var grown int64
	for _, key := range slices.Sorted(maps.Keys(t.writes)) {
		value := t.writes[key]
		was, err := b.dataValue(key)
		if err != nil {
			return fmt.Errorf("read data %q: %w", key, err)
		}
		if was != nil {
			c.meta.totals.remove(dataEntries, dataSize(key, was))
			grown -= dataSize(key, was)
		}
		if value == nil {
			if was != nil {
				c.batch.Delete(dataKey(key))
			}
			continue
		}
		c.meta.totals.add(dataEntries, dataSize(key, value))
		grown += dataSize(key, value)
		c.batch.Set(dataKey(key), value)
	}
	if grown > 0 {
		if err := b.dataRoom(c.meta.totals[dataEntries].bytes); err != nil {
			return err
		}
	}
	c.data = true
	return nil
}

// dataRoom returns an error when data may not grow to so many bytes.
func (b *Buffer) dataRoom(size int64) error {
	if size > b.cfg.MaxDataBytes {
		return ack.Failf(ack.BufferFull, "data_limit: the agent's data would have %d bytes, the limit is %d. Fix: delete some, or raise Config.MaxDataBytes",
			size, b.cfg.MaxDataBytes)
	}
	if err := store.Room(b.store); err != nil {
		return ack.Failf(ack.BufferFull, "%v", err)
	}
	return nil
}

func dataSize(key string, value []byte) int64 { return int64(len(key) + len(value)) }

// WalkData calls fn for every entry of the data in r, which nobody changes meanwhile, in the order of the keys, until fn
// returns an error.
func WalkData(ctx context.Context, r store.Reader, fn func(key string, value []byte) error) error {
	err := scanPrefix(ctx, r, keyData, func(key, value []byte) error {
		return fn(string(key[len(keyData):]), value)
	})
	if err != nil {
		return fmt.Errorf("read the agent's data: %w", err)
	}
	return nil
}

package activity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Bounds of one transaction.
const (
	// MaxDataKey and MaxDataValue bound a key and a value, in bytes.
	MaxDataKey   = 1 << 10
	MaxDataValue = 1 << 20
	// MaxTxWrites and MaxTxBytes bound the keys that a transaction writes, and what it writes under them.
	MaxTxWrites = 1000
	MaxTxBytes  = 4 << 20
)

// scanChunk is how many keys a scan reads at a time, scanBytes how many bytes.
const (
	scanChunk = 256
	scanBytes = 1 << 20
)

// ErrConflict says that a transaction has read what another one has changed since, so that nothing of it was written.
var ErrConflict = errors.New("what the transaction has read was changed meanwhile")

// ErrTxEnded says that a transaction is used after its end.
var ErrTxEnded = errors.New("the transaction has ended")

// digest stands for what was read.
type digest = [sha256.Size]byte

// DataTx is a transaction over the agent's own data: keys and values of its handlers that lie beside the records. What it
// writes is stored all at once with what ends it, FinishIn, DeferIn or CommitData, or not at all; until then nobody else
// sees it. It reads what is durable, and its own writes. It is void when something that it has read was changed before its
// end. Its methods may be called from any goroutine.
//
// Errors of Set and Delete are *ack.Error: FAILED with VALIDATION_ERROR for a key that is no text, is empty or too long, with
// OVERSIZE_PAYLOAD beyond the other bounds. After one of them the transaction cannot be committed any more.
type DataTx struct {
	b   *Buffer
	ctx context.Context // of whoever began it: reading waits for the disk

	mu     sync.Mutex
	begun  bool
	ended  bool
	err    error // why it cannot be committed
	since  uint64
	writes map[string][]byte // nil deletes
	bytes  int
	gets   map[string]digest
	scans  []scanned
}

// scanned is a range of keys that was read, with the digest of what lay in it.
type scanned struct {
	start, end []byte
	sum        digest
}

// dataState is what the buffer knows of its data besides totals.
type dataState struct {
	// version grows with every change, mark is the last one.
	version uint64
	mark    store.Mark
}

// BeginData begins a transaction, whose reading ends with ctx. Nothing is held for it: one that is not committed may be
// forgotten.
func (b *Buffer) BeginData(ctx context.Context) *DataTx { return &DataTx{b: b, ctx: ctx} }

func dataKey(key string) []byte {
	return append(append(make([]byte, 0, 1+len(key)), keyData...), key...)
}

// use checks that the transaction may be used, and notes when it was first. The caller holds the lock.
func (t *DataTx) use() error {
	if t.ended {
		return ErrTxEnded
	}
	if !t.begun {
		t.begun = true
		t.since, _ = t.b.dataVersion()
	}
	return nil
}

func (b *Buffer) dataVersion() (uint64, store.Mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.version, b.data.mark
}

// settle waits until everything that was read so far is durable.
func (t *DataTx) settle() error {
	_, mark := t.b.dataVersion()
	return t.b.wait(t.ctx, mark)
}

// Get returns a copy of what lies under a key, nil when there is nothing.
func (t *DataTx) Get(key string) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.use(); err != nil {
		return nil, err
	}
	if value, ok := t.writes[key]; ok {
		return bytes.Clone(value), nil
	}
	value, err := t.b.dataValue(key)
	if err == nil {
		err = t.settle()
	}
	if err != nil {
		return nil, fmt.Errorf("read data %q: %w", key, err)
	}
	if _, known := t.gets[key]; !known {
		if t.gets == nil {
			t.gets = map[string]digest{}
		}
		t.gets[key] = digestOf(value)
	}
	return value, nil
}

// dataValue returns what is stored under a key, nil when there is nothing.
func (b *Buffer) dataValue(key string) ([]byte, error) {
	value, err := b.store.Get(dataKey(key))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err == nil && value == nil {
		value = []byte{}
	}
	return value, err
}

// digestOf tells values apart, and an empty one from none.
func digestOf(value []byte) digest {
	if value == nil {
		return digest{}
	}
	return sha256.Sum256(value)
}

// Set writes a value, which it copies.
func (t *DataTx) Set(key string, value []byte) error {
	return t.write(key, append(make([]byte, 0, len(value)), value...))
}

// Delete removes a key. One that is not there is no error.
func (t *DataTx) Delete(key string) error { return t.write(key, nil) }

func (t *DataTx) write(key string, value []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.use(); err != nil {
		return err
	}
	was, known := t.writes[key]
	size := t.bytes + len(value)
	if known {
		size -= len(was)
	} else {
		size += len(key)
	}
	var err error
	switch {
	case !dataKeyFits(key):
		err = ack.Failf(ack.ValidationError, "data_key: %.64q is no key: use valid UTF-8 of 1 to %d bytes", key, MaxDataKey)
	case len(value) > MaxDataValue:
		err = ack.Failf(ack.OversizePayload, "data_limit: the value of %.64q has %d bytes, the limit is %d. Fix: divide it among several keys", key, len(value), MaxDataValue)
	case !known && len(t.writes) >= MaxTxWrites:
		err = ack.Failf(ack.OversizePayload, "data_limit: one transaction writes at most %d keys. Fix: write less at once", MaxTxWrites)
	case size > MaxTxBytes:
		err = ack.Failf(ack.OversizePayload, "data_limit: the transaction writes %d bytes, the limit is %d. Fix: write less at once", size, MaxTxBytes)
	}
	if err != nil {
		t.err = err
		return err
	}
	if t.writes == nil {
		t.writes = map[string][]byte{}
	}
	t.writes[key], t.bytes = value, size
	return nil
}

func dataKeyFits(key string) bool {
	return key != "" && len(key) <= MaxDataKey && utf8.ValidString(key)
}

// Scan calls fn for the keys that begin with prefix, in order, with copies of their values, until fn returns an error, and
// returns that. What the transaction writes meanwhile need not be among them.
func (t *DataTx) Scan(prefix string, fn func(key string, value []byte) error) error {
	start, end := dataKey(prefix), dataEnd(prefix)
	for start != nil {
		entries, next, err := t.scanSome(start, end)
		if err != nil {
			return fmt.Errorf("read data below %q: %w", prefix, err)
		}
		for _, e := range entries {
			if err := fn(e.key, e.value); err != nil {
				return err
			}
		}
		start = next
	}
	return nil
}

type dataEntry struct {
	key   string
	value []byte
}

// dataEnd is the first key after all that begin with a prefix.
func dataEnd(prefix string) []byte {
	end := dataKey(prefix)
	for i := len(end) - 1; i > 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return prefixEnd(keyData)
}

// scanSome returns the first entries of a range and where the next ones begin, nil when there are none.
func (t *DataTx) scanSome(start, end []byte) (entries []dataEntry, next []byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.use(); err != nil {
		return nil, nil, err
	}
	hash, size := sha256.New(), 0
	err = t.b.store.Scan(start, end, func(key, value []byte) error {
		if len(entries) == scanChunk || size > scanBytes {
			next = bytes.Clone(key)
			return store.ErrStop
		}
		hashEntry(hash, key, value)
		size += len(key) + len(value)
		entries = append(entries, dataEntry{string(key[len(keyData):]), append([]byte{}, value...)})
		return nil
	})
	if err == nil {
		err = t.settle()
	}
	if err != nil {
		return nil, nil, err
	}
	to := end
	if next != nil {
		to = next
	}
	t.scans = append(t.scans, scanned{start: start, end: to, sum: digest(hash.Sum(nil))})
	return t.overlay(entries, start, to), next, nil
}

// overlay puts the transaction's own writes into what was read of a range.
func (t *DataTx) overlay(entries []dataEntry, start, end []byte) []dataEntry {
	own := map[string][]byte{}
	for key, value := range t.writes {
		if k := dataKey(key); bytes.Compare(k, start) >= 0 && bytes.Compare(k, end) < 0 {
			own[key] = value
		}
	}
	if len(own) == 0 {
		return entries
	}
	entries = slices.DeleteFunc(entries, func(e dataEntry) bool {
		_, written := own[e.key]
		return written
	})
	for _, key := range slices.Sorted(maps.Keys(own)) {
		if value := own[key]; value != nil {
			at, _ := slices.BinarySearchFunc(entries, key, func(e dataEntry, k string) int { return bytes.Compare([]byte(e.key), []byte(k)) })
			entries = slices.Insert(entries, at, dataEntry{key, bytes.Clone(value)})
		}
	}
	return entries
}

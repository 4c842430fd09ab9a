package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
)

// Memory is a Store in memory, for tests. What is applied counts as durable at once, and nothing outlives the process.
// It starts no goroutine and waits for nothing but its own mutex, so it works inside a testing/synctest bubble.
//
// Make one with NewMemory. Its methods may be called from any goroutine.
type Memory struct {
	instance Instance

	mu      sync.RWMutex
	entries []memoryEntry // sorted by key
	applied Mark
	err     error
	closed  bool
	failed  chan struct{}
}

type memoryEntry struct{ key, value []byte }

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store with a new ID and epoch 1.
func NewMemory() *Memory {
	var id [16]byte
	rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	return &Memory{
		instance: Instance{ID: hex.EncodeToString(id[:]), Epoch: 1},
		failed:   make(chan struct{}),
	}
}

// Fail makes the store fail with err, as a failed write or sync would. The first failure stays.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return
	}
	m.err = fmt.Errorf("%w: %w", ErrFailed, err)
	close(m.failed)
}

// Reopen closes m and returns a working store with the same ID, the next epoch and the same content, as a restarted
// process finds it.
func (m *Memory) Reopen() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return &Memory{
		instance: Instance{ID: m.instance.ID, Epoch: m.instance.Epoch + 1},
		entries:  slices.Clone(m.entries),
		failed:   make(chan struct{}),
	}
}

// Apply implements Store.
func (m *Memory) Apply(b *Batch) (Mark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return 0, err
	}
	for _, op := range b.Ops() {
		if err := checkKind(op.Kind); err != nil {
			return 0, err
		}
	}
	for _, op := range b.Ops() {
		m.change(op)
	}
	m.applied++
	return m.applied, nil
}

func checkKind(k OpKind) error {
	switch k {
	case OpSet, OpDelete, OpDeleteRange:
		return nil
	default:
		return fmt.Errorf("applying a batch: unknown kind of change %d", k)
	}
}

func (m *Memory) change(op Op) {
	at, found := m.search(op.Key)
	switch op.Kind {
	case OpSet:
		value := append([]byte{}, op.Value...)
		if found {
			m.entries[at].value = value
			return
		}
		m.entries = slices.Insert(m.entries, at, memoryEntry{slices.Clone(op.Key), value})
	case OpDelete:
		if found {
			m.entries = slices.Delete(m.entries, at, at+1)
		}
	case OpDeleteRange:
		if end := m.searchEnd(op.Value); at < end {
			m.entries = slices.Delete(m.entries, at, end)
		}
	}
}

// Sync implements Store.
func (m *Memory) Sync(_ context.Context, mark Mark) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.usable(); err != nil {
		return err
	}
	if mark > m.applied {
		return fmt.Errorf("syncing up to mark %d: the last one is %d", mark, m.applied)
	}
	return nil
}

// Get implements Store.
func (m *Memory) Get(key []byte) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.usable(); err != nil {
		return nil, err
	}
	at, found := m.search(key)
	if !found {
		return nil, ErrNotFound
	}
	return append([]byte{}, m.entries[at].value...), nil
}

// Scan implements Store.
func (m *Memory) Scan(start, end []byte, fn func(key, value []byte) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.usable(); err != nil {
		return err
	}
	for _, e := range m.between(start, end) {
		if err := fn(slices.Clone(e.key), slices.Clone(e.value)); err != nil {
			return scanEnd(err)
		}
	}
	return nil
}

// ScanReverse implements Store.
func (m *Memory) ScanReverse(start, end []byte, fn func(key, value []byte) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.usable(); err != nil {
		return err
	}
	for _, e := range slices.Backward(m.between(start, end)) {
		if err := fn(slices.Clone(e.key), slices.Clone(e.value)); err != nil {
			return scanEnd(err)
		}
	}
	return nil
}

func scanEnd(err error) error {
	if err == ErrStop {
		return nil
	}
	return err
}

// Instance implements Store.
func (m *Memory) Instance() Instance { return m.instance }

// Failed implements Store.
func (m *Memory) Failed() <-chan struct{} { return m.failed }

// Err implements Store.
func (m *Memory) Err() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.err
}

// Close implements Store. Closing twice is no error.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *Memory) usable() error {
	if m.closed {
		return ErrClosed
	}
	return m.err
}

func (m *Memory) between(start, end []byte) []memoryEntry {
	from, _ := m.search(start)
	return m.entries[from:max(from, m.searchEnd(end))]
}

func (m *Memory) searchEnd(end []byte) int {
	if end == nil {
		return len(m.entries)
	}
	at, _ := m.search(end)
	return at
}

func (m *Memory) search(key []byte) (int, bool) {
	return slices.BinarySearchFunc(m.entries, key, func(e memoryEntry, k []byte) int { return bytes.Compare(e.key, k) })
}

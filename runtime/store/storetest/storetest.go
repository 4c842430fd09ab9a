// Package storetest holds what every store.Store must do, as tests that an engine runs.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Opened is an empty store under test.
type Opened struct {
	Store store.Store
	// Close closes the store for good. The default is Store.Close.
	Close func() error
	// Reopen closes the store, if it is open, and opens what it left.
	Reopen func() store.Store
}

func (o Opened) close() error {
	if o.Close != nil {
		return o.Close()
	}
	return o.Store.Close()
}

// Run runs the suite. Each test opens an empty store of its own, which open closes when its test ends.
func Run(t *testing.T, open func(t *testing.T) Opened) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, o Opened)
	}{
		{"values are copied", testCopies},
		{"a batch is applied in order and at once", testBatch},
		{"a wrong batch changes nothing", testWrongBatch},
		{"an empty batch", testEmptyBatch},
		{"a missing key", testMissing},
		{"any bytes are a key and a value", testBytes},
		{"scanning", testScan},
		{"a scan ends early", testScanEnds},
		{"ranges are deleted", testDeleteRange},
		{"marks grow", testMarks},
		{"a cancelled wait", testCancelled},
		{"reopening keeps what was synced", testReopen},
		{"the epoch grows", testEpoch},
		{"many goroutines", testConcurrent},
		{"everybody reads what they changed", testOwnChanges},
		{"a scan sees one moment", testSnapshot},
		{"a closed store", testClosed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func apply(t *testing.T, s store.Store, fill func(b *store.Batch)) store.Mark {
	t.Helper()
	var b store.Batch
	fill(&b)
	m, err := s.Apply(&b)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return m
}

func write(t *testing.T, s store.Store, pairs ...string) {
	t.Helper()
	m := apply(t, s, func(b *store.Batch) {
		for i := 0; i < len(pairs); i += 2 {
			b.Set([]byte(pairs[i]), []byte(pairs[i+1]))
		}
	})
	if err := s.Sync(t.Context(), m); err != nil {
		t.Fatalf("Sync: %v", err)
	}
}

func scan(t *testing.T, s store.Store, start, end []byte) []string {
	t.Helper()
	var forward, back []string
	err := s.Scan(start, end, func(k, v []byte) error {
		forward = append(forward, string(k)+"="+string(v))
		return nil
	})
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	err = s.ScanReverse(start, end, func(k, v []byte) error {
		back = append(back, string(k)+"="+string(v))
		return nil
	})
	if err != nil {
		t.Fatalf("ScanReverse: %v", err)
	}
	slices.Reverse(back)
	if !slices.Equal(forward, back) {
		t.Fatalf("forward %q, backward %q", forward, back)
	}
	return forward
}

func wantScan(t *testing.T, s store.Store, start, end []byte, want ...string) {
	t.Helper()
	if got := scan(t, s, start, end); !slices.Equal(got, want) {
		t.Fatalf("scan of [%q, %q): %q, want %q", start, end, got, want)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func testCopies(t *testing.T, o Opened) {
	key, value := []byte("k"), []byte("value")
	apply(t, o.Store, func(b *store.Batch) { b.Set(key, value) })
	key[0], value[0] = 'x', 'x'
	got, err := o.Store.Get([]byte("k"))
	if err != nil || string(got) != "value" {
		t.Fatalf("Get after the batch's slices changed: %q, %v", got, err)
	}
	got[0] = 'x'
	wantScan(t, o.Store, nil, nil, "k=value")
}

func testBatch(t *testing.T, o Opened) {
	write(t, o.Store, "a", "0", "b", "0", "c", "0")
	apply(t, o.Store, func(b *store.Batch) {
		b.Set([]byte("a"), []byte("1"))
		b.Delete([]byte("a"))
		b.Set([]byte("a"), []byte("2"))
		b.Set([]byte("b"), []byte("1"))
		b.DeleteRange([]byte("b"), []byte("c"))
		b.Delete([]byte("missing"))
		b.Set([]byte("d"), []byte("1"))
	})
	wantScan(t, o.Store, nil, nil, "a=2", "c=0", "d=1")
}

func testWrongBatch(t *testing.T, o Opened) {
	var b store.Batch
	b.Set([]byte("a"), []byte("1"))
	b.Set([]byte("b"), []byte("1"))
	b.Ops()[1].Kind = 99
	if _, err := o.Store.Apply(&b); err == nil {
		t.Fatal("Apply took an unknown kind of change")
	}
	wantScan(t, o.Store, nil, nil)
	write(t, o.Store, "c", "1")
}

func testEmptyBatch(t *testing.T, o Opened) {
	m := apply(t, o.Store, func(*store.Batch) {})
	if err := o.Store.Sync(t.Context(), m); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	if err := o.Store.Sync(t.Context(), 0); err != nil {
		t.Fatalf("Sync of mark 0: %v", err)
	}
}

func testMissing(t *testing.T, o Opened) {
	_, err := o.Store.Get([]byte("a"))
	wantError(t, "Get", err, store.ErrNotFound)
	wantScan(t, o.Store, nil, nil)
	write(t, o.Store, "a", "")
	got, err := o.Store.Get([]byte("a"))
	if err != nil || got == nil || len(got) != 0 {
		t.Fatalf("Get of an empty value: %v, %v", got, err)
	}
}

func testBytes(t *testing.T, o Opened) {
	keys := []string{"", "\x00", "\x00\x00", "m", "mepoch", "u", "v", "\xff", "\xff\xff"}
	for _, k := range keys {
		write(t, o.Store, k, k)
	}
	var want []string
	for _, k := range keys {
		got, err := o.Store.Get([]byte(k))
		if err != nil || string(got) != k {
			t.Fatalf("Get of %q: %q, %v", k, got, err)
		}
		want = append(want, k+"="+k)
	}
	wantScan(t, o.Store, nil, nil, want...)
	wantScan(t, o.Store, []byte{}, []byte{}, nil...)
}

func testScan(t *testing.T, o Opened) {
	write(t, o.Store, "b", "1", "a", "1", "d", "1", "c", "1", "ab", "1")
	wantScan(t, o.Store, nil, nil, "a=1", "ab=1", "b=1", "c=1", "d=1")
	wantScan(t, o.Store, []byte("ab"), []byte("c"), "ab=1", "b=1")
	wantScan(t, o.Store, []byte("aa"), []byte("cc"), "ab=1", "b=1", "c=1")
	wantScan(t, o.Store, []byte("c"), nil, "c=1", "d=1")
	wantScan(t, o.Store, nil, []byte("b"), "a=1", "ab=1")
	wantScan(t, o.Store, []byte("x"), nil)
	wantScan(t, o.Store, []byte("c"), []byte("a"))
	wantScan(t, o.Store, []byte("c"), []byte("c"))
}

func testScanEnds(t *testing.T, o Opened) {
	write(t, o.Store, "a", "1", "b", "1", "c", "1")
	for name, run := range map[string]func([]byte, []byte, func(k, v []byte) error) error{
		"Scan": o.Store.Scan, "ScanReverse": o.Store.ScanReverse,
	} {
		seen := 0
		if err := run(nil, nil, func(_, _ []byte) error { seen++; return store.ErrStop }); err != nil || seen != 1 {
			t.Fatalf("%s with Stop: %v after %d keys", name, err, seen)
		}
		mine := errors.New("mine")
		wantError(t, name, run(nil, nil, func(_, _ []byte) error { return mine }), mine)
	}
}

func testDeleteRange(t *testing.T, o Opened) {
	fill := func() { write(t, o.Store, "a", "1", "b", "1", "c", "1", "d", "1") }
	cut := func(start, end []byte) {
		apply(t, o.Store, func(b *store.Batch) { b.DeleteRange(start, end) })
	}
	fill()
	cut([]byte("b"), []byte("d"))
	wantScan(t, o.Store, nil, nil, "a=1", "d=1")
	fill()
	cut([]byte("bb"), nil)
	wantScan(t, o.Store, nil, nil, "a=1", "b=1")
	fill()
	cut([]byte("d"), []byte("a"))
	cut([]byte("b"), []byte("b"))
	wantScan(t, o.Store, nil, nil, "a=1", "b=1", "c=1", "d=1")
	cut(nil, nil)
	wantScan(t, o.Store, nil, nil)
	write(t, o.Store, "b", "2")
	wantScan(t, o.Store, nil, nil, "b=2")
}

func testMarks(t *testing.T, o Opened) {
	var last store.Mark
	for i := range 20 {
		m := apply(t, o.Store, func(b *store.Batch) { b.Set([]byte{byte(i)}, nil) })
		if m <= last {
			t.Fatalf("mark %d after %d", m, last)
		}
		last = m
	}
	for _, m := range []store.Mark{last, 0, last - 1} {
		if err := o.Store.Sync(t.Context(), m); err != nil {
			t.Fatalf("Sync(%d): %v", m, err)
		}
	}
	if err := o.Store.Sync(t.Context(), last+1000); err == nil {
		t.Fatal("Sync of a mark that was never given: no error")
	}
}

func testCancelled(t *testing.T, o Opened) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := apply(t, o.Store, func(b *store.Batch) { b.Set([]byte("a"), []byte("1")) })
	if err := o.Store.Sync(ctx, m); err != nil { // it may have become durable in time
		wantError(t, "Sync", err, context.Canceled)
	}
	if err := o.Store.Sync(t.Context(), m); err != nil {
		t.Fatalf("Sync after a cancelled one: %v", err)
	}
	if err := o.Store.Sync(ctx, m); err != nil {
		t.Fatalf("Sync of what is durable, with an ended context: %v", err)
	}
}

func testReopen(t *testing.T, o Opened) {
	write(t, o.Store, "a", "1", "b", "1", "c", "1")
	m := apply(t, o.Store, func(b *store.Batch) {
		b.Delete([]byte("a"))
		b.DeleteRange([]byte("c"), nil)
		b.Set([]byte("d"), []byte("1"))
	})
	if err := o.Store.Sync(t.Context(), m); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	s := o.Reopen()
	wantScan(t, s, nil, nil, "b=1", "d=1")
	write(t, s, "e", "1")
	s = o.Reopen()
	wantScan(t, s, nil, nil, "b=1", "d=1", "e=1")
}

func testEpoch(t *testing.T, o Opened) {
	before := o.Store.Instance()
	if before.ID == "" || before.Epoch == 0 {
		t.Fatalf("instance %+v", before)
	}
	for range 3 {
		s := o.Reopen()
		after := s.Instance()
		if after.ID != before.ID || after.Epoch != before.Epoch+1 {
			t.Fatalf("instance %+v after %+v", after, before)
		}
		before = after
	}
}

func testConcurrent(t *testing.T, o Opened) {
	const writers, each = 16, 40
	var group sync.WaitGroup
	errs := make(chan error, 2*writers)
	for w := range writers {
		group.Go(func() {
			for i := range each {
				var b store.Batch
				b.Set(fmt.Appendf(nil, "%02d/%03d/a", w, i), []byte{byte(i)})
				b.Set(fmt.Appendf(nil, "%02d/%03d/b", w, i), []byte{byte(i)})
				if err := store.Write(t.Context(), o.Store, &b); err != nil {
					errs <- err
					return
				}
			}
		})
		group.Go(func() {
			for i := range each {
				if err := sameHalves(o.Store, fmt.Appendf(nil, "%02d/%03d/", w, i)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	s := o.Reopen()
	if n := len(scan(t, s, nil, nil)); n != 2*writers*each {
		t.Fatalf("%d keys after reopening, want %d", n, 2*writers*each)
	}
}

// sameHalves checks that both keys with the prefix are there, or neither.
func sameHalves(s store.Store, prefix []byte) error {
	n := 0
	err := s.Scan(prefix, append(slices.Clone(prefix), 0xff), func(_, _ []byte) error { n++; return nil })
	if err == nil && n != 0 && n != 2 {
		err = fmt.Errorf("a scan saw %d of 2 keys of one batch", n)
	}
	return err
}

func testSnapshot(t *testing.T, o Opened) {
	const keys = 50
	fill := func(value byte) error {
		var b store.Batch
		for i := range keys {
			b.Set([]byte{byte(i)}, []byte{value})
		}
		_, err := o.Store.Apply(&b)
		return err
	}
	if err := fill(0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 1; i < 100 && err == nil; i++ {
			err = fill(byte(i))
		}
		done <- err
	}()
	for range 100 {
		seen := map[byte]int{}
		if err := o.Store.Scan(nil, nil, func(_, v []byte) error { seen[v[0]]++; return nil }); err != nil {
			t.Fatal(err)
		}
		if len(seen) != 1 {
			t.Fatalf("one scan saw several batches: %v", seen)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func testClosed(t *testing.T, o Opened) {
	write(t, o.Store, "a", "1")
	for range 2 {
		if err := o.close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	var b store.Batch
	b.Set([]byte("a"), []byte("2"))
	_, err := o.Store.Apply(&b)
	wantError(t, "Apply", err, store.ErrClosed)
	_, err = o.Store.Get([]byte("a"))
	wantError(t, "Get", err, store.ErrClosed)
	never := func(_, _ []byte) error { return errors.New("called") }
	wantError(t, "Scan", o.Store.Scan(nil, nil, never), store.ErrClosed)
	wantError(t, "ScanReverse", o.Store.ScanReverse(nil, nil, never), store.ErrClosed)
	wantError(t, "Sync", o.Store.Sync(t.Context(), 1), store.ErrClosed)
	if err := o.Store.Err(); err != nil {
		t.Fatalf("Err of a closed store: %v", err)
	}
}

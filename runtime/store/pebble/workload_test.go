package pebble_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// record returns the key and value of number n: the value can be told from the key alone.
func record(n int) (key, value []byte) {
	key = fmt.Appendf(nil, "record/%08d", n)
	value = make([]byte, 100+n%700)
	random := rand.New(rand.NewPCG(uint64(n), 1))
	for i := 0; i+8 <= len(value); i += 8 {
		binary.LittleEndian.PutUint64(value[i:], random.Uint64())
	}
	return key, value
}

func appendRecord(ctx context.Context, s store.Store, n int) error {
	var b store.Batch
	b.Set(record(n))
	b.Set(fmt.Appendf(nil, "twin/%08d", n), binary.AppendUvarint(nil, uint64(n)))
	return store.Write(ctx, s, &b)
}

// appendUntil lets goroutines append the numbers from first on until there are count or appending fails. It returns the
// acknowledged ones and the first error.
func appendUntil(ctx context.Context, s store.Store, goroutines, first, count int) (acked []int, err error) {
	var mu sync.Mutex
	var group sync.WaitGroup
	for g := range goroutines {
		group.Go(func() {
			for n := first + g; n < first+count; n += goroutines {
				failed := appendRecord(ctx, s, n)
				mu.Lock()
				if failed == nil {
					acked = append(acked, n)
				} else if err == nil {
					err = failed
				}
				mu.Unlock()
				if failed != nil {
					return
				}
			}
		})
	}
	group.Wait()
	return acked, err
}

// checkRecords checks that the acknowledged records are there, and that every record is whole and has its twin.
func checkRecords(s store.Store, acked []int) error {
	found := map[int]bool{}
	err := s.Scan([]byte("record/"), []byte("record0"), func(key, value []byte) error {
		var n int
		if _, err := fmt.Sscanf(string(key), "record/%08d", &n); err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
		if _, want := record(n); !bytes.Equal(value, want) {
			return fmt.Errorf("record %d is not what was written", n)
		}
		found[n] = true
		return nil
	})
	if err != nil {
		return err
	}
	twins := 0
	err = s.Scan([]byte("twin/"), []byte("twin0"), func(_, _ []byte) error { twins++; return nil })
	if err == nil && twins != len(found) {
		err = fmt.Errorf("%d records and %d twins of one batch each", len(found), twins)
	}
	for _, n := range acked {
		if !found[n] {
			err = errors.Join(err, fmt.Errorf("acknowledged record %d is missing", n))
		}
	}
	return err
}

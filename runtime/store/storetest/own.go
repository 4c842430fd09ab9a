package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// testOwnChanges lets each of many goroutines read, right after Apply and mostly before anything is synced, what it has
// just changed.
func testOwnChanges(t *testing.T, o Opened) {
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for n := range 200 {
				if err := readOwn(t, o.Store, fmt.Sprintf("own/%d/", g), n); err != nil {
					t.Errorf("goroutine %d, round %d: %v", g, n, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func readOwn(t *testing.T, s store.Store, prefix string, n int) error {
	a, b, value := []byte(prefix+"a"), []byte(prefix+"b"), fmt.Sprint(n)
	mark, err := change(s, func(c *store.Batch) { c.Set(a, []byte(value)); c.Set(b, nil) })
	if err != nil {
		return err
	}
	if got, err := s.Get(a); err != nil || string(got) != value {
		return fmt.Errorf("reading what was set: %q, %w", got, err)
	}
	if n%5 == 0 {
		if err := s.Sync(t.Context(), mark); err != nil {
			return err
		}
	}
	if _, err := change(s, func(c *store.Batch) { c.Delete(a) }); err != nil {
		return err
	}
	if _, err := s.Get(a); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("reading what was deleted: %w", err)
	}
	if left := len(keys(s, prefix)); left != 1 {
		return fmt.Errorf("a scan finds %d keys, not 1", left)
	}
	if _, err := change(s, func(c *store.Batch) { c.DeleteRange([]byte(prefix), []byte(prefix+"z")) }); err != nil {
		return err
	}
	if _, err := s.Get(b); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("reading what a range deleted: %w", err)
	}
	return nil
}

func change(s store.Store, fill func(*store.Batch)) (store.Mark, error) {
	var b store.Batch
	fill(&b)
	return s.Apply(&b)
}

func keys(s store.Store, prefix string) (found []string) {
	_ = s.Scan([]byte(prefix), []byte(prefix+"z"), func(key, _ []byte) error { // an error shows in what is found
		found = append(found, string(key))
		return nil
	})
	return found
}

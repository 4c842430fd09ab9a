package activity

import (
	"context"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// batcher writes changes in batches of some size.
type batcher struct {
	s    store.Store
	b    store.Batch
	size int
	mark store.Mark
}

func (w *batcher) set(key, value []byte) error {
	w.b.Set(key, value)
	if w.size += len(key) + len(value); w.size < 1<<20 {
		return nil
	}
	return w.flush()
}

func (w *batcher) delete(key []byte) { w.b.Delete(key) }

func (w *batcher) flush() error {
	if w.b.Len() == 0 {
		return nil
	}
	mark, err := w.s.Apply(&w.b)
	w.mark = max(w.mark, mark)
	w.b.Reset()
	w.size = 0
	return err
}

func (w *batcher) sync(ctx context.Context) error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.s.Sync(ctx, w.mark)
}

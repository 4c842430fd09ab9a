package pebble

import (
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// changes are what the engine has not got yet. They are used under the committer's lock, or by one goroutine.
type changes struct {
	db    *pebble.DB
	batch *pebble.Batch // nil when empty
	// keys has a bit for the hash of each changed key; ranges tells that whole ranges were deleted too.
	seed   maphash.Seed
	keys   [keyBits / 64]uint64
	ranges bool
}

// keyBits bounds how often a read waits for the engine although its key has not changed: with 1,000 changes, 3 times in 100.
const keyBits = 1 << 15

// gather implements writer.
func (d *DB) gather() *changes {
	return &changes{db: d.engine, seed: maphash.MakeSeed()}
}

func (c *changes) empty() bool { return c.batch == nil }

// size is in bytes.
func (c *changes) size() int {
	if c.batch == nil {
		return 0
	}
	return c.batch.Len()
}

// reset empties c; the batch is somebody else's then.
func (c *changes) reset() {
	c.batch, c.ranges = nil, false
	clear(c.keys[:])
}

// has tells whether what a read of the engine's key finds may have changed.
func (c *changes) has(key []byte) bool {
	word, bit := c.place(key)
	return c.keys[word]&bit != 0 || c.ranges
}

func (c *changes) touch(key []byte) {
	word, bit := c.place(key)
	c.keys[word] |= bit
}

func (c *changes) place(key []byte) (word int, bit uint64) {
	hash := maphash.Bytes(c.seed, key) % keyBits
	return int(hash / 64), 1 << (hash % 64)
}

// add adds a batch, all or nothing.
func (c *changes) add(b *store.Batch) error {
	for _, op := range b.Ops() {
		if op.Kind < store.OpSet || op.Kind > store.OpDeleteRange {
			return fmt.Errorf("applying a batch: unknown kind of change %d", op.Kind)
		}
	}
	for _, op := range b.Ops() {
		if err := c.addOp(op); err != nil {
			return fmt.Errorf("applying a batch: %w", err)
		}
	}
	return nil
}

func (c *changes) addOp(op store.Op) error {
	if c.batch == nil {
		c.batch = c.db.NewBatch()
	}
	switch op.Kind {
	case store.OpSet:
		c.touch(set(c.batch, userSpace, op.Key, op.Value))
	case store.OpDelete:
		deleted := c.batch.DeleteDeferred(1 + len(op.Key))
		deleted.Key[0] = userSpace
		copy(deleted.Key[1:], op.Key)
		c.touch(deleted.Key)
		return deleted.Finish()
	case store.OpDeleteRange:
		start, end := userKey(op.Key), userEnd(op.Value)
		if string(start) >= string(end) {
			return nil
		}
		c.ranges = true
		return c.batch.DeleteRange(start, end, nil)
	}
	return nil
}

// set adds a framed value to the batch without copying it twice, and returns the engine's key.
func set(batch *pebble.Batch, space byte, key, value []byte) []byte {
	op := batch.SetDeferred(1+len(key), len(value)+frameOverhead)
	op.Key[0] = space
	copy(op.Key[1:], key)
	fillFrame(op.Value, op.Key, value)
	_ = op.Finish() // fails for indexed batches only
	return op.Key
}

// write implements writer.
func (d *DB) write(c *changes) error { return d.writeBatch(c.batch) }

func (d *DB) writeBatch(batch *pebble.Batch) error {
	if err := d.guarded(func() error { return d.engine.Apply(batch, pebble.NoSync) }); err != nil {
		return err
	}
	return batch.Close()
}

// writeGroup implements writer. The group's number is written in front of it, and the next group only when this one is
// synced, which tells damage of the log from its torn end.
func (d *DB) writeGroup(c *changes, group uint64) (finish func() error, err error) {
	begin := d.engine.NewBatchWithSize(64)
	set(begin, metaSpace, []byte(groupKey[1:]), number(group))
	last := begin
	if c.batch != nil {
		last = c.batch
		if err := d.writeBatch(begin); err != nil {
			return nil, err
		}
	}
	if err := d.guarded(func() error { return d.engine.ApplyNoSyncWait(last, pebble.Sync) }); err != nil {
		return nil, err
	}
	return func() error { return d.finishGroup(last) }, nil
}

func (d *DB) finishGroup(batch *pebble.Batch) error {
	if err := batch.SyncWait(); err != nil {
		d.fail(fmt.Errorf("syncing: %w", err))
	}
	if err := d.Err(); err != nil {
		return err
	}
	return batch.Close()
}

package activity

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Summary counts what a buffer holds.
type Summary struct {
	// OutOpen and InOpen have not ended, Out and In count all records.
	OutOpen, Out, InOpen, In int
	// Failed are those that FailedUnhandled tells of.
	Failed int
	// WithoutPayload are operations that have ended and whose payload was lost to a salvage; nothing else loses one.
	WithoutPayload int
	// Frames counts the frames of streams, Entries the index entries, Data the entries of the agent's own data.
	Frames, Entries, Data int
}

// Check reads the whole buffer in r, which nobody changes meanwhile, and reports each contradiction: records that do not
// decode, payloads and frames that are missing or belong to nothing, indexes, totals and counters that do not follow from
// the records. The error is the store's, or ctx's.
func Check(ctx context.Context, r store.Reader, report func(*store.DamagedError)) (Summary, error) {
	c := checker{r: r, report: report}
	for _, step := range []func(context.Context) error{c.records, c.entries, c.belongings, c.data, c.counters} {
		if err := step(ctx); err != nil {
			return c.Summary, fmt.Errorf("check the activity buffer: %w", err)
		}
	}
	return c.Summary, nil
}

type checker struct {
	Summary
	r      store.Reader
	report func(*store.DamagedError)
	// lastOut, lastIn and lastEnd are the highest numbers and the highest place that were seen; low are the lowest of what
	// is active or owes.
	last    [3]uint64
	low     [3]uint64
	totals  totals
	waiting int64
}

func (c *checker) wrong(key []byte, text string, args ...any) {
	c.report(damaged(key, fmt.Errorf(text, args...)).(*store.DamagedError))
}

// get returns a value, and whether there is one.
func (c *checker) get(key []byte) ([]byte, bool, error) {
	value, err := c.r.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	}
	return value, err == nil, err
}

// scanPrefix calls fn for all keys with a prefix. fn may use the store, and keeps what it is given.
func scanPrefix(ctx context.Context, r store.Reader, prefix string, fn func(key, value []byte) error) error {
	return scanRange(ctx, r, []byte(prefix), prefixEnd(prefix), fn)
}

// scanStep is how many bytes are read at a time.
const scanStep = 1 << 20

func scanRange(ctx context.Context, r store.Reader, start, end []byte, fn func(key, value []byte) error) error {
	type pair struct{ key, value []byte }
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var pairs []pair
		size := 0
		err := r.Scan(start, end, func(key, value []byte) error {
			pairs = append(pairs, pair{bytes.Clone(key), bytes.Clone(value)})
			if size += len(key) + len(value); size > scanStep {
				return store.ErrStop
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, p := range pairs {
			if err := fn(p.key, p.value); err != nil {
				return err
			}
		}
		if size <= scanStep {
			return nil
		}
		start = append(pairs[len(pairs)-1].key, 0)
	}
}

// prefixEnd is the first key after all that begin with a prefix of ours, which end with a letter.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// records checks every record, and what must follow from it.
func (c *checker) records(ctx context.Context) error {
	for _, prefix := range []string{keyOutActive, keyOutDone, keyInActive, keyInDone} {
		err := scanPrefix(ctx, c.r, prefix, func(key, value []byte) error {
			rec, _, err := decodeRecord(key, value)
			var damage *store.DamagedError
			if errors.As(err, &damage) {
				c.report(damage)
				return nil
			}
			if err != nil {
				return err
			}
			c.count(rec)
			return c.record(key, rec)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) count(rec Record) {
	direction := 0
	switch {
	case rec.Out != nil:
		c.Out++
	default:
		direction = 1
		c.In++
	}
	seq := rec.sequence()
	c.last[direction] = max(c.last[direction], seq)
	c.last[2] = max(c.last[2], rec.place())
	if rec.FailedUnhandled() {
		c.Failed++
	}
	if rec.Finished() {
		return
	}
	if c.low[direction] == 0 || seq < c.low[direction] {
		c.low[direction] = seq
	}
	if rec.Out != nil {
		c.OutOpen++
	} else {
		c.InOpen++
	}
}

func (c *checker) record(key []byte, rec Record) error {
	if rec.Finished() {
		active := numberKey(keyInActive, rec.sequence())
		if rec.Out != nil {
			active = numberKey(keyOutActive, rec.sequence())
		}
		if _, ok, err := c.get(active); err != nil {
			return err
		} else if ok {
			c.wrong(key, "%s is active as well as finished", rec.what())
		}
	}
	for _, e := range rec.indexEntries() {
		value, ok, err := c.get(e.key)
		switch {
		case err != nil:
			return err
		case !ok:
			c.wrong(e.key, "%s is missing in an index", rec.what())
		case !bytes.Equal(value, e.value):
			c.wrong(e.key, "an index entry of %s does not name it", rec.what())
		}
	}
	hasBody, err := c.payloads(key, rec)
	if err != nil {
		return err
	}
	if rec.Finished() {
		if err := c.kept(key, rec, hasBody); err != nil {
			return err
		}
	}
	return c.frames(key, rec)
}

// payloads checks payload and reply.
func (c *checker) payloads(key []byte, rec Record) (hasBody bool, err error) {
	bodyKey, replyKey := rec.payloads()
	for i, k := range [][]byte{bodyKey, replyKey} {
		value, ok, err := c.get(k)
		if err != nil {
			return false, err
		}
		if ok {
			if err := proto.Unmarshal(value, new(storagepb.Body)); err != nil {
				c.wrong(k, "a payload of %s does not decode: %w", rec.what(), err)
			}
		}
		switch {
		case i == 0:
			hasBody = ok
			if !ok && !rec.Finished() {
				c.wrong(key, "the payload of %s is missing", rec.what())
			}
			if !ok && rec.Out != nil && rec.Finished() {
				c.WithoutPayload++
			}
		case ok != rec.repliesWithBody():
			c.wrong(key, "%s has a reply, or not, against what it says", rec.what())
		}
	}
	return hasBody, nil
}

// kept checks the record's place in the order of endings.
func (c *checker) kept(key []byte, rec Record, hasBody bool) error {
	found := 0
	for class := range outWaiting {
		if !rec.classAllowed(class) {
			continue
		}
		k := keptKey(class, rec.place())
		value, ok, err := c.get(k)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		entry, err := decodeKept(k, value)
		if err != nil || entry.seq != rec.sequence() {
			continue // found again from its own side
		}
		found++
		if class == inFull && !hasBody || (class == inBare || class == inHeld) && hasBody {
			c.wrong(k, "the payload of %s is there, or not, against the order of endings", rec.what())
		}
	}
	if found != 1 {
		c.wrong(key, "%s is %d times in the order of endings", rec.what(), found)
	}
	return nil
}

// frames checks the frames of a record from its side.
func (c *checker) frames(key []byte, rec Record) error {
	prefix, run, stored, ok, err := rec.frames(c.r)
	if err != nil {
		var damage *store.DamagedError
		if errors.As(err, &damage) {
			c.report(damage)
			return nil
		}
		return err
	}
	for n := uint64(1); ok && n <= stored; n++ {
		_, there, err := c.get(frameKey(prefix, rec.sequence(), run, n))
		if err != nil {
			return err
		}
		if !there {
			c.wrong(key, "frame %d of %s is missing, and more may be", n, rec.what())
			return nil
		}
	}
	return nil
}

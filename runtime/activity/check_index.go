package activity

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// loadFrom reads a message, and tells whether there is one.
func loadFrom(r store.Reader, key []byte, into proto.Message) (bool, error) {
	value, err := r.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := proto.Unmarshal(value, into); err != nil {
		return false, damaged(key, err)
	}
	return true, nil
}

// load returns a record by direction and number, and whether there is one that reads.
func (c *checker) load(out bool, seq uint64) (Record, bool, error) {
	prefixes := []string{keyInActive, keyInDone}
	if out {
		prefixes = []string{keyOutActive, keyOutDone}
	}
	for _, prefix := range prefixes {
		key := numberKey(prefix, seq)
		value, ok, err := c.get(key)
		if err != nil {
			return Record{}, false, err
		}
		if !ok {
			continue
		}
		if rec, _, err := decodeRecord(key, value); err == nil {
			return rec, true, nil
		}
	}
	return Record{}, false, nil
}

// entries checks that every index entry follows from a record.
func (c *checker) entries(ctx context.Context) error {
	for _, prefix := range indexes {
		check := c.entry
		if prefix == keyKept {
			check = c.keptEntry
		}
		err := scanPrefix(ctx, c.r, prefix, func(key, value []byte) error {
			c.Entries++
			return check(key, value)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) entry(key, value []byte) error {
	number := value
	prefix := string(key[:2])
	if prefix == keyOutToken || prefix == keyOutTalk {
		number = key[max(0, len(key)-8):]
	}
	seq, err := decodeNumber(number)
	if err != nil {
		c.wrong(key, "an index entry does not decode: %w", err)
		return nil
	}
	if prefix == keyOutUnhandled {
		c.waiting++
	}
	rec, ok, err := c.load(prefix[0] == 'o', seq)
	if err != nil {
		return err
	}
	if !ok {
		c.wrong(key, "an index names record %d, which is not there", seq)
		return nil
	}
	if prefix == keyInOwing {
		end, err := lastNumber(key)
		if err != nil {
			c.wrong(key, "an index entry does not decode: %w", err)
			return nil
		}
		c.last[2] = max(c.last[2], end)
		if c.low[2] == 0 || end < c.low[2] {
			c.low[2] = end
		}
	}
	if !rec.mayHave(key) {
		c.wrong(key, "an index names %s, which does not say so", rec.what())
	}
	return nil
}

// mayHave tells whether an index entry may name the record. One of a received message that is active again is of its
// earlier end.
func (r Record) mayHave(key []byte) bool {
	if r.Finished() {
		for _, e := range r.indexEntries() {
			if bytes.Equal(e.key, key) {
				return true
			}
		}
		return false
	}
	if r.In == nil {
		return false
	}
	switch string(key[:2]) {
	case keyInOwing:
		return len(r.In.GetOwed()) > 0
	case keyInDedup:
		return bytes.Equal(key, []byte(dedupKeyOf(r.In)))
	case keyInMessage:
		for _, a := range r.In.GetAliases() {
			if bytes.Equal(key, textKey(keyInMessage, a.GetMessageId(), r.In.GetFrom())) {
				return true
			}
		}
	}
	return false
}

// keptEntry checks an entry in the order of endings.
func (c *checker) keptEntry(key, value []byte) error {
	if len(key) != 10 || class(key[1]) >= outWaiting {
		c.wrong(key, "it is no place in the order of endings")
		return nil
	}
	k, err := decodeKept(key, value)
	if err != nil {
		c.wrong(key, "%w", err)
		return nil
	}
	in := class(key[1])
	c.totals.add(in, k.bytes)
	c.last[2] = max(c.last[2], k.end)
	rec, ok, err := c.load(in < inFull, k.seq)
	switch {
	case err != nil:
		return err
	case !ok:
		c.wrong(key, "the order of endings has record %d, which is not there", k.seq)
	case rec.place() != k.end || !rec.classAllowed(in):
		c.wrong(key, "the order of endings has %s at another place than it says", rec.what())
	}
	return nil
}

// belongings checks that payloads, replies and frames belong to something.
func (c *checker) belongings(ctx context.Context) error {
	for _, prefix := range []string{keyOutBody, keyOutReply, keyOutStream, keyOutFrame, keyInBody, keyInReply, keyInStream, keyInFrame} {
		var last Record
		known := false
		err := scanPrefix(ctx, c.r, prefix, func(key, value []byte) error {
			if !isPart(key) {
				c.wrong(key, "the key is none of a part of a record")
				return nil
			}
			seq := binary.BigEndian.Uint64(key[2:])
			if !known || last.sequence() != seq {
				var err error
				if last, known, err = c.load(prefix[0] == 'o', seq); err != nil {
					return err
				}
			}
			if !known {
				c.wrong(key, "it belongs to record %d, which is not there", seq)
				return nil
			}
			return c.belonging(key, value, last)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isPart tells whether a key that begins as those of parts of records has what belongs behind that: a number, and of frames
// their run and their own number.
func isPart(key []byte) bool {
	if p := string(key[:2]); p == keyOutFrame || p == keyInFrame {
		return len(key) == 26
	}
	return len(key) == 10
}

func (c *checker) belonging(key, value []byte, rec Record) error {
	switch string(key[:2]) {
	case keyOutStream, keyInStream:
		if rec.Finished() {
			c.wrong(key, "%s has ended, and has the stream of an active one", rec.what())
		}
	case keyOutFrame, keyInFrame:
		c.Frames++
		if err := proto.Unmarshal(value, new(storagepb.Frame)); err != nil {
			c.wrong(key, "a frame of %s does not decode: %w", rec.what(), err)
		}
		_, run, _, ok, err := rec.frames(c.r)
		if err != nil {
			return nil // reported with the record
		}
		if !ok || binary.BigEndian.Uint64(key[10:]) != run {
			c.wrong(key, "%s has no such run of frames", rec.what())
		}
	}
	return nil
}

// data counts the agent's own data.
func (c *checker) data(ctx context.Context) error {
	return WalkData(ctx, c.r, func(key string, value []byte) error {
		c.Data++
		c.totals.add(dataEntries, dataSize(key, value))
		if !dataKeyFits(key) || len(value) > MaxDataValue {
			c.wrong(dataKey(key), "data has a key or a value that nobody could have written")
		}
		return nil
	})
}

// counters checks what the buffer counts.
func (c *checker) counters(context.Context) error {
	var m meta
	for i, n := range m.numbers() {
		value, ok, err := c.get([]byte(n.key))
		if err != nil {
			return err
		}
		if !ok {
			if i < 3 && c.last[i] > 0 {
				c.wrong([]byte(n.key), "the counter is missing")
			}
			continue
		}
		v, err := decodeNumber(value)
		switch {
		case err != nil:
			c.wrong([]byte(n.key), "%w", err)
		case i < 3 && v <= c.last[i]:
			c.wrong([]byte(n.key), "the counter is at %d, and %d was given", v, c.last[i])
		case i >= 3 && c.low[i-3] != 0 && v > c.low[i-3]:
			c.wrong([]byte(n.key), "the mark is at %d, and %d lies below it", v, c.low[i-3])
		}
	}
	value, ok, err := c.get([]byte(keyTotals))
	if err != nil {
		return err
	}
	var stored totals
	if ok {
		if err := stored.decode(value); err != nil {
			c.wrong([]byte(keyTotals), "decode totals: %w", err)
			return nil
		}
	}
	c.totals[outWaiting].records = c.waiting
	for class, want := range c.totals {
		if stored[class] != want {
			c.wrong([]byte(keyTotals), "the totals of class %d say %d records with %d bytes, and there are %d with %d",
				class, stored[class].records, stored[class].bytes, want.records, want.bytes)
		}
	}
	return nil
}

package pebble

import (
	"bytes"
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// cursor gives the entries of one table or log in order: by key, the newest version of it first.
type cursor interface {
	// next returns the next entry, false after the last.
	next() (entry, bool, error)
}

// merger gives the newest version of each key in order, over several cursors.
type merger struct {
	heads     []head
	deletions []deletion // sorted by start
	active    []deletion // those that may cover the next key
}

type head struct {
	entry
	from cursor
}

func before(a, b entry) bool {
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return a.seq > b.seq
}

func (m *merger) Len() int           { return len(m.heads) }
func (m *merger) Less(i, j int) bool { return before(m.heads[i].entry, m.heads[j].entry) }
func (m *merger) Swap(i, j int)      { m.heads[i], m.heads[j] = m.heads[j], m.heads[i] }
func (m *merger) Push(x any)         { m.heads = append(m.heads, x.(head)) }
func (m *merger) Pop() any {
	last := m.heads[len(m.heads)-1]
	m.heads = m.heads[:len(m.heads)-1]
	return last
}

// add adds a cursor.
func (m *merger) add(c cursor) error {
	e, ok, err := c.next()
	if ok {
		heap.Push(m, head{e, c})
	}
	return err
}

// each calls fn for the newest version of every key that is not deleted.
func (m *merger) each(fn func(entry) error) error {
	slices.SortFunc(m.deletions, func(a, b deletion) int { return bytes.Compare(a.start, b.start) })
	var last []byte
	for len(m.heads) > 0 {
		e := m.heads[0].entry
		next, ok, err := m.heads[0].from.next()
		if err != nil {
			return err
		}
		if ok {
			m.heads[0].entry = next
			heap.Fix(m, 0)
		} else {
			heap.Pop(m)
		}
		if last != nil && bytes.Equal(e.key, last) {
			continue // an older version
		}
		last = e.key
		set := e.kind == pebble.InternalKeyKindSet || e.kind == pebble.InternalKeyKindSetWithDelete
		if !set || m.deleted(e) {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// deleted tells whether a range that holds e was deleted after it was written. It is called with rising keys.
func (m *merger) deleted(e entry) bool {
	for len(m.deletions) > 0 && bytes.Compare(m.deletions[0].start, e.key) <= 0 {
		m.active = append(m.active, m.deletions[0])
		m.deletions = m.deletions[1:]
	}
	m.active = slices.DeleteFunc(m.active, func(d deletion) bool { return bytes.Compare(d.end, e.key) <= 0 })
	return slices.ContainsFunc(m.active, func(d deletion) bool { return d.seq > e.seq })
}

// tableCursor reads a table and steps over damaged blocks.
type tableCursor struct {
	*table
	lost func(Loss)
	list []entry
	last []byte // key of the last entry before list
	gap  []Loss // what was stepped over and waits for the key behind it
}

// next implements cursor.
func (c *tableCursor) next() (entry, bool, error) {
	for len(c.list) == 0 {
		if len(c.data) == 0 {
			c.close(nil)
			return entry{}, false, nil
		}
		s := c.data[0]
		c.data = c.data[1:]
		list, err := c.entries(s)
		if err != nil {
			c.gap = append(c.gap, Loss{File: c.path, Offset: int64(s.offset), Length: int64(s.length), Err: err, From: c.last})
			continue
		}
		if c.list = list; len(list) > 0 {
			c.close(list[0].key)
			c.last = list[len(list)-1].key
		}
	}
	e := c.list[0]
	c.list = c.list[1:]
	return e, true, nil
}

// close tells of what was stepped over.
func (c *tableCursor) close(to []byte) {
	for _, l := range c.gap {
		l.To = to
		c.lost(l)
	}
	c.gap = nil
}

// listCursor gives what was read already.
type listCursor []entry

// next implements cursor.
func (c *listCursor) next() (entry, bool, error) {
	if len(*c) == 0 {
		return entry{}, false, nil
	}
	e := (*c)[0]
	*c = (*c)[1:]
	return e, true, nil
}

// logReader collects what the batches of a log say.
type logReader struct {
	entries   listCursor
	deletions []deletion
	batch     []byte // what is here of the batch that is being read
	open      bool
	broken    error
}

// chunk takes the next chunk.
func (l *logReader) chunk(c chunk) {
	const full, first, last = 0, 1, 3
	switch {
	case c.place == full || c.place == first:
		l.batch, l.open = append([]byte{}, c.payload...), true
	case !l.open:
		return // its beginning is lost
	default:
		l.batch = append(l.batch, c.payload...)
	}
	if c.place != full && c.place != last {
		return
	}
	l.open = false
	if err := l.decode(l.batch); err != nil && l.broken == nil {
		l.broken = err
	}
}

func (l *logReader) decode(batch []byte) error {
	header, ok := batchrepr.ReadHeader(batch)
	if !ok {
		return errors.New("a batch has no header")
	}
	seq := uint64(header.SeqNum)
	for changes := batchrepr.Read(batch); ; {
		kind, key, value, ok, err := changes.Next()
		if err != nil {
			return fmt.Errorf("reading a batch: %w", err)
		}
		if !ok {
			return nil
		}
		switch kind {
		case pebble.InternalKeyKindLogData:
			continue // it has no sequence number
		case pebble.InternalKeyKindRangeDelete:
			l.deletions = append(l.deletions, deletion{key, value, seq})
		default:
			l.entries = append(l.entries, entry{key: key, value: value, seq: seq, kind: kind})
		}
		seq++
	}
}

// sorted returns the entries as a cursor.
func (l *logReader) sorted() cursor {
	slices.SortFunc(l.entries, func(a, b entry) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return cmp.Compare(b.seq, a.seq)
	})
	return &l.entries
}

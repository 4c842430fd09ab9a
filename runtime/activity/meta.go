package activity

import (
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
)

// reserve is how many numbers are reserved at a time. What is left of them when a process ends is never used.
const reserve = 1024

// lowStep is how far a low-water mark moves before it is written again.
const lowStep = 256

// counter gives numbers that are never given twice, over restarts too.
type counter struct{ next, reserved uint64 }

func (c *counter) take() uint64 {
	n := c.next
	c.next++
	if n >= c.reserved {
		c.reserved = n + reserve
	}
	return n
}

// class is the reason for which a finished record is kept. Its number is part of the format.
type class int

const (
	outHandled   class = iota // operations whose result was handed over: by count and age
	outUnhandled              // operations whose result nobody took yet: by age and size
	outKeyed                  // operations with a content key or a caller's: for the deduplication window
	outHeld                   // operations that a running handler may send again: until it ends
	inFull                    // received messages with payload: by count and age, then inBare
	inBare                    // received messages without it: for InKeep
	inHeld                    // received messages that still owe envelopes: until they do not
	outWaiting                // a count only: all operations of any class whose result nobody took yet
	dataEntries               // a count only: the agent's own data, keys and values
	classes
)

// kept is what the order of endings knows of a finished record.
type kept struct {
	end   uint64 // place in the order
	seq   uint64
	at    time.Time // of the outcome
	bytes int64     // of what is stored
}

func (k kept) encode() []byte {
	b := make([]byte, 0, 24)
	b = binary.BigEndian.AppendUint64(b, k.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(k.at.UnixNano()))
	return binary.BigEndian.AppendUint64(b, uint64(k.bytes))
}

func decodeKept(key, value []byte) (kept, error) {
	end, err := lastNumber(key)
	if err != nil {
		return kept{}, err
	}
	if len(value) != 24 {
		return kept{}, fmt.Errorf("an entry in the order of endings has %d bytes", len(value))
	}
	return kept{
		end:   end,
		seq:   binary.BigEndian.Uint64(value),
		at:    time.Unix(0, int64(binary.BigEndian.Uint64(value[8:]))),
		bytes: int64(binary.BigEndian.Uint64(value[16:])),
	}, nil
}

type total struct{ records, bytes int64 }

type totals [classes]total

func (t *totals) add(c class, bytes int64) {
	t[c].records++
	t[c].bytes += bytes
}

func (t *totals) remove(c class, bytes int64) {
	t[c].records--
	t[c].bytes -= bytes
}

// dedupBytes is what is kept to recognise repeated messages.
func (t *totals) dedupBytes() int64 {
	return t[outKeyed].bytes + t[inFull].bytes + t[inBare].bytes + t[inHeld].bytes
}

func (t *totals) encode() ([]byte, error) {
	m := &storagepb.Totals{Kept: make([]*storagepb.Total, classes)}
	for c, v := range t {
		m.Kept[c] = &storagepb.Total{Records: v.records, Bytes: v.bytes}
	}
	return proto.Marshal(m)
}

func (t *totals) decode(value []byte) error {
	var m storagepb.Totals
	if err := proto.Unmarshal(value, &m); err != nil {
		return err
	}
	for c, v := range m.GetKept() {
		if c < len(t) {
			t[c] = total{records: v.GetRecords(), bytes: v.GetBytes()}
		}
	}
	return nil
}

// meta is what the buffer knows of itself besides records. It is changed in copies, so that a batch that fails leaves it
// as it was.
type meta struct {
	out, in, end            counter
	lowOut, lowIn, lowOwing uint64
	totals                  totals
}

// numbers lists what of meta is stored as a number each.
func (m *meta) numbers() []struct {
	key   string
	value *uint64
} {
	return []struct {
		key   string
		value *uint64
	}{
		{keyNextOut, &m.out.reserved},
		{keyNextIn, &m.in.reserved},
		{keyNextEnd, &m.end.reserved},
		{keyLowOut, &m.lowOut},
		{keyLowIn, &m.lowIn},
		{keyLowOwing, &m.lowOwing},
	}
}

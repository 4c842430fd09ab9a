package activity

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Recent returns the newest n records of both directions, oldest first: operations by when they were made, received
// messages by when they came.
func (b *Buffer) Recent(n int) ([]Record, error) {
	if n <= 0 {
		return nil, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var recs []Record
	for _, seq := range b.out.order.newest(n) {
		recs = append(recs, Record{Out: b.out.entries[seq].rec})
	}
	for _, seq := range b.in.order.newest(n) {
		recs = append(recs, Record{In: b.in.entries[seq].rec})
	}
	err := b.newest(keyOutDone, n, func(value []byte) error {
		r := Record{Out: new(storagepb.OutRecord)}
		recs = append(recs, r)
		return proto.Unmarshal(value, r.Out)
	})
	if err != nil {
		return nil, err
	}
	err = b.newest(keyInDone, n, func(value []byte) error {
		r := Record{In: new(storagepb.InRecord)}
		recs = append(recs, r)
		return proto.Unmarshal(value, r.In)
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(recs, func(x, y Record) int {
		if c := x.time().Compare(y.time()); c != 0 {
			return c
		}
		return int(x.sequence()) - int(y.sequence())
	})
	return recs[max(0, len(recs)-n):], nil
}

func (b *Buffer) newest(prefix string, n int, fn func(value []byte) error) error {
	err := b.store.ScanReverse([]byte(prefix), after([]byte(prefix)), func(key, value []byte) error {
		if err := fn(value); err != nil {
			return damaged(key, err)
		}
		if n--; n == 0 {
			return store.ErrStop
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the newest records: %w", err)
	}
	return nil
}

func (r Record) time() time.Time {
	if r.Out != nil {
		return r.Out.GetCreatedAt().AsTime()
	}
	return r.In.GetReceivedAt().AsTime()
}

func (r Record) sequence() uint64 {
	if r.Out != nil {
		return r.Out.GetSequence()
	}
	return r.In.GetSequence()
}

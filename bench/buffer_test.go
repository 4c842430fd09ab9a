package bench_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	raw "github.com/cockroachdb/pebble/v2"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

// recordBytes is what an operation with its payload of 512 bytes takes in the activity buffer, about.
const recordBytes = 900

// BenchmarkBufferAppend records operations with a payload of 512 bytes in the activity buffer, beside Pebble alone: a
// synced batch of one value of the same size and an index entry, the least that a buffer written by hand would store.
func BenchmarkBufferAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			value := make([]byte, recordBytes)
			compare(b, writers, "append/s", func(after, last uint64) (write, write) {
				buf, theirs := openBuffer(b), openRaw(b)
				return recordIn(buf, after, last), func(_ context.Context, key []byte) error {
					batch := theirs.NewBatch()
					if err := batch.Set(key, value, nil); err != nil {
						return err
					}
					if err := batch.Set(slices.Concat([]byte("id/"), key), key, nil); err != nil {
						return err
					}
					return batch.Commit(raw.Sync)
				}
			})
		})
	}
}

// recordIn records the operations numbered after to last, each when it is its turn. What senders make before they call the
// buffer is made here, outside of the measured time.
func recordIn(buf *activity.Buffer, after, last uint64) write {
	drafts := make([]activity.Draft, last-after)
	for i := range drafts {
		drafts[i] = draft(recordKey(nil, after+1+uint64(i)))
	}
	var next atomic.Uint64
	return func(ctx context.Context, _ []byte) error {
		_, _, err := buf.RecordOut(ctx, drafts[next.Add(1)-1])
		return err
	}
}

// BenchmarkBufferAck ends recorded operations as FULFILLED in the activity buffer, beside Pebble alone: a synced batch of
// a value without its payload and the end of an index entry.
func BenchmarkBufferAck(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			value := make([]byte, recordBytes-512)
			compare(b, writers, "ack/s", func(after, last uint64) (write, write) {
				buf, theirs := openBuffer(b), openRaw(b)
				var filling samples
				filling.count.Store(after)
				filling.round(b, 256, int(last-after), recordIn(buf, after, last))
				return func(ctx context.Context, key []byte) error {
						_, err := buf.AckOut(ctx, ack.Ack{ForMessageID: string(key), Stage: ack.Fulfilled}, "peer")
						return err
					}, func(_ context.Context, key []byte) error {
						batch := theirs.NewBatch()
						if err := batch.Set(key, value, nil); err != nil {
							return err
						}
						if err := batch.Delete(slices.Concat([]byte("id/"), key), nil); err != nil {
							return err
						}
						return batch.Commit(raw.Sync)
					}
			})
		})
	}
}

func openBuffer(b *testing.B) *activity.Buffer {
	b.Helper()
	buf, err := activity.Open(b.Context(), openStore(b), activity.Config{})
	if err != nil {
		b.Fatal(err)
	}
	return buf
}

var payload512 = make([]byte, 512)

func draft(key []byte) activity.Draft {
	name := string(key)
	return activity.Draft{
		Record: &storagepb.OutRecord{
			Token: "agent:acme.review.v1.Reviewer/Review:" + name, KeyKind: storagepb.KeyKind_KEY_KIND_CALL,
			To: "agent:reviewer-1", Exchange: "acme.review.v1.Reviewer/Review", CorrelationId: name,
			Retry: &storagepb.RetryPolicy{MaxAttempts: 5, InitialBackoffNs: 1e9, MaxBackoffNs: 30e9, Multiplier: 2},
		},
		Body:      &storagepb.Body{ContentType: "application/protobuf", Payload: payload512},
		MessageID: name,
	}
}

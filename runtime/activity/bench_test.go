package activity_test

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	engine "github.com/cockroachdb/pebble/v2"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

var writers = []int{1, 16, 256}

// spread runs fn b.N times from n goroutines.
func spread(b *testing.B, n int, fn func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	b.StartTimer() // an earlier spread has stopped it
	for range n {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(b.N) {
					return
				}
				if err := fn(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

func benchStore(b *testing.B) store.Store {
	b.Helper()
	db, err := pebble.Open(b.TempDir(), pebble.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

func benchBuffer(b *testing.B) *activity.Buffer {
	b.Helper()
	buf, err := activity.Open(b.Context(), benchStore(b), activity.Config{MaxOut: 1 << 30, KeepBodies: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	return buf
}

func benchDraft(i int64, payload []byte) activity.Draft {
	name := fmt.Sprintf("%016d", i)
	return activity.Draft{
		Record: &storagepb.OutRecord{
			Token: "agent:acme.review.v1.Reviewer/Review:" + name, KeyKind: storagepb.KeyKind_KEY_KIND_CALL, PayloadHash: make([]byte, 32),
			To: "agent:reviewer-1", Exchange: "acme.review.v1.Reviewer/Review", CorrelationId: "00000000-0000-4000-8000-" + name,
			Retry: &storagepb.RetryPolicy{MaxAttempts: 5, InitialBackoffNs: 1e9, MaxBackoffNs: 30e9, Multiplier: 2},
		},
		Body:      &storagepb.Body{ContentType: "application/protobuf", Payload: payload},
		MessageID: "00000000-0000-4000-9000-" + name,
	}
}

// BenchmarkAppend records operations with a payload of 1 KiB.
func BenchmarkAppend(b *testing.B) {
	payload := make([]byte, 1<<10)
	for _, n := range writers {
		b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
			buf := benchBuffer(b)
			spread(b, n, func(i int64) error {
				_, _, err := buf.RecordOut(b.Context(), benchDraft(i, payload))
				return err
			})
		})
	}
}

// BenchmarkAck ends recorded operations.
func BenchmarkAck(b *testing.B) {
	for _, n := range writers {
		b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
			buf := benchBuffer(b)
			spread(b, 256, func(i int64) error {
				_, _, err := buf.RecordOut(b.Context(), benchDraft(i, nil))
				return err
			})
			spread(b, n, func(i int64) error {
				_, err := buf.AckOut(b.Context(), ack.Ack{ForMessageID: fmt.Sprintf("00000000-0000-4000-9000-%016d", i), Stage: ack.Fulfilled}, "peer")
				return err
			})
		})
	}
}

// BenchmarkRawStore writes one key of the size of an operation through the store, as a measure for BenchmarkAppend.
func BenchmarkRawStore(b *testing.B) {
	payload := make([]byte, 1<<10+400)
	for _, n := range writers {
		b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
			s := benchStore(b)
			spread(b, n, func(i int64) error {
				var batch store.Batch
				batch.Set(fmt.Appendf(nil, "%016d", i), payload)
				return store.Write(b.Context(), s, &batch)
			})
		})
	}
}

// BenchmarkRawPebble writes one synced key of the size of an operation to Pebble itself.
func BenchmarkRawPebble(b *testing.B) {
	payload := make([]byte, 1<<10+400)
	for _, n := range writers {
		b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
			db, err := engine.Open(b.TempDir(), &engine.Options{Logger: discard{}})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := db.Close(); err != nil {
					b.Error(err)
				}
			})
			spread(b, n, func(i int64) error {
				return db.Set(fmt.Appendf(nil, "%016d", i), payload, engine.Sync)
			})
		})
	}
}

type discard struct{ io.Writer }

func (discard) Infof(string, ...any)  {}
func (discard) Errorf(string, ...any) {}
func (discard) Fatalf(string, ...any) {}

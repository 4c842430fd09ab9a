package kv_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

var callers = []int{1, 16, 64}

// BenchmarkAccept is work to one agent a caller, durable when Accept returns.
func BenchmarkAccept(b *testing.B) {
	for _, n := range callers {
		b.Run(fmt.Sprint("Callers", n), func(b *testing.B) {
			e := benchEngine(b)
			run(b, n, func(ctx context.Context, caller int, id string) error {
				m := message(id)
				m.To = fmt.Sprint("agent:a", caller)
				a, err := queue.Submit(ctx, e, m)
				if err == nil && a.State != transportpb.Answer_STATE_NEW {
					err = fmt.Errorf("%v: %s", a.State, a.Note)
				}
				return err
			})
		})
	}
}

// BenchmarkCycle is Accept, Lease, Custody and outcome of a message, and Lease and Custody of the outcome.
func BenchmarkCycle(b *testing.B) {
	for _, kind := range []string{"agent", "capability"} {
		for _, n := range callers {
			b.Run(fmt.Sprintf("%s/Callers%d", kind, n), func(b *testing.B) {
				e := benchEngine(b)
				run(b, n, func(ctx context.Context, caller int, id string) error {
					from, by := holder(fmt.Sprint("s", caller)), holder(fmt.Sprint("a", caller))
					return cycle(ctx, e, id, from, by, fmt.Sprint(kind, ":a", caller))
				})
			})
		}
	}
}

func benchEngine(b *testing.B) *kv.Engine {
	s, err := pebble.Open(b.TempDir(), pebble.Options{Profile: pebble.Service, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	e, err := kv.Open(b.Context(), s, kv.Options{Limits: queue.Limits{MaxWork: 1 << 30}})
	require.NoError(b, err)
	return e
}

// run shares b.N calls among n callers.
func run(b *testing.B, n int, call func(ctx context.Context, caller int, id string) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for caller := range n {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := call(b.Context(), caller, fmt.Sprintf("%036d", i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

package router

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLanesKeepTheOrderOfAKeyOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLanes(t.Context())
		var mu sync.Mutex
		order := map[uint64][]int{}
		began := time.Now()
		const keys, each = 100, 20
		for i := range each {
			for key := range uint64(keys) {
				require.NoError(t, l.add(t.Context(), key, 0, func(context.Context) {
					time.Sleep(time.Second)
					mu.Lock()
					defer mu.Unlock()
					order[key] = append(order[key], i)
				}))
			}
		}
		l.wait()
		require.Equal(t, each*time.Second, time.Since(began), "keys run at the same time")
		for key := range uint64(keys) {
			for i, got := range order[key] {
				require.Equal(t, i, got)
			}
			require.Len(t, order[key], each)
		}
	})
}

func TestLanesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLanes(t.Context())
		release := make(chan struct{})
		for key := range uint64(4) {
			require.NoError(t, l.add(t.Context(), key, laneBytes/4-jobBytes, func(context.Context) { <-release }))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, l.add(ctx, 9, 0, func(context.Context) {}), context.DeadlineExceeded)
		close(release)
		// A job larger than all the room runs alone.
		var ran atomic.Bool
		require.NoError(t, l.add(t.Context(), 9, 10*laneBytes, func(context.Context) { ran.Store(true) }))
		l.wait()
		require.True(t, ran.Load())
	})
}

func TestCancelledLanesRunEveryJobWithTheEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := newLanes(ctx)
		ran := 0
		for range 3 {
			require.NoError(t, l.add(t.Context(), 1, 0, func(ctx context.Context) {
				ran++
				<-ctx.Done()
			}))
		}
		synctest.Wait()
		cancel()
		l.wait()
		require.Equal(t, 3, ran)
	})
}

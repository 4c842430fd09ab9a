package router

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// laneCount is how many jobs of one stream run at once, so that they share the engine's syncs.
	laneCount = 256
	// laneBytes bounds the jobs of one stream that wait or run, by the size of their messages and what each costs.
	laneBytes = 16 << 20
	jobBytes  = 4 << 10
)

// lanes run the jobs of one stream: those of one key one after the other in the order in which they came, others at the
// same time. Each busy lane has one goroutine, which ends when the lane is empty.
type lanes struct {
	ctx   context.Context
	space *semaphore.Weighted

	mu    sync.Mutex
	lanes [laneCount][]job
	// running counts the goroutines.
	running sync.WaitGroup
}

type job struct {
	size int64
	do   func(ctx context.Context)
}

// newLanes returns lanes whose jobs get ctx.
func newLanes(ctx context.Context) *lanes {
	return &lanes{ctx: ctx, space: semaphore.NewWeighted(laneBytes)}
}

// add enters a job for a message of size bytes, and waits while there is no room. It is called by one goroutine, which
// also gives up when ctx ends.
func (l *lanes) add(ctx context.Context, key uint64, size int, do func(ctx context.Context)) error {
	cost := min(int64(size)+jobBytes, laneBytes)
	if err := l.space.Acquire(ctx, cost); err != nil {
		return err
	}
	i := key % laneCount
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes[i] = append(l.lanes[i], job{size: cost, do: do})
	if len(l.lanes[i]) == 1 {
		l.running.Go(func() { l.run(i) })
	}
	return nil
}

func (l *lanes) run(i uint64) {
	for {
		l.mu.Lock()
		j := l.lanes[i][0]
		l.mu.Unlock()
		j.do(l.ctx) // also when ctx has ended: what was accepted still has to be announced to its receivers
		l.space.Release(j.size)
		l.mu.Lock()
		// The running job stays at the head until it is done, so that nobody starts a second goroutine.
		l.lanes[i][0] = job{}
		l.lanes[i] = l.lanes[i][1:]
		empty := len(l.lanes[i]) == 0
		if empty {
			l.lanes[i] = nil
		}
		l.mu.Unlock()
		if empty {
			return
		}
	}
}

// wait waits until all jobs are done.
func (l *lanes) wait() { l.running.Wait() }

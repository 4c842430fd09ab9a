package queuetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// traffic is many producers and consumers of one capability, and what they have seen.
type traffic struct {
	t   *testing.T
	ctx context.Context
	e   queue.Engine

	mu   sync.Mutex
	held map[string]queue.Holder
	// taken counts how often a message left the queue for good.
	taken map[string]int
	left  atomic.Int64
}

const (
	producers   = 4
	consumers   = 4
	perProducer = 100
)

// concurrent checks that nothing is lost, and that nothing is handed to two holders at once.
func concurrent(t *testing.T, open Open) {
	e, reopen := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	f := &traffic{t: t, ctx: ctx, e: e, held: make(map[string]queue.Holder), taken: make(map[string]int)}
	f.left.Store(producers * perProducer)
	var wg sync.WaitGroup
	for i := range producers {
		wg.Go(func() { f.produce(i) })
	}
	for i := range consumers {
		wg.Go(func() { f.consume(i) })
	}
	wg.Go(f.housekeep)
	wg.Wait()
	if t.Failed() {
		return
	}
	f.e = reopen()
	letters, err := f.e.DeadLetters(ctx, producers*perProducer)
	require.NoError(t, err)
	for _, l := range letters {
		if l.Class == work {
			f.taken[l.Envelope.GetMessageId()]++
		}
	}
	for p := range producers {
		for n := range perProducer {
			m := f.message(p, n)
			require.Equal(t, 1, f.taken[idOf(m)], "message %s", idOf(m))
			a, err := queue.Submit(ctx, f.e, m)
			require.NoError(t, err)
			require.Contains(t, []transportpb.Answer_State{delivered, done}, a.State)
		}
	}
}

func (f *traffic) message(producer, n int) queue.Message {
	id := fmt.Sprintf("message-%d-%d", producer, n)
	return queue.Message{
		Envelope: &commonpb.Envelope{MessageId: id, IdempotencyToken: "token-" + id, Payload: []byte(id)},
		To:       toAny, Class: work, From: queue.Holder{Agent: fmt.Sprintf("producer-%d", producer)}, At: time.Now(),
	}
}

func (f *traffic) produce(producer int) {
	for n := 0; n < perProducer && f.ctx.Err() == nil && !f.t.Failed(); {
		a, err := queue.Submit(f.ctx, f.e, f.message(producer, n))
		if !assert.NoError(f.t, err) {
			return
		}
		if a.State == refused {
			// The queue is full, until a consumer goes on.
			assert.Equal(f.t, ack.BufferFull, a.Code)
			runtime.Gosched()
			continue
		}
		again, err := queue.Submit(f.ctx, f.e, f.message(producer, n))
		assert.NoError(f.t, err)
		assert.NotContains(f.t, []transportpb.Answer_State{isNew, refused}, again.State)
		n++
	}
}

func (f *traffic) consume(n int) {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	h := queue.Holder{Agent: fmt.Sprintf("consumer-%d", n), Store: "store", Epoch: 1, Stream: uint64(n)}
	_, err := f.e.Admit(f.ctx, h, false)
	assert.NoError(f.t, err)
	for f.left.Load() > 0 && f.ctx.Err() == nil && !f.t.Failed() {
		ds, err := f.e.Lease(f.ctx, queue.LeaseRequest{
			Holder: h, Addresses: []string{toAny}, Class: work,
			MaxMessages: 1 + rng.IntN(4), MaxBytes: 1 << 20, Now: time.Now(), Until: time.Now().Add(time.Hour),
		})
		if !assert.NoError(f.t, err) {
			return
		}
		if len(ds) == 0 {
			runtime.Gosched()
		}
		f.hold(h, ds)
		for _, d := range ds {
			f.treat(rng, h, d)
		}
	}
}

func (f *traffic) hold(h queue.Holder, ds []queue.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range ds {
		id := d.Envelope.GetMessageId()
		assert.Equal(f.t, id, string(d.Envelope.GetPayload()))
		if other, ok := f.held[id]; ok {
			assert.Fail(f.t, "handed to two holders at once", "%s to %s and %s", id, other.Agent, h.Agent)
		}
		assert.Zero(f.t, f.taken[id], "%s was handed out after it was taken", id)
		f.held[id] = h
	}
}

// free says, before the engine is told, that a message may go to others.
func (f *traffic) free(id string, taken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.held, id)
	if taken {
		f.taken[id]++
	}
}

func (f *traffic) treat(rng *rand.Rand, h queue.Holder, d queue.Delivery) {
	id := d.Envelope.GetMessageId()
	f.mu.Lock()
	mine := f.held[id] == h
	f.mu.Unlock()
	if !mine {
		// It went back with another one's release, and may be with somebody else by now.
		return
	}
	switch rng.IntN(8) {
	case 0:
		f.mu.Lock()
		for other, holder := range f.held {
			if holder == h {
				delete(f.held, other)
			}
		}
		f.mu.Unlock()
		assert.NoError(f.t, f.e.Release(f.ctx, h))
		return
	case 1:
		f.free(id, true)
		a, err := queue.Submit(f.ctx, f.e, queue.Message{
			Envelope: &commonpb.Envelope{MessageId: "ack-" + id}, To: toSam, Class: answer, From: h, At: time.Now(),
			Ends: &queue.Outcome{MessageID: id, Stage: ack.Fulfilled},
		})
		assert.NoError(f.t, err)
		if a.State == refused {
			// Answers have a limit too.
			assert.Equal(f.t, ack.BufferFull, a.Code)
			ok, err := f.e.Custody(f.ctx, h, d.Seq, id)
			assert.NoError(f.t, err)
			assert.True(f.t, ok)
		}
	default:
		f.free(id, true)
		ok, err := f.e.Custody(f.ctx, h, d.Seq, id)
		assert.NoError(f.t, err)
		assert.True(f.t, ok)
	}
	f.left.Add(-1)
}

// housekeep runs what a router does beside its traffic, and counts the messages that died.
func (f *traffic) housekeep() {
	dead := 0
	for f.left.Load() > 0 && f.ctx.Err() == nil && !f.t.Failed() {
		_, err := f.e.Expire(f.ctx, time.Now())
		assert.NoError(f.t, err)
		assert.NoError(f.t, f.e.Prune(f.ctx, time.Now(), nobody))
		assert.NoError(f.t, f.e.Scan(f.ctx, func(d queue.Depth) error {
			assert.LessOrEqual(f.t, d.Work, Limits().MaxWork)
			return nil
		}))
		letters, err := f.e.DeadLetters(f.ctx, producers*perProducer)
		assert.NoError(f.t, err)
		f.left.Add(int64(dead - len(letters)))
		dead = len(letters)
	}
}

package kv_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// told is what callers of an engine have been told before a crash.
type told struct {
	mu sync.Mutex
	// steps has how far each message is known to have come.
	steps   map[string]int
	lastSeq int64
}

const (
	accepted = iota + 1
	inCustody
	ended
)

func (o *told) step(id string, step int, seq int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.steps[id] = max(o.steps[id], step)
	o.lastSeq = max(o.lastSeq, seq)
}

func (o *told) copy() (map[string]int, int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	steps := make(map[string]int, len(o.steps))
	for id, s := range o.steps {
		steps[id] = s
	}
	return steps, o.lastSeq
}

// TestCrashKeepsWhatWasTold takes images of the disk under traffic, with some, all or none of what was not synced, and
// wants in each of them whatever had been told before.
func TestCrashKeepsWhatWasTold(t *testing.T) {
	const (
		writers  = 4
		messages = 200
	)
	images := 40
	if raceEnabled {
		images = 9
	}
	fs := vfs.NewCrashableMem()
	s, err := pebble.Open("db", pebble.Options{FS: fs, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	e := open(t, s)
	known := &told{steps: make(map[string]int)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := 0; n < messages; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if !assert.NoError(t, tell(t, e, known, w, n)) {
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range images {
		steps, lastSeq := known.copy()
		image := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[i%3], RNG: rng})
		checkImage(t, image, steps, lastSeq)
		if t.Failed() {
			break
		}
	}
	close(stop)
	wg.Wait()
	require.NoError(t, s.Close())
}

// tell brings one message as far as its number says, and notes what was answered.
func tell(t *testing.T, e queue.Engine, known *told, w, n int) error {
	ctx, id := t.Context(), fmt.Sprintf("m-%d-%d", w, n)
	m := message(id)
	m.To = fmt.Sprint("capability:c", w)
	a, err := queue.Submit(ctx, e, m)
	if err != nil || a.State != transportpb.Answer_STATE_NEW {
		return fmt.Errorf("accept %v: %w", a, err)
	}
	known.step(id, accepted, 0)
	h := holder(fmt.Sprint("a", w))
	ds, err := e.Lease(ctx, request(h, transportpb.Class_CLASS_WORK, m.To))
	if err != nil || len(ds) != 1 {
		return fmt.Errorf("lease of %d: %w", len(ds), err)
	}
	known.step(id, accepted, ds[0].Seq)
	if ok, err := e.Custody(ctx, h, ds[0].Seq, id); err != nil || !ok {
		return fmt.Errorf("custody %v: %w", ok, err)
	}
	known.step(id, inCustody, 0)
	if n%2 == 0 {
		return nil
	}
	// Answers are fetched, so that their bound is not reached.
	s := signal("ack-"+id, h.Agent, fmt.Sprint("agent:s", w))
	s.From, s.Ends = h, &queue.Outcome{MessageID: id, Stage: ack.Fulfilled}
	if a, err := queue.Submit(ctx, e, s); err != nil || a.State != transportpb.Answer_STATE_NEW {
		return fmt.Errorf("outcome %v: %w", a, err)
	}
	known.step(id, ended, 0)
	return take(ctx, e, holder(fmt.Sprint("s", w)), transportpb.Class_CLASS_SIGNAL, s.To)
}

func checkImage(t *testing.T, image vfs.FS, steps map[string]int, lastSeq int64) {
	s, err := pebble.Open("db", pebble.Options{FS: image, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.Close()) }()
	e := open(t, s)
	for id, step := range steps {
		m := message(id)
		var w, n int
		_, err := fmt.Sscanf(id, "m-%d-%d", &w, &n)
		require.NoError(t, err)
		m.To = fmt.Sprint("capability:c", w)
		a, err := queue.Submit(t.Context(), e, m)
		require.NoError(t, err)
		switch {
		case step == ended:
			require.Equal(t, transportpb.Answer_STATE_DONE, a.State, id)
		case step == inCustody:
			require.Contains(t, []transportpb.Answer_State{transportpb.Answer_STATE_DELIVERED, transportpb.Answer_STATE_DONE}, a.State, id)
		default:
			require.NotEqual(t, transportpb.Answer_STATE_NEW, a.State, id)
		}
	}
	m := message("after")
	m.To = "agent:after"
	_, err = queue.Submit(t.Context(), e, m)
	require.NoError(t, err)
	ds, err := e.Lease(t.Context(), queue.LeaseRequest{
		Holder: holder("after"), Addresses: []string{m.To}, Class: m.Class, MaxMessages: 1, Now: time.Now(), Until: time.Now().Add(time.Minute),
	})
	require.NoError(t, err)
	require.Len(t, ds, 1)
	require.Greater(t, ds[0].Seq, lastSeq)
}

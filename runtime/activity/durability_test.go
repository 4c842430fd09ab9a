package activity_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// lossy is a store that shows what is applied at once and loses in a crash what was not synced.
type lossy struct {
	*store.Memory
	mu     sync.Mutex
	log    [][]store.Op
	synced int
	// gate, when set, holds Sync back until it is closed.
	gate chan struct{}
	// refuse, when set, is what Apply fails of, without applying anything.
	refuse error
}

func newLossy() *lossy { return &lossy{Memory: store.NewMemory()} }

func (l *lossy) Apply(b *store.Batch) (store.Mark, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return 0, l.refuse
	}
	ops := make([]store.Op, 0, b.Len())
	for _, op := range b.Ops() {
		ops = append(ops, store.Op{Kind: op.Kind, Key: append([]byte{}, op.Key...), Value: append([]byte{}, op.Value...)})
	}
	if _, err := l.Memory.Apply(b); err != nil {
		return 0, err
	}
	l.log = append(l.log, ops)
	return store.Mark(len(l.log)), nil
}

func (l *lossy) Sync(ctx context.Context, m store.Mark) error {
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced = max(l.synced, int(m))
	return nil
}

// crash returns what is left after the loss of power: what was synced, and up to more of the batches behind it.
func (l *lossy) crash(more int) *lossy {
	next := newLossy()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ops := range l.log[:min(l.synced+more, len(l.log))] {
		var b store.Batch
		for _, op := range ops {
			switch op.Kind {
			case store.OpSet:
				b.Set(op.Key, op.Value)
			case store.OpDelete:
				b.Delete(op.Key)
			case store.OpDeleteRange:
				b.DeleteRange(op.Key, op.Value)
			}
		}
		if _, err := next.Apply(&b); err != nil {
			panic(err)
		}
	}
	next.synced = len(next.log)
	return next
}

func lossyGround(t tester, cfg activity.Config) (*ground, *lossy) {
	t.Helper()
	g := newGround(t, cfg)
	l := newLossy()
	g.s = l
	g.open = func(s store.Store) store.Store { return s.(*lossy).crash(0) }
	g.start()
	return g, l
}

// change is one call of every kind, on prepared records.
type change struct {
	name string
	// vital calls are durable when they return.
	vital bool
	// prepare returns the call.
	prepare func(g *ground) func() error
}

func changes() []change {
	first := func(_ any, err error) error { return err }
	return []change{
		{"RecordOut", true, func(g *ground) func() error {
			d := g.draft()
			return func() error { _, _, err := g.RecordOut(g.ctx, d); return err }
		}},
		{"AttemptOut", true, func(g *ground) func() error {
			rec, _ := g.send()
			return func() error { return first(g.AttemptOut(g.ctx, rec.GetSequence(), "next")) }
		}},
		{"AcceptedOut", false, func(g *ground) func() error {
			rec, id := g.send()
			return func() error { return first(g.AcceptedOut(rec.GetSequence(), id)) }
		}},
		{"AckOut READ", false, func(g *ground) func() error {
			_, id := g.send()
			return func() error { return first(g.AckOut(g.ctx, ack.Ack{ForMessageID: id, Stage: ack.Read}, "p")) }
		}},
		{"AckOut FULFILLED", true, func(g *ground) func() error {
			_, id := g.send()
			return func() error { return first(g.AckOut(g.ctx, ack.Ack{ForMessageID: id, Stage: ack.Fulfilled}, "p")) }
		}},
		{"AckOut FULFILLED of a request", true, func(g *ground) func() error {
			_, id := g.send(wantsReply)
			return func() error { return first(g.AckOut(g.ctx, ack.Ack{ForMessageID: id, Stage: ack.Fulfilled}, "p")) }
		}},
		{"AckOut retryable", true, func(g *ground) func() error {
			_, id := g.send()
			return func() error {
				return first(g.AckOut(g.ctx, ack.Ack{ForMessageID: id, Stage: ack.Failed, Code: ack.InternalError}, "p"))
			}
		}},
		{"AckOut late", true, func(g *ground) func() error {
			_, id := g.send()
			g.ack(id, ack.Fulfilled, 0, "")
			return func() error { return first(g.AckOut(g.ctx, ack.Ack{ForMessageID: id, Stage: ack.Failed}, "p")) }
		}},
		{"ReplyOut", true, func(g *ground) func() error {
			rec, _ := g.send(wantsReply)
			return func() error { return first(g.reply(rec.GetToken(), "", "reply", "answer")) }
		}},
		{"ReplyOut late", true, func(g *ground) func() error {
			rec, id := g.send(wantsReply)
			g.ack(id, ack.Rejected, ack.PermissionDenied, "")
			return func() error { return first(g.reply(rec.GetToken(), "", "reply", "answer")) }
		}},
		{"FinishOut", true, func(g *ground) func() error {
			rec, _ := g.send()
			return func() error { return first(g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.TimedOut, 0, ""))) }
		}},
		{"FinishOut without reply", true, func(g *ground) func() error {
			rec, id := g.send(wantsReply)
			g.ack(id, ack.Fulfilled, 0, "")
			return func() error { return first(g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.TimedOut, 0, ""))) }
		}},
		{"FailAttemptOut", true, func(g *ground) func() error {
			rec, id := g.send()
			return func() error {
				return first(g.FailAttemptOut(g.ctx, rec.GetSequence(), id, &ack.Error{Stage: ack.Failed, Code: ack.AgentUnavailable}))
			}
		}},
		{"HandledOut", false, func(g *ground) func() error {
			rec, id := g.send()
			g.ack(id, ack.Fulfilled, 0, "")
			return func() error { return g.HandledOut(rec.GetSequence()) }
		}},
		{"RecordIn new", true, func(g *ground) func() error {
			a := g.arrival("token", 0)
			return func() error { _, _, err := g.RecordIn(g.ctx, a); return err }
		}},
		{"RecordIn running", true, func(g *ground) func() error {
			g.receive(g.arrival("token", 0))
			a := g.arrival("token", 1)
			return func() error { _, _, err := g.RecordIn(g.ctx, a); return err }
		}},
		{"RecordIn finished", true, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			g.finish(rec.GetSequence(), ack.Fulfilled, 0, "")
			a := g.arrival("token", 1)
			return func() error { _, _, err := g.RecordIn(g.ctx, a); return err }
		}},
		{"RecordIn rerun", true, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			g.finish(rec.GetSequence(), ack.Failed, ack.InternalError, "")
			a := g.arrival("token", 1)
			return func() error { _, _, err := g.RecordIn(g.ctx, a); return err }
		}},
		{"CustodyIn", false, func(g *ground) func() error {
			a := g.arrival("token", 0)
			a.AwaitsCustody = true
			_, rec := g.receive(a)
			return func() error { return g.CustodyIn(rec.GetSequence()) }
		}},
		{"DropIn", true, func(g *ground) func() error {
			a := g.arrival("token", 0)
			a.AwaitsCustody = true
			_, rec := g.receive(a)
			return func() error { return g.DropIn(g.ctx, rec.GetSequence()) }
		}},
		{"ReadIn", false, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			return func() error { return g.ReadIn(rec.GetSequence()) }
		}},
		{"StartIn", false, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			return func() error { return first(g.StartIn(g.ctx, rec.GetSequence(), false)) }
		}},
		{"StartIn with sync", true, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			return func() error { return first(g.StartIn(g.ctx, rec.GetSequence(), true)) }
		}},
		{"RetryIn", true, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			return func() error { return g.RetryIn(g.ctx, rec.GetSequence(), g.now.Add(time.Minute)) }
		}},
		{"DeferIn", true, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			return func() error { return g.DeferIn(g.ctx, rec.GetSequence(), nil) }
		}},
		{"FinishIn", true, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			return func() error {
				return first(g.FinishIn(g.ctx, rec.GetSequence(), activity.Ending{Outcome: outcome(ack.Fulfilled, 0, ""), Reply: body("answer"), ReplyID: "reply", NewID: g.newID}))
			}
		}},
		{"OwedSentIn", false, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			done := g.finish(rec.GetSequence(), ack.Fulfilled, 0, "")
			return func() error { return g.OwedSentIn(rec.GetSequence(), done.GetOwed()[0].GetMessageId()) }
		}},
		{"FramesOut", true, func(g *ground) func() error {
			rec, _ := g.send(streams)
			return func() error { return first(g.framesOut(rec, frame(1, 1))) }
		}},
		{"FramesOut end", true, func(g *ground) func() error {
			rec, id := g.send(streams)
			return func() error { return first(g.framesOut(rec, frame(1, 1), end(1, 1, id, ack.Fulfilled, 0))) }
		}},
		{"EndStreamOut", true, func(g *ground) func() error {
			rec, id := g.send(unnumbered)
			g.ack(id, ack.Fulfilled, 0, "")
			return func() error { return first(g.EndStreamOut(g.ctx, rec.GetSequence())) }
		}},
		{"BeginStreamIn", false, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			return func() error { return first(g.BeginStreamIn(rec.GetSequence(), 1, false)) }
		}},
		{"FrameIn", true, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			_, err := g.BeginStreamIn(rec.GetSequence(), 1, false)
			require.NoError(g, err)
			return func() error { return first(g.FrameIn(g.ctx, rec.GetSequence(), 1, &storagepb.Frame{})) }
		}},
		{"ProgressIn", false, func(g *ground) func() error {
			_, rec := g.receive(g.arrival("token", 0))
			_, err := g.BeginStreamIn(rec.GetSequence(), 1, false)
			require.NoError(g, err)
			require.NoError(g, first(g.FrameIn(g.ctx, rec.GetSequence(), 1, &storagepb.Frame{})))
			return func() error { return g.ProgressIn(rec.GetSequence(), 1, 1, 1) }
		}},
		{"Prune", false, func(g *ground) func() error {
			g.done(3, true)
			g.now = g.now.Add(48 * time.Hour)
			return func() error { return first(g.Prune(g.ctx)) }
		}},
	}
}

func TestVitalChangesSurviveACrash(t *testing.T) {
	t.Parallel()
	for _, c := range changes() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g, l := lossyGround(t, activity.Config{})
			do := c.prepare(g)
			require.NoError(t, g.Settle(g.ctx))
			before, synced := g.picture(), l.synced
			require.NoError(t, do())
			after := g.picture()
			assert.NotEqual(t, before, after)
			assert.Equal(t, c.vital, l.synced > synced, "synced exactly when somebody will be told")
			g.s = l.crash(0)
			g.start()
			if c.vital {
				assert.Equal(t, after, g.picture())
			} else {
				assert.Equal(t, before, g.picture(), "what may be repeated waits for the next sync")
			}
		})
	}
}

func TestRefusedWritesChangeNothing(t *testing.T) {
	t.Parallel()
	for _, c := range changes() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g, l := lossyGround(t, activity.Config{})
			do := c.prepare(g)
			before := g.picture()
			l.refuse = errors.New("disk is full")
			require.ErrorIs(t, do(), l.refuse)
			assert.Equal(t, before, g.picture())
			l.refuse = nil
			require.NoError(t, do())
			g.reopen()
		})
	}
}

func TestFailedStore(t *testing.T) {
	t.Parallel()
	for _, c := range changes() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := memoryGround(t, activity.Config{})
			do := c.prepare(g)
			g.s.(*store.Memory).Fail(assert.AnError)
			err := do()
			require.ErrorIs(t, err, store.ErrFailed)
			require.ErrorIs(t, err, assert.AnError)
		})
	}
}

// TestAnswersWaitForTheDisk holds the disk back and checks that nothing is told of what it does not have, and that others
// can write in the meantime.
func TestAnswersWaitForTheDisk(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ write, again func(g *ground) error }{
		"repeated message": {
			func(g *ground) error { _, _, err := g.RecordIn(g.ctx, arrivalNamed("m1", 0)); return err },
			func(g *ground) error { _, _, err := g.RecordIn(g.ctx, arrivalNamed("m1", 0)); return err },
		},
		"further attempt": {
			func(g *ground) error { _, _, err := g.RecordIn(g.ctx, arrivalNamed("m1", 0)); return err },
			func(g *ground) error { _, _, err := g.RecordIn(g.ctx, arrivalNamed("m2", 1)); return err },
		},
		"existing operation": {
			func(g *ground) error { _, _, err := g.RecordOut(g.ctx, draftNamed("m1")); return err },
			func(g *ground) error { _, _, err := g.RecordOut(g.ctx, draftNamed("m2")); return err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, l := lossyGround(t, activity.Config{})
				waitBoth(t, g, l, tc.write, tc.again)
			})
		})
	}
	for name, end := range map[string]func(g *ground, rec *storagepb.OutRecord, id string) error{
		"repeated outcome": func(g *ground, _ *storagepb.OutRecord, id string) error {
			_, err := g.AckOut(g.ctx, ack.Ack{ForMessageID: id, Stage: ack.Fulfilled}, "p")
			return err
		},
		"repeated reply": func(g *ground, rec *storagepb.OutRecord, _ string) error {
			_, err := g.reply(rec.GetToken(), "", "reply", "answer")
			return err
		},
		"same outcome of a finished one": func(g *ground, rec *storagepb.OutRecord, _ string) error {
			_, err := g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.TimedOut, 0, ""))
			return err
		},
		"unhandled results": func(g *ground, rec *storagepb.OutRecord, _ string) error {
			_, err := g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.TimedOut, 0, ""))
			if err == nil {
				err = g.UnhandledOut("a.S/M", func(*storagepb.OutRecord) error { return nil })
			}
			return err
		},
		"settle": func(g *ground, rec *storagepb.OutRecord, id string) error {
			if _, err := g.FinishOut(g.ctx, rec.GetSequence(), outcome(ack.TimedOut, 0, "")); err != nil {
				return err
			}
			return g.Settle(g.ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, l := lossyGround(t, activity.Config{})
				rec, id := g.send()
				do := func(g *ground) error { return end(g, rec, id) }
				waitBoth(t, g, l, do, do)
			})
		})
	}
}

func waitBoth(t *testing.T, g *ground, l *lossy, write, again func(*ground) error) {
	t.Helper()
	l.gate = make(chan struct{})
	var done atomic.Int32
	run := func(fn func(*ground) error) {
		go func() {
			assert.NoError(t, fn(g))
			done.Add(1)
		}()
		synctest.Wait()
	}
	run(write)
	before := len(l.log)
	run(again)
	run(func(g *ground) error { _, _, err := g.RecordOut(g.ctx, g.draft()); return err })
	assert.Greater(t, len(l.log), before, "nobody holds the lock while waiting")
	assert.Zero(t, done.Load(), "nobody is told before the disk has it")
	close(l.gate)
	synctest.Wait()
	assert.EqualValues(t, 3, done.Load())
}

func arrivalNamed(id string, retry uint32) activity.Arrival {
	g := &ground{}
	a := g.arrival("token", retry)
	a.Envelope.MessageId = id
	return a
}

func draftNamed(id string) activity.Draft {
	return activity.Draft{
		Record:    &storagepb.OutRecord{Token: "key", KeyKind: storagepb.KeyKind_KEY_KIND_CONTENT, To: "agent:a"},
		MessageID: id,
	}
}

func TestContextEndsWhileWaiting(t *testing.T) {
	t.Parallel()
	g, l := lossyGround(t, activity.Config{})
	l.gate = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rec, existed, err := g.RecordOut(ctx, g.draft())
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, existed)
	require.NotNil(t, rec, "the record is there, and its caller must know")
	v, in, err := g.RecordIn(ctx, g.arrival("token", 0))
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, activity.New, v)
	require.NotNil(t, in)
	close(l.gate)
	assert.Len(t, g.OpenOut(), 1)
	g.reopen()
}

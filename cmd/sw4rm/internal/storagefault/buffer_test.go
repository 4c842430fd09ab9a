package storagefault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// buffer is an agent's activity buffer at work.
type buffer struct {
	*activity.Buffer
	clock  *clock
	rec    *recorder
	actors [actors]*bufferActor
}

// bufferActor does its operations one after another, with objects of its own.
type bufferActor struct {
	name string
	// made counts what was made, for names.
	made int
	outs []sent
	ins  []received
}

// sent is an operation as it was last seen.
type sent struct {
	object string
	draft  activity.Draft // without its record
	rec    *storagepb.OutRecord
	state  storagecheck.State
}

// received is a message as it was last seen.
type received struct {
	object string
	first  activity.Arrival
	rec    *storagepb.InRecord
	state  storagecheck.State
}

func newBuffer() subject {
	b := &buffer{clock: &clock{}, rec: &recorder{}}
	for i := range b.actors {
		b.actors[i] = &bufferActor{name: fmt.Sprintf("b%d", i)}
	}
	return b
}

func (b *buffer) history() *recorder { return b.rec }

func (b *buffer) clone() subject {
	c := &buffer{clock: b.clock.clone(), rec: b.rec.clone()}
	for i, a := range b.actors {
		other := *a
		other.outs = append([]sent(nil), a.outs...)
		other.ins = append([]received(nil), a.ins...)
		c.actors[i] = &other
	}
	return c
}

// The times of a buffer in a run. A sweep passes less than the difference of any two, so that nothing moves on twice in
// one, which nobody could see.
const (
	sweepTime   = 10 * time.Second
	dedupWindow = 25 * time.Second
	keepAge     = 40 * time.Second
	inKeep      = 70 * time.Second
)

func bufferConfig(now func() time.Time) activity.Config {
	return activity.Config{
		DedupWindow: dedupWindow, KeepAge: keepAge, InKeep: inKeep,
		Now: now, Jitter: func() float64 { return 0.5 }, Logger: slog.New(slog.DiscardHandler),
	}
}

func (b *buffer) open(ctx context.Context, s store.Store) (err error) {
	b.Buffer, err = activity.Open(ctx, s, bufferConfig(b.clock.now))
	return err
}

func (b *buffer) step(ctx context.Context, actor int, random *rand.Rand) error {
	a := b.actors[actor]
	if random.IntN(2) == 0 {
		return b.stepOut(ctx, a, random)
	}
	return b.stepIn(ctx, a, random)
}

// sweep prunes after some time has passed, and forgets what is gone.
func (b *buffer) sweep(ctx context.Context, _ *rand.Rand) error {
	b.clock.pass(sweepTime)
	return b.rec.do(call{"sweeper", "prune", ""}, func(e *storagecheck.Event) error {
		if _, err := b.Prune(ctx); err != nil {
			return err
		}
		for _, a := range b.actors {
			if err := b.look(a, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// look notes what has changed of an actor's objects, and forgets what is gone.
func (b *buffer) look(a *bufferActor, e *storagecheck.Event) error {
	outs := a.outs[:0:0]
	for _, o := range a.outs {
		rec, state, err := outState(b.Buffer, o.rec.GetSequence())
		if err != nil {
			return err
		}
		o.rec, o.state = rec, state
		e.Saw = append(e.Saw, storagecheck.Version{Object: o.object, State: state})
		if rec != nil {
			outs = append(outs, o)
		}
	}
	ins := a.ins[:0:0]
	for _, i := range a.ins {
		rec, state, err := inState(b.Buffer, i.rec.GetSequence())
		if err != nil {
			return err
		}
		i.rec, i.state = rec, state
		e.Saw = append(e.Saw, storagecheck.Version{Object: i.object, State: state})
		if rec != nil {
			ins = append(ins, i)
		}
	}
	a.outs, a.ins = outs, ins
	return nil
}

// on does a call that concerns one operation, and notes how it looks afterwards.
func (b *buffer) on(a *bufferActor, at int, op string, durable bool, fn func(seq uint64) error) error {
	o := &a.outs[at]
	return b.rec.do(call{a.name, op, o.object}, func(e *storagecheck.Event) error {
		if err := fn(o.rec.GetSequence()); err != nil {
			return err
		}
		rec, state, err := outState(b.Buffer, o.rec.GetSequence())
		if err != nil {
			return err
		}
		// What changed nothing may have waited for earlier changes only.
		e.Durable = durable && !reflect.DeepEqual(o.state, state)
		o.rec, o.state = rec, state
		e.Saw = []storagecheck.Version{{Object: o.object, State: state}}
		return nil
	})
}

// with is on for a received message.
func (b *buffer) with(a *bufferActor, at int, op string, durable bool, fn func(seq uint64) error) error {
	i := &a.ins[at]
	return b.rec.do(call{a.name, op, i.object}, func(e *storagecheck.Event) error {
		if err := fn(i.rec.GetSequence()); err != nil {
			return err
		}
		rec, state, err := inState(b.Buffer, i.rec.GetSequence())
		if err != nil {
			return err
		}
		e.Durable = durable && !reflect.DeepEqual(i.state, state)
		i.rec, i.state = rec, state
		e.Saw = []storagecheck.Version{{Object: i.object, State: state}}
		return nil
	})
}

func (a *bufferActor) newName(what string) string {
	a.made++
	return fmt.Sprintf("%s-%s-%d", what, a.name, a.made)
}

// refuses tries to record an operation and a message, and asks for those that are there.
func (b *buffer) refuses(ctx context.Context) error {
	_, _, err := b.RecordOut(ctx, activity.Draft{Record: &storagepb.OutRecord{Token: "refused", To: "agent:worker"}, MessageID: "refused"})
	if err == nil {
		return errors.New("an operation is recorded")
	}
	_, _, err = b.RecordIn(ctx, activity.Arrival{Envelope: &commonpb.Envelope{MessageId: "refused", ProducerId: "client"}, To: "agent:me"})
	if err == nil {
		return errors.New("a message is recorded")
	}
	for _, a := range b.actors {
		for _, o := range a.outs {
			if _, existed, err := b.RecordOut(ctx, activity.Draft{Record: proto.CloneOf(o.rec), MessageID: "refused"}); err == nil {
				return fmt.Errorf("sending %s again is answered: existed %v", o.object, existed)
			}
		}
		for _, i := range a.ins {
			if verdict, _, err := b.RecordIn(ctx, i.first); err == nil {
				return fmt.Errorf("receiving %s again is answered %v", i.object, verdict)
			}
		}
	}
	return nil
}

// Package inventory tells where messages of work are in the data directories of agents and of a router while no process has
// them open, in the words of package history.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// Item is a message in one place. Of its event everything is there but the operation's key, the time, and the cause.
type Item struct {
	history.Event
	// Sequence is the number of an operation in its sender's buffer, Payload what a message in a router's store says.
	Sequence uint64
	Payload  []byte
}

// Take looks through the directories of agents and of a router, and names their holders by the last parts of their paths.
// An agent's directory gives a Hold for every message id that its record knows, and a Record for every outcome of a received
// message. It changes nothing. Without a router, whose path is empty, what agents wait for its word on counts as in their
// custody.
func Take(ctx context.Context, agents []string, router string) ([]Item, error) {
	t := &taker{router: router}
	if router != "" {
		if err := t.takeRouter(ctx); err != nil {
			return nil, fmt.Errorf("look into the router's data in %s: %w", router, err)
		}
	}
	for _, dir := range agents {
		if err := t.takeAgent(ctx, dir); err != nil {
			return nil, fmt.Errorf("look into the agent's data in %s: %w", dir, err)
		}
	}
	if router == "" {
		return append(t.items, t.awaited...), nil
	}
	if err := t.takeAwaited(ctx); err != nil {
		return nil, fmt.Errorf("ask the router's data in %s who has what: %w", router, err)
	}
	return t.items, nil
}

type taker struct {
	router string
	items  []Item
	// awaited are messages of which their agents do not know whether they have them.
	awaited []Item
}

func (t *taker) takeRouter(ctx context.Context) error {
	holder := filepath.Base(t.router)
	return reading(t.router, func(r store.Reader) error {
		q := store.SubReader(r, router.StorePrefix)
		err := kv.WalkWaiting(ctx, q, func(m kv.Waiting) error {
			if m.Class != transportpb.Class_CLASS_WORK || m.Envelope == nil {
				return nil
			}
			i := hold(holder, history.InQueue, m.Envelope.GetIdempotencyToken(), m.MessageID)
			i.Payload = m.Envelope.GetPayload()
			if m.Queue != m.To { // the agent that had the attempt before has to say what came of that one
				i.Note = "asks " + m.Queue
			}
			t.items = append(t.items, i)
			return nil
		})
		if err != nil {
			return err
		}
		err = kv.WalkWithdrawn(ctx, q, func(w kv.Withdrawn) error {
			t.items = append(t.items, hold(holder, history.Answered, w.Token, w.MessageID))
			return nil
		})
		if err != nil {
			return err
		}
		return kv.WalkDead(ctx, q, func(d queue.DeadLetter) error {
			if d.Class != transportpb.Class_CLASS_WORK || d.Envelope == nil {
				return nil
			}
			i := hold(holder, history.Dead, d.Envelope.GetIdempotencyToken(), d.Envelope.GetMessageId())
			i.Payload, i.Note = d.Envelope.GetPayload(), d.Reason
			t.items = append(t.items, i)
			return nil
		})
	})
}

func (t *taker) takeAgent(ctx context.Context, dir string) error {
	holder := filepath.Base(dir)
	return reading(dir, func(r store.Reader) error {
		return activity.Walk(ctx, r, func(rec activity.Record) error {
			if rec.Out != nil {
				t.items = append(t.items, sent(holder, rec))
			} else {
				t.received(holder, rec.In)
			}
			return nil
		})
	})
}

// sent tells of an operation's latest attempt.
func sent(holder string, rec activity.Record) Item {
	last := rec.Out.GetAttempts()[len(rec.Out.GetAttempts())-1]
	place := history.InOutbox
	switch {
	case rec.Finished():
		place = history.Answered
	case last.GetAcceptedAt() != nil && !ack.Stage(last.GetStage()).Terminal():
		place = history.Taken
	}
	i := hold(holder, place, rec.Out.GetToken(), last.GetMessageId())
	i.Attempt, i.Sequence = len(rec.Out.GetAttempts()), rec.Out.GetSequence()
	return i
}

func (t *taker) received(holder string, rec *storagepb.InRecord) {
	place := history.InCustody
	if o := rec.GetOutcome(); o != nil {
		place = history.Answered
		t.items = append(t.items, Item{Event: history.Event{
			Actor: holder, Op: history.Record, Kind: history.Info, Token: rec.GetToken(),
			Stage: ack.Stage(o.GetStage()).String(), Code: ack.Code(o.GetCode()).String(),
		}})
	}
	for _, alias := range rec.GetAliases() {
		i := hold(holder, place, rec.GetToken(), alias.GetMessageId())
		if place == history.InCustody && rec.GetAwaitsCustody() {
			t.awaited = append(t.awaited, i)
		} else {
			t.items = append(t.items, i)
		}
	}
}

// takeAwaited finds out who has what agents wait for the router's word on. It asks a copy of the router's store, which an
// engine may change.
func (t *taker) takeAwaited(ctx context.Context) error {
	if len(t.awaited) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp("", "sw4rm-inventory-")
	if err != nil {
		return err
	}
	err = os.CopyFS(dir, os.DirFS(t.router))
	if err == nil {
		err = t.ask(ctx, dir)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func (t *taker) ask(ctx context.Context, dir string) error {
	db, err := pebble.Open(dir, options())
	if err != nil {
		return err
	}
	engine, err := kv.Open(ctx, store.Sub(db, router.StorePrefix), kv.Options{})
	for _, i := range t.awaited {
		if err != nil {
			break
		}
		var has queue.Origin
		if has, _, err = engine.Lookup(ctx, i.Message); err == nil && has.Custodian == i.Actor {
			t.items = append(t.items, i)
		}
	}
	return errors.Join(err, db.Close())
}

func hold(holder string, place history.Place, token, message string) Item {
	return Item{Event: history.Event{Actor: holder, Op: history.Hold, Kind: history.Info, Place: place, Token: token, Message: message}}
}

// reading opens a directory for fn.
func reading(dir string, fn func(r store.Reader) error) error {
	r, err := pebble.OpenReader(dir, options())
	if err != nil {
		return err
	}
	return errors.Join(fn(r), r.Close())
}

func options() pebble.Options { return pebble.Options{Logger: slog.New(slog.DiscardHandler)} }

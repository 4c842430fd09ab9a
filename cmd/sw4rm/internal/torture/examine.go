package torture

import (
	"context"
	"errors"
	"fmt"
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
)

// examine looks into the closed data directories of agents and router, and notes what they have recorded, and where
// messages are that have not ended.
func (s *stage) examine(ctx context.Context) error {
	for _, dir := range s.directories() {
		err := reading(dir, func(r store.Reader) error {
			return activity.Walk(ctx, r, func(rec activity.Record) error {
				if rec.In != nil {
					s.received(filepath.Base(dir), rec.In)
				}
				return nil
			})
		})
		if err != nil {
			return fmt.Errorf("look into the agent's data in %s: %w", dir, err)
		}
	}
	dir := filepath.Join(s.dir, servicesName)
	err := reading(dir, func(r store.Reader) error {
		q := store.SubReader(r, "queue/")
		err := kv.WalkWaiting(ctx, q, func(m kv.Waiting) error {
			if m.Class == transportpb.Class_CLASS_WORK && m.Envelope != nil {
				s.found(servicesName, history.InQueue, m.Envelope.GetIdempotencyToken(), m.MessageID, "")
			}
			return nil
		})
		if err != nil {
			return err
		}
		return kv.WalkDead(ctx, q, func(d queue.DeadLetter) error {
			if d.Class == transportpb.Class_CLASS_WORK && d.Envelope != nil {
				s.found(servicesName, history.Dead, d.Envelope.GetIdempotencyToken(), d.Envelope.GetMessageId(), d.Reason)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("look into the router's data in %s: %w", dir, err)
	}
	return nil
}

// reading opens a directory for fn.
func reading(dir string, fn func(r store.Reader) error) error {
	r, err := pebble.OpenReader(dir, pebble.Options{Logger: quiet()})
	if err != nil {
		return err
	}
	return errors.Join(fn(r), r.Close())
}

func (s *stage) received(agent string, rec *storagepb.InRecord) {
	o := rec.GetOutcome()
	if o == nil {
		s.found(agent, history.InCustody, rec.GetToken(), "", "")
		return
	}
	s.history.add(history.Event{
		Actor: agent, Op: history.Record, Kind: history.Info, Token: rec.GetToken(),
		Stage: ack.Stage(o.GetStage()).String(), Code: ack.Code(o.GetCode()).String(),
	})
}

func (s *stage) found(actor string, place history.Place, token, message, note string) {
	if _, ours := s.history.keyOf(token); !ours {
		return
	}
	s.history.add(history.Event{
		Actor: actor, Op: history.Hold, Kind: history.Info, Place: place, Token: token, Message: message, Note: note,
	})
}

package offline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
	"github.com/sw4rm/sw4rm-go/services/registry"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// Salvage copies all that can be read of src into the new directory dst, makes it sound, and writes what is missing. dst is
// a store of its own: its ID is new.
func Salvage(ctx context.Context, src, dst string, w io.Writer) error {
	out := &printer{w: w}
	losses := 0
	lost := func(l *pebble.Loss) {
		losses++
		out.line("lost: %v%s", l, between(l))
	}
	var id string
	var kind Kind
	err := write(ctx, dst, func(s store.Store) error {
		id = s.Instance().ID
		copied, err := salvageRecords(ctx, src, s, lost)
		if err != nil {
			return err
		}
		out.line("copied: %d records", copied)
		if kind, err = kindOf(s); err != nil {
			return err
		}
		return mend(ctx, s, kind, func(text string) {
			losses++
			out.line("mended: %s", text)
		})
	})
	if err != nil {
		return err
	}
	if losses == 0 {
		out.line("nothing is missing")
	}
	out.line("%s", ownStore(dst, id, kind))
	return out.err
}

// ownStore says what it means that a directory is not the store that it was made of.
func ownStore(dir, id string, kind Kind) string {
	text := fmt.Sprintf("%s is a store of its own, %s: ", dir, id)
	if kind == Services {
		return text + "agents ask it for what they have open, and it takes what it does not know"
	}
	return text + "the router gives up what was in the custody of the old one, and senders are told receiver_lost_state and try again"
}

// between says which records stand on both sides of what is lost.
func between(l *pebble.Loss) string {
	if l.From == nil && l.To == nil {
		return ""
	}
	text := "; it lay"
	if l.From != nil {
		text += " after " + activity.DescribeKey(l.From)
	}
	if l.To != nil {
		text += " before " + activity.DescribeKey(l.To)
	}
	return text
}

func salvageRecords(ctx context.Context, src string, s store.Store, lost func(*pebble.Loss)) (int, error) {
	var b store.Batch
	size, copied := 0, 0
	flush := func() error {
		_, err := s.Apply(&b)
		b.Reset()
		size = 0
		return err
	}
	_, err := pebble.Salvage(src, options(), lost, func(key, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		copied++
		b.Set(key, value)
		if size += len(key) + len(value); size < 1<<20 {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return copied, err
}

// mend makes what was copied sound.
func mend(ctx context.Context, s store.Store, kind Kind, report func(string)) error {
	if kind == Agent {
		return activity.Rebuild(ctx, s, time.Now(), report)
	}
	if err := kv.Rebuild(ctx, store.Sub(s, router.StorePrefix), report); err != nil {
		return err
	}
	var b store.Batch
	agents := store.Sub(s, registry.StorePrefix)
	err := agents.Scan([]byte(registryKey), nil, func(key, value []byte) error {
		if err := proto.Unmarshal(value, new(registrypb.AgentDescriptor)); err != nil {
			report(fmt.Sprintf("the registration %q does not decode: it is dropped, and the agent will register again", key))
			b.Delete(append([]byte{}, key...))
		}
		return nil
	})
	return errors.Join(err, store.Write(ctx, agents, &b))
}

package offline

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
	"github.com/sw4rm/sw4rm-go/services/registry"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// DamageError says how much of a directory is damaged.
type DamageError struct {
	Dir   string
	Count int
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("data directory %s is damaged in %d places. Fix: restore it from a backup, or copy what is whole: sw4rm buffer salvage %s NEW-DIR", e.Dir, e.Count, e.Dir)
}

// Verify reads everything in a directory and writes a line for each damage, or what it has found whole. A damaged one is a
// *DamageError.
func Verify(ctx context.Context, dir string, w io.Writer) error {
	count := 0
	out := &printer{w: w}
	report := func(d *store.DamagedError) {
		count++
		out.line("damaged: %s", describe(d))
	}
	seen, err := pebble.Inspect(dir, options(), report)
	if err != nil {
		return err
	}
	if count == 0 {
		out.line("read: %d files, %d bytes, %d records; format %d, store %s, opened %d times", seen.Files, seen.Bytes, seen.Records,
			seen.Format, seen.Instance.ID, seen.Instance.Epoch)
		err = read(dir, func(r store.Reader, kind Kind) error { return verifyRecords(ctx, r, kind, report, out) })
	} else {
		out.line("not checked: what the records say of each other, since not all of them can be read")
	}
	switch {
	case err != nil:
		return errors.Join(err, out.err)
	case count > 0:
		return errors.Join(&DamageError{dir, count}, out.err)
	default:
		out.line("whole: nothing is damaged, and nothing contradicts itself")
		return out.err
	}
}

func describe(d *store.DamagedError) string {
	text := d.File
	if d.Offset >= 0 {
		text += fmt.Sprintf(" at byte %d", d.Offset)
	}
	if len(d.Key) > 0 {
		text += fmt.Sprintf(", %s (key %q)", activity.DescribeKey(d.Key), d.Key)
	}
	return fmt.Sprintf("%s: %v", text, d.Err)
}

func verifyRecords(ctx context.Context, r store.Reader, kind Kind, report func(*store.DamagedError), out *printer) error {
	if kind == Agent {
		sum, err := activity.Check(ctx, r, report)
		if err != nil {
			return err
		}
		out.line("agent: %d operations (%d open, %d failed and unhandled), %d received messages (%d open), %d frames, %d entries of data, %d index entries",
			sum.Out, sum.OutOpen, sum.Failed, sum.In, sum.InOpen, sum.Frames, sum.Data, sum.Entries)
		if sum.WithoutPayload > 0 {
			out.line("note: %d operations that have ended lost their payloads to an earlier salvage", sum.WithoutPayload)
		}
		return nil
	}
	sum, err := kv.Check(ctx, store.SubReader(r, router.StorePrefix), report)
	if err != nil {
		return err
	}
	agents := 0
	err = store.SubReader(r, registry.StorePrefix).Scan([]byte(registryKey), nil, func(key, value []byte) error {
		agents++
		if err := proto.Unmarshal(value, new(registrypb.AgentDescriptor)); err != nil {
			report(&store.DamagedError{File: "the registry's store", Offset: -1, Key: append([]byte{}, key...), Err: err})
		}
		return ctx.Err()
	})
	out.line("services: %d messages wait, %d dead letters, %d tokens, %d agents seen, %d agents registered", sum.Waiting, sum.Dead, sum.Tokens, sum.Instances, agents)
	return err
}

// printer writes lines and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(text string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, printable(fmt.Sprintf(text, args...)))
	}
}

package offline

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// Export writes an agent's buffer as lines of JSON, and to log how much it was.
func Export(ctx context.Context, dir string, w, log io.Writer) error {
	return read(dir, func(r store.Reader, kind Kind) error {
		if kind != Agent {
			return &WrongKindError{dir, kind, "use sw4rm buffer backup, which copies every directory"}
		}
		out := bufio.NewWriterSize(w, 1<<16)
		sum, err := activity.Export(ctx, r, out)
		if err == nil {
			err = out.Flush()
		}
		if err == nil {
			_, err = fmt.Fprintf(log, "exported: %d operations, %d received messages, %d frames, %d entries of data\n", sum.Out, sum.In, sum.Frames, sum.Data)
		}
		return err
	})
}

// Import makes the new directory dir of an export.
func Import(ctx context.Context, dir string, from io.Reader, log io.Writer) error {
	out := &printer{w: log}
	return write(ctx, dir, func(s store.Store) error {
		sum, err := activity.Import(ctx, s, from, time.Now(), func(text string) { out.line("mended: %s", text) })
		if err != nil {
			return fmt.Errorf("%w. Fix: use an export that is whole, as sw4rm buffer export wrote it", err)
		}
		out.line("imported: %d operations, %d received messages, %d frames, %d entries of data", sum.Out, sum.In, sum.Frames, sum.Data)
		out.line("%s is a store of its own, %s", dir, s.Instance().ID)
		return out.err
	})
}

// steps raise directories of earlier formats; there are none.
func steps() []pebble.Step { return nil }

// Upgrade raises a directory to the newest format.
func Upgrade(ctx context.Context, dir string, w io.Writer) error {
	from, to, err := pebble.Upgrade(ctx, dir, options(), steps())
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s has format %d, the newest: nothing to do", dir, from)
	if from != to {
		text = fmt.Sprintf("%s had format %d, and has format %d now", dir, from, to)
	}
	_, err = fmt.Fprintln(w, text)
	return err
}

package offline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// Listing says what List shows.
type Listing struct {
	// Failed shows operations that failed and whose failure nobody took, and dead letters; Open what has not ended.
	Failed, Open bool
	// Limit shows the last so many only; 0 is no limit.
	Limit int
	// JSON writes an object a line.
	JSON bool
}

// List writes what a directory holds.
func List(ctx context.Context, dir string, l Listing, w io.Writer) error {
	return read(dir, func(r store.Reader, kind Kind) error {
		var out lister
		if l.JSON {
			encoder := json.NewEncoder(w)
			encoder.SetEscapeHTML(false)
			out = jsonLister{encoder}
		} else {
			out = newTable(w)
		}
		show := out.show
		var last []item
		if l.Limit > 0 {
			show = func(i item) error {
				if last = append(last, i); len(last) > l.Limit {
					last = last[1:]
				}
				return nil
			}
		}
		if err := walk(ctx, r, kind, l, show); err != nil {
			return err
		}
		for _, i := range last {
			if err := out.show(i); err != nil {
				return err
			}
		}
		return out.end()
	})
}

// walk calls show for what l asks for.
func walk(ctx context.Context, r store.Reader, kind Kind, l Listing, show func(item) error) error {
	if kind == Agent {
		return activity.Walk(ctx, r, func(rec activity.Record) error {
			if l.Failed && !rec.FailedUnhandled() || l.Open && rec.Finished() {
				return nil
			}
			return show(itemOf(rec))
		})
	}
	q := store.SubReader(r, router.StorePrefix)
	if !l.Failed {
		if err := kv.WalkWaiting(ctx, q, func(w kv.Waiting) error { return show(waitingItem(w)) }); err != nil {
			return err
		}
	}
	if l.Open {
		return nil
	}
	return kv.WalkDead(ctx, q, func(d queue.DeadLetter) error { return show(deadItem(d)) })
}

type lister interface {
	show(item) error
	end() error
}

type jsonLister struct{ *json.Encoder }

func (l jsonLister) show(i item) error { return l.Encode(i) }
func (l jsonLister) end() error        { return nil }

// table writes aligned columns.
type table struct {
	w     *tabwriter.Writer
	plain io.Writer
	rows  int
}

func newTable(w io.Writer) *table {
	return &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), plain: w}
}

func (t *table) show(i item) error {
	if t.rows == 0 {
		if _, err := fmt.Fprintln(t.w, "KIND\tNUMBER\tSTAGE\tCODE\tTRIES\tSINCE\tENDED\tPEER\tEXCHANGE\tTOKEN\tNOTE"); err != nil {
			return err
		}
	}
	t.rows++
	what := i.Exchange
	if what == "" {
		what = i.Type
	}
	cells := []string{
		i.Kind, fmt.Sprint(i.Number), i.Stage, i.Code, fmt.Sprint(i.Tries), clock(i.CreatedAt), clock(i.EndedAt), i.peer(), what,
		i.Token, i.Note,
	}
	for n, c := range cells {
		if cells[n] = printable(c); c == "" {
			cells[n] = "-"
		}
	}
	_, err := fmt.Fprintln(t.w, strings.Join(cells, "\t"))
	return err
}

// peer shows both ends of a message in a queue.
func (i item) peer() string {
	if i.Kind == "waiting" || i.Kind == "dead_letter" {
		return i.Peer + " to " + i.To
	}
	return i.Peer
}

func clock(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func (t *table) end() error {
	if err := t.w.Flush(); err != nil {
		return err
	}
	if t.rows > 0 {
		return nil
	}
	_, err := fmt.Fprintln(t.plain, "nothing to show")
	return err
}

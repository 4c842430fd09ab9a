package offline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// entry is a line of a listing of an agent's own data.
type entry struct {
	Key   string `json:"key"`
	Bytes int    `json:"bytes"`
	Value []byte `json:"value"`
}

// ListData writes what an agent's handlers have stored of their own, in the order of the keys: a table with the beginning of
// each value, or with asJSON an object a line with all of it.
func ListData(ctx context.Context, dir string, asJSON bool, w io.Writer) error {
	return read(dir, func(r store.Reader, kind Kind) error {
		if kind != Agent {
			return &WrongKindError{dir, kind, "name the directory of an agent: only agents have handlers"}
		}
		lines := json.NewEncoder(w)
		lines.SetEscapeHTML(false)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		rows := 0
		err := activity.WalkData(ctx, r, func(key string, value []byte) error {
			if asJSON {
				return lines.Encode(entry{key, len(value), value})
			}
			if rows++; rows == 1 {
				if _, err := fmt.Fprintln(table, "KEY\tBYTES\tVALUE"); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintf(table, "%s\t%d\t%s\n", printable(key), len(value), excerpt(value))
			return err
		})
		if err != nil || asJSON {
			return err
		}
		if err := table.Flush(); err != nil || rows > 0 {
			return err
		}
		_, err = fmt.Fprintln(w, "nothing to show")
		return err
	})
}

// excerpt is the beginning of a payload, fit to be printed.
func excerpt(payload []byte) string {
	return printable(string(payload[:min(len(payload), maxExcerpt)]))
}

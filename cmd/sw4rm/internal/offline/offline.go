// Package offline has the tools that work on a data directory while nobody has it open.
package offline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
	"github.com/sw4rm/sw4rm-go/services/registry"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// registryKey begins the registry's records.
const registryKey = "agent/"

// Kind is whose a directory is.
type Kind int

// The kinds. An empty directory counts as an agent's.
const (
	Agent Kind = iota
	Services
)

// String returns words for the kind.
func (k Kind) String() string {
	if k == Services {
		return "services"
	}
	return "agent"
}

// kindOf tells whose records r has.
func kindOf(r store.Reader) (Kind, error) {
	kind := Agent
	for _, part := range []string{router.StorePrefix, registry.StorePrefix} {
		err := store.SubReader(r, part).Scan(nil, nil, func(_, _ []byte) error {
			kind = Services
			return store.ErrStop
		})
		if err != nil {
			return kind, err
		}
	}
	return kind, nil
}

// WrongKindError says that a tool does not work on this kind of directory.
type WrongKindError struct {
	Dir  string
	Kind Kind
	Fix  string
}

// Error implements error.
func (e *WrongKindError) Error() string {
	whose := "an agent"
	if e.Kind == Services {
		whose = "the services (sw4rm up)"
	}
	return fmt.Sprintf("data directory %s is that of %s. Fix: %s", e.Dir, whose, e.Fix)
}

// options open a directory quietly: what the engine has to say is in the errors.
func options() pebble.Options { return pebble.Options{Logger: slog.New(slog.DiscardHandler)} }

// read opens a directory for reading and calls fn.
func read(dir string, fn func(r store.Reader, kind Kind) error) error {
	r, err := pebble.OpenReader(dir, options())
	if err != nil {
		return err
	}
	kind, err := kindOf(r)
	if err == nil {
		err = fn(r, kind)
	}
	return errors.Join(err, r.Close())
}

// write makes a directory that must not be there, as dir+suffix, and gives it its name when fn has filled it.
func write(ctx context.Context, dir string, fn func(s store.Store) error) error {
	return build(dir, func(tmp string) error {
		s, err := pebble.Open(tmp, options())
		if err != nil {
			return err
		}
		err = fn(s)
		if err == nil {
			err = ctx.Err()
		}
		return errors.Join(err, s.Close())
	})
}

// printable makes text from a directory fit for a terminal and for one line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x202e || r == 0x2028 || r == 0x2029 {
			return '\ufffd'
		}
		return r
	}, s)
}

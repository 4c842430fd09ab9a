package torture

import (
	"context"
	"path/filepath"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/inventory"
)

// examine looks into the closed data directories of agents and router, and notes what they have recorded, and where
// messages are.
func (s *stage) examine(ctx context.Context) error {
	items, err := inventory.Take(ctx, s.directories(), filepath.Join(s.dir, servicesName))
	if err != nil {
		return err
	}
	for _, i := range items {
		if _, ours := s.history.keyOf(i.Token); ours {
			s.history.add(i.Event)
		}
	}
	return nil
}

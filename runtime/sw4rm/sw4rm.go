// Package sw4rm makes agents whose activity buffer is on disk. It is what programs import to get an agent.
package sw4rm

import (
	"errors"
	"fmt"

	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// New opens and locks the activity buffer in cfg.DataDir and returns its agent, ready for registration and Start. Close
// the agent to give the directory free. Errors about the directory are those of package store: *store.InUseError,
// *store.DamagedError, *store.VersionError, *store.PermissionError.
func New(cfg agent.Config) (*agent.Agent, error) {
	complete, err := cfg.Complete()
	if err != nil {
		return nil, err
	}
	s, err := pebble.Open(complete.DataDir, pebble.Options{Logger: complete.Logger, MinFree: complete.MinFreeDisk})
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", complete.ID, err)
	}
	// agent.New completes cfg itself; completing it twice would name the agent twice in each line of the log.
	a, err := agent.New(cfg, s)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return a, nil
}

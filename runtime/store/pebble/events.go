package pebble

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// engineEvents turns what Pebble says into log records and, where it would end the process, into the store's failure.
type engineEvents struct {
	log  *slog.Logger
	fail func(error)
}

// Infof implements pebble.Logger.
func (e engineEvents) Infof(text string, args ...any) {
	if e.log.Enabled(context.Background(), slog.LevelDebug) {
		e.log.Debug(fmt.Sprintf(text, args...))
	}
}

// Errorf implements pebble.Logger.
func (e engineEvents) Errorf(text string, args ...any) { e.log.Error(fmt.Sprintf(text, args...)) }

// Fatalf implements pebble.Logger, whose other implementations end the process. Pebble goes on as it does after any
// error; by then the store takes and answers nothing any more.
func (e engineEvents) Fatalf(text string, args ...any) { e.fail(fmt.Errorf(text, args...)) }

func (e engineEvents) listener() *pebble.EventListener {
	var stalled time.Time // Pebble calls both functions under one mutex
	return &pebble.EventListener{
		BackgroundError: func(err error) { e.fail(fmt.Errorf("working in the background: %w", err)) },
		// Whoever reads the damaged place gets the error; the default would end the process.
		DataCorruption: func(info pebble.DataCorruptionInfo) { e.log.Error("the store is damaged", "file", info.Path) },
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			stalled = time.Now()
			e.log.Warn("writes wait for the store to catch up", "reason", info.Reason)
		},
		WriteStallEnd: func() {
			e.log.Warn("writes go on", "waited", time.Since(stalled))
		},
	}
}

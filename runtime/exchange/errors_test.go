package exchange_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestUnfinishedSaysHowFarItCame has the stage both in words and for programs.
func TestUnfinishedSaysHowFarItCame(t *testing.T) {
	taken := exchange.Attempt{AcceptedAt: time.Unix(1, 0)}
	for words, s := range map[string]exchange.Status{
		"no router has taken it yet":                {Attempts: []exchange.Attempt{{}}},
		"it is not RECEIVED yet":                    {Attempts: []exchange.Attempt{taken}},
		"it is not RECEIVED yet, attempt 2":         {Attempts: []exchange.Attempt{{}, taken}},
		"RECEIVED, and it waits for its handler":    {Stage: ack.Received, Attempts: []exchange.Attempt{taken}},
		"READ, and its handler has it, attempt 3":   {Stage: ack.Read, Attempts: []exchange.Attempt{taken, taken, taken}},
		"FULFILLED, and its reply is still to come": {Stage: ack.Fulfilled},
		"FAILED, which came at the same moment":     {Stage: ack.Failed, Done: true},
	} {
		s.Ref = "out/store/1"
		err := exchange.NewUnfinished(s, context.DeadlineExceeded)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, s.Ref, err.Ref())
		assert.Equal(t, s.Stage, err.Stage())
		assert.EqualError(t, err, "the message is stored as out/store/1 and not finished: "+words+
			". Fix: wait longer, or find it again by Resume with this reference. Waiting ended: context deadline exceeded")
	}
}

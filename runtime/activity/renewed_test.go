package activity_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

func TestAKeyNamesAnotherOperationAfterTheWindow(t *testing.T) {
	g := memoryGround(t, activity.Config{})
	_, first := g.receive(g.arrival("key", 0))
	g.finish(first.GetSequence(), ack.Fulfilled, ack.NoCode, "")

	next := g.arrival("key", 0)
	next.Envelope.SequenceNumber++
	g.now = g.now.Add(time.Hour - time.Second)
	v, _ := g.receive(next)
	require.Equal(t, activity.Finished, v, "within the window it is the same operation")

	g.now = g.now.Add(2 * time.Second)
	v, _ = g.receive(g.arrival("key", 1))
	require.Equal(t, activity.Finished, v, "a retry is never another operation")
	v, _ = g.receive(g.arrival("key", 0))
	require.Equal(t, activity.Finished, v, "nor is what has the same number")

	again := g.arrival("key", 0)
	again.Envelope.SequenceNumber += 2
	v, rec := g.receive(again)
	require.Equal(t, activity.Rerun, v)
	require.Equal(t, first.GetSequence(), rec.GetSequence())
	require.Nil(t, rec.GetOutcome())
	g.reopen()
	g.finish(rec.GetSequence(), ack.Failed, ack.InternalError, "")
	retry := g.arrival("key", 1)
	retry.Envelope.SequenceNumber = again.Envelope.GetSequenceNumber()
	v, _ = g.receive(retry)
	require.Equal(t, activity.Rerun, v, "retries of the operation before do not count")
	g.reopen()
}

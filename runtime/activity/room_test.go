package activity_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// fullDisk is a store on a disk that may be full.
type fullDisk struct {
	store.Store
	full bool
}

func (d *fullDisk) Room() error {
	if d.full {
		return &store.RoomError{Dir: "data", Free: 1, Min: 2}
	}
	return nil
}

// TestFullDisk refuses new work on a disk that is nearly full, and stores what becomes of the work that is there.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	g := newGround(t, activity.Config{})
	g.s = store.NewMemory()
	disk := &fullDisk{}
	g.wrap = func(s store.Store) store.Store {
		disk.Store = s
		return disk
	}
	g.start()
	asked, _ := g.send(wantsReply)
	_, id := g.send()
	_, in := g.receive(g.arrival("one", 0))
	disk.full = true

	var refused *ack.Error
	_, _, err := g.RecordOut(g.ctx, g.draft())
	require.ErrorAs(t, err, &refused)
	require.Equal(t, ack.BufferFull, refused.Code)
	require.Equal(t, "min_free_disk: the disk of data has 1 bytes free, and new work needs 2. Fix: make room on it", refused.Note)
	_, _, err = g.RecordIn(g.ctx, g.arrival("two", 0))
	require.ErrorAs(t, err, &refused)
	require.Equal(t, ack.BufferFull, refused.Code)

	v, _ := g.receive(g.arrival("one", 1)) // it is known
	require.Equal(t, activity.Running, v)
	require.True(t, g.ack(id, ack.Fulfilled, 0, "").Finished)
	change, err := g.ReplyOut(g.ctx, activity.Reply{Token: asked.GetToken(), CorrelationID: asked.GetCorrelationId(), From: "peer", MessageID: "r", Body: body("reply")})
	require.NoError(t, err)
	require.True(t, change.Finished)
	done, err := g.FinishIn(g.ctx, in.GetSequence(), activity.Ending{Outcome: outcome(ack.Fulfilled, 0, ""), Reply: body("answer"), ReplyID: g.id("m"), NewID: g.newID})
	require.NoError(t, err)
	require.Len(t, done.GetOwed(), 3, "the reply and two acknowledgements")
	require.NoError(t, g.OwedSentIn(in.GetSequence(), done.GetOwed()[0].GetMessageId()))

	disk.full = false
	g.send(func(*storagepb.OutRecord) {})
	v, _ = g.receive(g.arrival("two", 0))
	require.Equal(t, activity.New, v)
}

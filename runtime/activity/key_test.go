package activity_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

const (
	call    = storagepb.KeyKind_KEY_KIND_CALL
	content = storagepb.KeyKind_KEY_KIND_CONTENT
	caller  = storagepb.KeyKind_KEY_KIND_CALLER
	derived = storagepb.KeyKind_KEY_KIND_DERIVED
)

func TestKeys(t *testing.T) {
	t.Parallel()
	const window = time.Hour
	for name, tc := range map[string]struct {
		kind storagepb.KeyKind
		// finished, and then how long ago.
		finished bool
		after    time.Duration
		to, hash string
		existed  bool
		refused  bool
	}{
		"call, active":               {kind: call, existed: true},
		"content, active":            {kind: content, existed: true},
		"caller, active":             {kind: caller, existed: true},
		"derived, active":            {kind: derived, existed: true},
		"content, in the window":     {kind: content, finished: true, after: window - 1, existed: true},
		"caller, in the window":      {kind: caller, finished: true, after: window - 1, existed: true},
		"content, after the window":  {kind: content, finished: true, after: window},
		"caller, after the window":   {kind: caller, finished: true, after: window},
		"derived, after the window":  {kind: derived, finished: true, after: window, existed: true},
		"content, another address":   {kind: content, to: "agent:other"},
		"caller, another address":    {kind: caller, to: "agent:other"},
		"derived, another address":   {kind: derived, to: "agent:other", finished: true},
		"content, other bytes":       {kind: content, hash: "h2", existed: true},
		"derived, other bytes":       {kind: derived, hash: "h2", existed: true},
		"derived, other bytes later": {kind: derived, hash: "h2", finished: true, existed: true},
		"caller, other bytes":        {kind: caller, hash: "h2", refused: true},
		"caller, other bytes later":  {kind: caller, hash: "h2", finished: true, after: window - 1, refused: true},
		"caller, other bytes after":  {kind: caller, hash: "h2", finished: true, after: window},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, activity.Config{DedupWindow: window}, func(t *testing.T, g *ground, step func()) {
				set := func(r *storagepb.OutRecord) { r.Token, r.KeyKind = "key", tc.kind }
				first, id := g.send(set)
				if tc.finished {
					g.now = g.now.Add(5 * time.Hour) // the window counts from the outcome
					g.ack(id, ack.Failed, ack.ValidationError, "no")
				}
				step()
				g.now = g.now.Add(tc.after)
				d := g.draft(set, func(r *storagepb.OutRecord) {
					if tc.to != "" {
						r.To = tc.to
					}
					if tc.hash != "" {
						r.PayloadHash = []byte(tc.hash)
					}
				})
				rec, existed, err := g.RecordOut(g.ctx, d)
				if tc.refused {
					require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
					assert.Contains(t, err.Error(), "VALIDATION_ERROR: token_reused")
					return
				}
				require.NoError(t, err)
				assert.Equal(t, tc.existed, existed)
				assert.Equal(t, tc.existed, rec.GetSequence() == first.GetSequence())
				if tc.existed {
					assert.Equal(t, tc.finished, rec.GetOutcome() != nil)
				}
				step()
			})
		})
	}
}

func TestKeyedWorkBounded(t *testing.T) {
	t.Parallel()
	each(t, activity.Config{MaxDedupBytes: 2000, DedupWindow: time.Hour, KeepAge: time.Hour, InKeep: time.Hour}, func(t *testing.T, g *ground, step func()) {
		set := func(r *storagepb.OutRecord) { r.KeyKind = content }
		n := 0
		var err error
		for ; n < 100; n++ {
			d := g.draft(set)
			if _, _, err = g.RecordOut(g.ctx, d); err != nil {
				break
			}
			g.ack(d.MessageID, ack.Fulfilled, 0, "")
		}
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.BufferFull})
		assert.Greater(t, n, 3)
		assert.True(t, g.Stats().Warning)
		step()
		_, _, err = g.RecordIn(g.ctx, g.arrival("token", 0))
		require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.BufferFull})
		_, _, err = g.RecordOut(g.ctx, g.draft())
		require.NoError(t, err, "one call each is not kept for deduplication")
		pruned, err := g.Prune(g.ctx)
		require.NoError(t, err)
		assert.Zero(t, pruned, "the window never shrinks")
		g.now = g.now.Add(time.Hour)
		step()
		_, err = g.Prune(g.ctx)
		require.NoError(t, err)
		step()
		assert.Zero(t, g.Stats().DedupBytes)
		_, _, err = g.RecordOut(g.ctx, g.draft(set))
		require.NoError(t, err)
		v, _ := g.receive(g.arrival("token", 0))
		assert.Equal(t, activity.New, v)
	})
}

package activity_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

// TestRefusalsNameTheirRemedy runs into every bound of a buffer. Each refusal says what there is, how much of it there may be,
// and what to do, in a text that fits into an acknowledgement.
func TestRefusalsNameTheirRemedy(t *testing.T) {
	t.Parallel()
	keyed := func(r *storagepb.OutRecord) { r.KeyKind = storagepb.KeyKind_KEY_KIND_CONTENT }
	for name, tc := range map[string]struct {
		cfg   activity.Config
		run   func(t *testing.T, g *ground) error
		stage ack.Stage
		code  ack.Code
		note  string
	}{
		"open operations": {
			cfg: activity.Config{MaxOut: 1},
			run: func(_ *testing.T, g *ground) error {
				g.send()
				_, _, err := g.RecordOut(g.ctx, g.draft())
				return err
			},
			stage: ack.Rejected, code: ack.BufferFull,
			note: "1 operations are open, the limit is 1. Fix: wait until some have ended, or raise Config.MaxOut",
		},
		"outcomes of keys": {
			cfg: activity.Config{MaxDedupBytes: 1},
			run: func(_ *testing.T, g *ground) error {
				_, id := g.send(keyed)
				g.ack(id, ack.Fulfilled, 0, "")
				_, _, err := g.RecordOut(g.ctx, g.draft(keyed))
				return err
			},
			stage: ack.Rejected, code: ack.BufferFull,
			note: "# bytes are kept for deduplication, the limit is 1. Fix: try again when older outcomes have gone, send without a key, " +
				"or raise Config.MaxDedupBytes",
		},
		"a key with another payload": {
			run: func(_ *testing.T, g *ground) error {
				reuse := func(hash string) func(*storagepb.OutRecord) {
					return func(r *storagepb.OutRecord) {
						r.KeyKind, r.Token, r.PayloadHash = storagepb.KeyKind_KEY_KIND_CALLER, "order-1", []byte(hash)
					}
				}
				g.send(reuse("one"))
				_, _, err := g.RecordOut(g.ctx, g.draft(reuse("two")))
				return err
			},
			stage: ack.Rejected, code: ack.ValidationError,
			note: "token_reused: the key of order-1 was used with another payload. Fix: use a key for one payload only",
		},
		"open received messages": {
			cfg: activity.Config{MaxIn: 1},
			run: func(_ *testing.T, g *ground) error {
				g.receive(g.arrival("one", 0))
				_, _, err := g.RecordIn(g.ctx, g.arrival("two", 0))
				return err
			},
			stage: ack.Rejected, code: ack.BufferFull,
			note: "1 received messages are open, the limit is 1. Fix: try again later, or raise the receiver's Config.MaxIn",
		},
		"unsent answers": {
			cfg: activity.Config{MaxIn: 1},
			run: func(t *testing.T, g *ground) error {
				_, in := g.receive(g.arrival("one", 0))
				_, err := g.FinishIn(g.ctx, in.GetSequence(), activity.Ending{Outcome: outcome(ack.Fulfilled, 0, ""), NewID: g.newID})
				require.NoError(t, err)
				_, _, err = g.RecordIn(g.ctx, g.arrival("two", 0))
				return err
			},
			stage: ack.Rejected, code: ack.BufferFull,
			note: "1 received messages wait for their answers to be sent, the limit is 1. Fix: try again later, or raise the receiver's Config.MaxIn",
		},
		"finished received messages": {
			cfg: activity.Config{MaxDedupBytes: 1},
			run: func(_ *testing.T, g *ground) error {
				_, id := g.send(keyed)
				g.ack(id, ack.Fulfilled, 0, "")
				_, _, err := g.RecordIn(g.ctx, g.arrival("one", 0))
				return err
			},
			stage: ack.Rejected, code: ack.BufferFull,
			note: "# bytes are kept for deduplication, the limit is 1. Fix: try again later, or raise the receiver's Config.MaxDedupBytes",
		},
		"frames": {
			cfg: activity.Config{MaxDedupBytes: 1},
			run: func(t *testing.T, g *ground) error {
				_, in := g.receive(g.arrival("one", 0))
				_, err := g.BeginStreamIn(in.GetSequence(), 1, false)
				require.NoError(t, err)
				frame := &storagepb.Frame{Body: body("part")}
				_, err = g.FrameIn(g.ctx, in.GetSequence(), 1, frame)
				require.NoError(t, err)
				_, err = g.FrameIn(g.ctx, in.GetSequence(), 1, frame)
				return err
			},
			stage: ack.Failed, code: ack.BufferFull,
			note: "# bytes of frames and of what is kept for deduplication are stored, the limit is 1. Fix: try again later, " +
				"or raise Config.MaxDedupBytes of the agent that streams",
		},
		"data": {
			cfg: activity.Config{MaxDataBytes: 3},
			run: func(t *testing.T, g *ground) error {
				tx := g.BeginData(g.ctx)
				require.NoError(t, tx.Set("key", []byte("x")))
				return g.CommitData(g.ctx, tx)
			},
			stage: ack.Failed, code: ack.BufferFull,
			note: "data_limit: the agent's data would have 4 bytes, the limit is 3. Fix: delete some, or raise Config.MaxDataBytes",
		},
		"a large value": {
			run: func(_ *testing.T, g *ground) error {
				return g.BeginData(g.ctx).Set("key", make([]byte, activity.MaxDataValue+1))
			},
			stage: ack.Failed, code: ack.OversizePayload,
			note: `data_limit: the value of "key" has 1048577 bytes, the limit is 1048576. Fix: divide it among several keys`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := memoryGround(t, tc.cfg)
			var refused *ack.Error
			require.ErrorAs(t, tc.run(t, g), &refused)
			assert.Equal(t, tc.stage, refused.Stage)
			assert.Equal(t, tc.code, refused.Code)
			// What a record takes is up to its encoding.
			note := refused.Note
			if number, rest, _ := strings.Cut(note, " "); strings.HasPrefix(tc.note, "#") && number != "" {
				note = "# " + rest
			}
			assert.Equal(t, tc.note, note)
			assert.Less(t, len(refused.Note), 256)
		})
	}
}

// TestTransactionsThatAreTooLarge are refused with what to do.
func TestTransactionsThatAreTooLarge(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{})
	many, large := g.BeginData(g.ctx), g.BeginData(g.ctx)
	var err error
	for i := 0; err == nil; i++ {
		err = many.Set(strconv.Itoa(i), nil)
	}
	var refused *ack.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "data_limit: one transaction writes at most 1000 keys. Fix: write less at once", refused.Note)
	err = nil
	for i := 0; err == nil; i++ {
		err = large.Set(strconv.Itoa(i), make([]byte, activity.MaxDataValue))
	}
	require.ErrorAs(t, err, &refused)
	assert.Regexp(t, `^data_limit: the transaction writes \d+ bytes, the limit is 4194304\. Fix: write less at once$`, refused.Note)
}

package activity_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

func TestDamage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prefix string
		change func(value []byte) []byte
	}{
		"operation":            {"oa", func([]byte) []byte { return []byte{0xff} }},
		"operation, other one": {"oa", func([]byte) []byte { return []byte{0x08, 0x63} }},
		"operation, empty":     {"oa", func([]byte) []byte { return nil }},
		"received":             {"ia", func([]byte) []byte { return []byte{0xff} }},
		"received, other one":  {"ia", func([]byte) []byte { return []byte{0x08, 0x63} }},
		"owing":                {"io", func(v []byte) []byte { return v[:7] }},
		"owing, other one":     {"io", func(v []byte) []byte { return append(v[:7:7], 99) }},
		"owing record":         {"id", func([]byte) []byte { return []byte{0xff} }},
		"owing record, no id":  {"id", func([]byte) []byte { return nil }},
		"counter":              {"mo", func(v []byte) []byte { return append(v, 0) }},
		"totals":               {"mt", func([]byte) []byte { return []byte{0xff} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := memoryGround(t, activity.Config{})
			g.send()
			g.receive(g.arrival("one", 0))
			_, rec := g.receive(g.arrival("two", 0))
			g.finish(rec.GetSequence(), ack.Fulfilled, 0, "")
			var b store.Batch
			require.NoError(t, g.s.Scan([]byte(tc.prefix), []byte(tc.prefix+"\xff"), func(key, value []byte) error {
				b.Set(append([]byte{}, key...), tc.change(append([]byte{}, value...)))
				return nil
			}))
			require.NotZero(t, b.Len())
			require.NoError(t, store.Write(g.ctx, g.s, &b))
			_, err := activity.Open(g.ctx, g.s, g.cfg)
			var damaged *store.DamagedError
			require.ErrorAs(t, err, &damaged)
			assert.NotEmpty(t, damaged.Key)
		})
	}
}

func TestDamageAfterOpen(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{})
	seq := g.done(1, true)[0]
	rec := g.outNow(seq)
	_, in := g.receive(g.arrival("token", 0))
	done := g.finish(in.GetSequence(), ack.Fulfilled, 0, "")
	require.NoError(t, g.OwedSentIn(in.GetSequence(), done.GetOwed()[0].GetMessageId()))
	var b store.Batch
	for _, prefix := range []string{"od", "id", "k\x00", "om", "ob", "it", "im"} {
		require.NoError(t, g.s.Scan([]byte(prefix), []byte(prefix+"\xff\xff"), func(key, _ []byte) error {
			b.Set(append([]byte{}, key...), []byte{0xff})
			return nil
		}))
	}
	require.NoError(t, store.Write(g.ctx, g.s, &b))
	first := func(_ any, err error) error { return err }
	for name, err := range map[string]error{
		"Out":           first(g.Out(seq)),
		"OutBody":       first(g.OutBody(seq)),
		"OutByToken":    first(g.OutByToken(rec.GetToken())),
		"OutByTalk":     first(g.OutByCorrelation(rec.GetCorrelationId())),
		"OutByID":       first(g.OutByMessageID(rec.GetAttempts()[0].GetMessageId())),
		"In":            first(g.In(in.GetSequence())),
		"InByToken":     first(g.InByToken("producer", "agent:me", "token")),
		"InByMessageID": first(g.InByMessageID(in.GetAliases()[0].GetMessageId())),
		"Recent":        first(g.Recent(10)),
		"AckOut":        first(g.AckOut(g.ctx, ack.Ack{ForMessageID: rec.GetAttempts()[0].GetMessageId(), Stage: ack.Failed}, "p")),
		"HandledOut":    g.HandledOut(seq),
		"RecordIn":      func() error { _, _, err := g.RecordIn(g.ctx, g.arrival("token", 0)); return err }(),
	} {
		var damaged *store.DamagedError
		require.ErrorAs(t, err, &damaged, name)
	}
	g.now = g.now.AddDate(0, 0, 3)
	_, err := g.Prune(g.ctx)
	var damaged *store.DamagedError
	require.ErrorAs(t, err, &damaged)
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	_, err := activity.Open(t.Context(), nil, activity.Config{})
	require.Error(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = activity.Open(ctx, store.NewMemory(), activity.Config{})
	require.ErrorIs(t, err, context.Canceled)
	s := store.NewMemory()
	s.Fail(assert.AnError)
	_, err = activity.Open(t.Context(), s, activity.Config{})
	require.ErrorIs(t, err, store.ErrFailed)
}

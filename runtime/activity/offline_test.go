package activity_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// everything is a buffer with records of every kind in every state.
func everything(t *testing.T) *ground {
	t.Helper()
	g := memoryGround(t, activity.Config{})
	g.send()                    // open
	_, id := g.send(wantsReply) // RECEIVED, then retried
	g.ack(id, ack.Received, 0, "")
	g.ack(id, ack.Failed, ack.BufferFull, "full")
	g.attempt(2)
	rec, id := g.send(wantsReply) // fulfilled with its reply, then a late failure
	_, err := g.ReplyOut(g.ctx, activity.Reply{Token: rec.GetToken(), CorrelationID: rec.GetCorrelationId(), From: "peer", MessageID: g.id("m"), Body: body("reply")})
	require.NoError(t, err)
	g.ack(id, ack.Failed, ack.InternalError, "late")
	_, id = g.send() // rejected, nobody handled it
	g.ack(id, ack.Rejected, ack.ValidationError, "bad \"text\" <&>")
	rec, id = g.send(func(r *storagepb.OutRecord) { r.KeyKind = storagepb.KeyKind_KEY_KIND_CALLER })
	g.ack(id, ack.Fulfilled, 0, "")
	require.NoError(t, g.HandledOut(rec.GetSequence()))
	rec, id = g.send()
	g.ack(id, ack.Fulfilled, 0, "")
	require.NoError(t, g.HandledOut(rec.GetSequence()))
	open, _ := g.send(streams)
	g.frames(open, frame(1, 1), frame(1, 2), frame(1, 4))
	ended, id := g.send(streams)
	g.frames(ended, frame(1, 1), frame(1, 2), end(1, 2, id, ack.Fulfilled, 0))

	g.receive(g.arrival("active", 0))
	_, in := g.receive(g.arrival("answered", 0))
	_, err = g.FinishIn(g.ctx, in.GetSequence(), activity.Ending{Outcome: outcome(ack.Fulfilled, 0, ""), Reply: body("answer"), ReplyID: g.id("m"), NewID: g.newID})
	require.NoError(t, err)
	_, in = g.receive(g.arrival("failed", 0))
	done := g.finish(in.GetSequence(), ack.Failed, ack.InternalError, "broken")
	require.NoError(t, g.OwedSentIn(in.GetSequence(), done.GetOwed()[0].GetMessageId()))
	_, in = g.receive(g.arrival("again", 0))
	g.finish(in.GetSequence(), ack.Failed, ack.BufferFull, "")
	v, _ := g.receive(g.arrival("again", 1)) // it runs again and still owes the first answer
	require.Equal(t, activity.Rerun, v)
	_, in = g.receive(g.arrival("streaming", 0))
	_, err = g.BeginStreamIn(in.GetSequence(), 1, false)
	require.NoError(t, err)
	for range 3 {
		_, err = g.FrameIn(g.ctx, in.GetSequence(), 1, &storagepb.Frame{Body: body("part"), MessageId: g.id("f")})
		require.NoError(t, err)
	}
	_, in = g.receive(g.arrival("streamed", 0))
	_, err = g.BeginStreamIn(in.GetSequence(), 1, false)
	require.NoError(t, err)
	_, err = g.FrameIn(g.ctx, in.GetSequence(), 1, &storagepb.Frame{Body: body("part"), MessageId: g.id("f")})
	require.NoError(t, err)
	g.finish(in.GetSequence(), ack.Fulfilled, 0, "")
	g.write(map[string]string{"balance": "7", "empty": "", "name/\u00e4": "x"})
	g.reopen()
	return g
}

// pairs are all keys and values.
func pairs(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, s.Scan(nil, nil, func(key, value []byte) error {
		all[string(key)] = string(value)
		return nil
	}))
	return all
}

func memoryOf(t *testing.T, all map[string]string) *store.Memory {
	t.Helper()
	s := store.NewMemory()
	var b store.Batch
	for key, value := range all {
		b.Set([]byte(key), []byte(value))
	}
	require.NoError(t, store.Write(t.Context(), s, &b))
	return s
}

func problems(t *testing.T, s store.Store) []string {
	t.Helper()
	var list []string
	_, err := activity.Check(t.Context(), s, func(d *store.DamagedError) {
		list = append(list, fmt.Sprintf("%s: %v", activity.DescribeKey(d.Key), d.Err))
	})
	require.NoError(t, err)
	return list
}

func TestCheckCounts(t *testing.T) {
	t.Parallel()
	g := everything(t)
	sum, err := activity.Check(t.Context(), g.s, func(d *store.DamagedError) { t.Error(d) })
	require.NoError(t, err)
	entries := sum.Entries
	sum.Entries = 0
	require.Equal(t, activity.Summary{OutOpen: 3, Out: 8, InOpen: 3, In: 6, Failed: 1, Frames: 9, Data: 3}, sum)
	require.Greater(t, entries, 20)
	seen := 0
	last := ""
	require.NoError(t, activity.Walk(t.Context(), g.s, func(r activity.Record) error {
		now := fmt.Sprintf("in %03d", r.In.GetSequence())
		if r.Out != nil {
			now = fmt.Sprintf(" out %03d", r.Out.GetSequence())
		}
		require.Less(t, last, now, "by number, operations first")
		last = now
		seen++
		return nil
	}))
	require.Equal(t, 14, seen)
}

// TestCheckSeesEveryChange removes, changes and doubles every entry of a store in turn. What Check says nothing of must
// make no difference.
func TestCheckSeesEveryChange(t *testing.T) {
	t.Parallel()
	all := pairs(t, everything(t).s)
	for key, value := range all {
		for name, change := range map[string]func(m map[string]string){
			"removed":  func(m map[string]string) { delete(m, key) },
			"cut":      func(m map[string]string) { m[key] = value[:len(value)/2] },
			"doubled":  func(m map[string]string) { m[key[:len(key)-1]+"\x7f"] = value },
			"replaced": func(m map[string]string) { m[key] = "\xff\xff\xff" },
		} {
			if name == "cut" && value == "" {
				continue
			}
			other := map[string]string{}
			for k, v := range all {
				other[k] = v
			}
			change(other)
			if harmless(key, name) {
				continue
			}
			require.NotEmpty(t, problems(t, memoryOf(t, other)), "%s %s", activity.DescribeKey([]byte(key)), name)
		}
	}
}

// harmless tells what a buffer does without: marks that only spare work, and what is not looked into.
func harmless(key, change string) bool {
	prefix := key[:2]
	switch {
	case prefix == "lo" || prefix == "li" || prefix == "lw":
		return true
	case change == "removed" && (prefix == "it" || prefix == "im" || prefix == "io"):
		return strings.Contains(key, "again") || prefix != "it" // an earlier end of an active message
	case change == "removed" && prefix == "of" && key[len(key)-1] == 4:
		return true // it came before another one, and will come again
	case change == "doubled" && prefix[0] == 'm':
		return true // no key of ours
	case change == "cut" && (prefix == "ob" || prefix == "or" || prefix == "ib" || prefix == "ir" || prefix == "of" || prefix == "if"):
		return true // what decodes is left to checksums
	case change == "cut" && (prefix == "mt" || prefix[0] == 'o' || prefix[0] == 'i'):
		return true
	case change == "doubled" && (prefix == "of" || prefix == "if" || prefix == "io"):
		return true // a frame that came before another; another place of a message that is active again
	case change == "removed" && prefix == "ob":
		return true // it is counted
	default:
		return false
	}
}

func TestExportAndImportAreEqual(t *testing.T) {
	t.Parallel()
	g := everything(t)
	var out bytes.Buffer
	exported, err := activity.Export(t.Context(), g.s, &out)
	require.NoError(t, err)
	require.Equal(t, 8, exported.Out)
	require.Equal(t, 9, exported.Frames)

	s := store.NewMemory()
	imported, err := activity.Import(t.Context(), s, bytes.NewReader(out.Bytes()), g.now, func(text string) { t.Error(text) })
	require.NoError(t, err)
	require.Equal(t, []int{exported.Out, exported.In, exported.Frames}, []int{imported.Out, imported.In, imported.Frames})
	require.Empty(t, problems(t, s))
	was := g.picture()
	want := pairs(t, g.s)
	other := &ground{tester: t, ctx: t.Context(), now: g.now, cfg: g.cfg, s: s}
	other.start()
	require.Equal(t, was, other.picture())
	got := pairs(t, s)
	for key := range want {
		if _, ok := got[key]; !ok && key[:2] != "it" && key[:2] != "im" {
			t.Errorf("%s is missing", activity.DescribeKey([]byte(key)))
		}
	}
	for key := range got {
		require.Contains(t, want, key)
	}

	// What is exported again is the same text.
	var again bytes.Buffer
	_, err = activity.Export(t.Context(), s, &again)
	require.NoError(t, err)
	require.Equal(t, lines(out.String())[1:], lines(again.String())[1:], "all but the store's name")
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

func TestImportErrors(t *testing.T) {
	t.Parallel()
	g := everything(t)
	var out bytes.Buffer
	_, err := activity.Export(t.Context(), g.s, &out)
	require.NoError(t, err)
	all := lines(out.String())
	cat := func(parts ...string) string { return strings.Join(parts, "\n") }
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":       {"", "line 1: the export ends without its last line"},
		"no JSON":       {"hello", "line 1: it is no line of an export"},
		"no head":       {cat(all[1:]...), "line 1: the first line is no head of an export"},
		"newer":         {strings.Replace(all[0], `"version":2`, `"version":3`, 1), "line 1: the export has version 3, and this version reads up to 2"},
		"cut":           {cat(all[:len(all)-1]...), fmt.Sprintf("line %d: the export ends without its last line, so part of it is missing", len(all))},
		"line missing":  {cat(all[0], cat(all[2:]...)), "the export says that it has"},
		"more":          {cat(cat(all...), all[1]), "something follows the end of the export"},
		"unknown field": {cat(all[0], `{"surprise":1}`), "line 2: it is no line of an export"},
		"no record":     {cat(all[0], `{}`), "line 2: the line has neither"},
		"bad record":    {cat(all[0], `{"out":{"sequence":"x"}}`), "line 2: the record does not decode"},
		"no attempt":    {cat(all[0], `{"out":{"sequence":"1"}}`), "line 2: operation 1: it has no attempt"},
		"no number":     {cat(all[0], `{"in":{"aliases":[{"message_id":"m"}]}}`), "line 2: the record has no sequence"},
		"no key":        {cat(all[0], `{"data":{"key":"","value":""}}`), `line 2: data "" has a key or a value that no agent could have written`},
		"early frame":   {cat(all[0], `{"frame":{"run":1,"number":1,"frame":{}}}`), "line 2: a frame stands in front of every record"},
		"bad class": {cat(all[0], `{"in":{"sequence":"1","finished":"1","aliases":[{"message_id":"m"}]},"kept":{"for":"keyed","bytes":1,"at_ns":1}}`),
			`line 2: received message 1 is kept for "keyed"`},
	} {
		_, err := activity.Import(t.Context(), store.NewMemory(), strings.NewReader(tc.text), g.now, func(string) {})
		require.ErrorContains(t, err, tc.want, name)
	}
	_, err = activity.Import(t.Context(), g.s, strings.NewReader(out.String()), g.now, func(string) {})
	require.ErrorContains(t, err, "the store is not empty")
}

// TestRebuildOfPrimaries makes everything anew from what Primary keeps.
func TestRebuildOfPrimaries(t *testing.T) {
	t.Parallel()
	g := everything(t)
	was := g.picture()
	kept := map[string]string{}
	for key, value := range pairs(t, g.s) {
		if activity.Primary([]byte(key)) {
			kept[key] = value
		}
	}
	require.Less(t, len(kept), len(pairs(t, g.s))-10)
	s := memoryOf(t, kept)
	require.NoError(t, activity.Rebuild(t.Context(), s, g.now, func(text string) { t.Error(text) }))
	require.Empty(t, problems(t, s))
	other := &ground{tester: t, ctx: t.Context(), now: g.now, cfg: g.cfg, s: s}
	other.start()
	require.Equal(t, was, other.picture())
}

// TestRebuildAfterLosses takes every entry away in turn, and every pair of neighbours: a sound buffer comes of the rest, and
// whatever is lost with it is said.
func TestRebuildAfterLosses(t *testing.T) {
	t.Parallel()
	g := everything(t)
	all := pairs(t, g.s)
	for key, value := range all {
		for _, change := range []func(m map[string]string){
			func(m map[string]string) { delete(m, key) },
			func(m map[string]string) { m[key] = "\xff" },
			func(m map[string]string) { m[key] = value[:len(value)/2] },
			func(m map[string]string) {
				switch key[:2] { // an old place of it is back
				case "od":
					m["oa"+key[2:]] = all["oa\x00\x00\x00\x00\x00\x00\x00\x01"]
				case "id":
					m["ia"+key[2:]] = value
				}
			},
		} {
			other := map[string]string{}
			for k, v := range all {
				other[k] = v
			}
			change(other)
			s := memoryOf(t, other)
			said := 0
			require.NoError(t, activity.Rebuild(t.Context(), s, g.now, func(string) { said++ }))
			require.Empty(t, problems(t, s), activity.DescribeKey([]byte(key)))
			_, err := activity.Open(t.Context(), s, g.cfg)
			require.NoError(t, err)
			sum, err := activity.Check(t.Context(), s, func(*store.DamagedError) {})
			require.NoError(t, err)
			if sum.Out+sum.In < 14 {
				require.Positive(t, said+bytesOnly(key, other), activity.DescribeKey([]byte(key)))
			}
		}
	}
}

// bytesOnly is 1 where a whole record went, of which nothing is left to tell of.
func bytesOnly(key string, m map[string]string) int {
	if _, there := m[key]; !there {
		return 1
	}
	return 0
}

func TestRebuildEndsWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	g := memoryGround(t, activity.Config{})
	rec, _ := g.send(wantsReply)
	_, in := g.receive(g.arrival("token", 0))
	all := pairs(t, g.s)
	for key := range all {
		if key[:2] == "ob" || key[:2] == "ib" {
			delete(all, key)
		}
	}
	s := memoryOf(t, all)
	var said []string
	require.NoError(t, activity.Rebuild(t.Context(), s, g.now, func(text string) { said = append(said, text) }))
	assert.Equal(t, []string{
		"operation 1 has failed: its payload is lost, and it cannot be sent any more",
		"received message 1 is dropped: its payload is lost, and it cannot run",
	}, said)
	other := &ground{tester: t, ctx: t.Context(), now: g.now, cfg: g.cfg, s: s}
	other.start()
	got := other.outNow(rec.GetSequence())
	assert.Equal(t, "payload_lost: what was sent of it is unknown", got.GetOutcome().GetNote())
	assert.True(t, activity.Record{Out: got}.FailedUnhandled())
	_, err := other.In(in.GetSequence())
	require.ErrorIs(t, err, activity.ErrUnknown)
	// Its sender's next attempt is a new message.
	v, _ := other.receive(g.arrival("token", 1))
	assert.Equal(t, activity.New, v)
	next, _ := other.send()
	assert.Greater(t, next.GetSequence(), rec.GetSequence())
}

package activity_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// tester is a *testing.T, or one of rapid's sequences.
type tester interface {
	rapid.TB
	Context() context.Context
	Cleanup(f func())
}

// ground is a buffer on a store that can be opened again.
type ground struct {
	tester
	*activity.Buffer
	ctx context.Context
	now time.Time
	cfg activity.Config
	s   store.Store
	// open opens the store again, as a new process would.
	open func(store.Store) store.Store
	// wrap, when set, stands between buffer and store.
	wrap func(store.Store) store.Store
	ids  int
}

func memoryGround(t *testing.T, cfg activity.Config) *ground {
	t.Helper()
	g := newGround(t, cfg)
	g.s = store.NewMemory()
	g.open = func(s store.Store) store.Store { return s.(*store.Memory).Reopen() }
	g.start()
	return g
}

func pebbleGround(t *testing.T, cfg activity.Config) *ground {
	t.Helper()
	return pebbleOn(t, t.TempDir(), pebble.Options{}, cfg)
}

func pebbleOn(t tester, dir string, o pebble.Options, cfg activity.Config) *ground {
	t.Helper()
	g := newGround(t, cfg)
	o.Logger = slog.New(slog.DiscardHandler)
	open := func() store.Store {
		db, err := pebble.Open(dir, o)
		require.NoError(t, err)
		return db
	}
	g.s = open()
	g.open = func(s store.Store) store.Store {
		require.NoError(t, s.Close())
		return open()
	}
	t.Cleanup(func() { assert.NoError(t, g.s.Close()) })
	g.start()
	return g
}

func newGround(t tester, cfg activity.Config) *ground {
	g := &ground{tester: t, ctx: t.Context(), now: start, cfg: cfg}
	g.cfg.Now = func() time.Time { return g.now }
	if g.cfg.Jitter == nil {
		g.cfg.Jitter = func() float64 { return 1 }
	}
	if g.cfg.Logger == nil {
		g.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return g
}

func (g *ground) start() {
	g.Helper()
	s := g.s
	if g.wrap != nil {
		s = g.wrap(s)
	}
	b, err := activity.Open(g.ctx, s, g.cfg)
	require.NoError(g, err)
	g.Buffer = b
}

// reopen opens store and buffer again and checks that they tell the same as before.
func (g *ground) reopen() {
	g.Helper()
	require.NoError(g, g.Settle(g.ctx))
	was := g.picture()
	g.s = g.open(g.s)
	g.start()
	require.Equal(g, was, g.picture(), "a restart changes nothing")
	g.consistent()
}

// consistent checks that what the store holds contradicts itself nowhere.
func (g *ground) consistent() {
	g.Helper()
	_, err := activity.Check(g.ctx, g.s, func(d *store.DamagedError) { g.Errorf("%s: %v", activity.DescribeKey(d.Key), d.Err) })
	require.NoError(g, err)
}

// picture is everything that a buffer tells, as text.
func (g *ground) picture() []string {
	g.Helper()
	lines := []string{fmt.Sprintf("%+v", g.Stats())}
	add := func(what string, m proto.Message) {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		require.NoError(g, err)
		lines = append(lines, fmt.Sprintf("%s %x", what, b))
	}
	for _, r := range g.OpenOut() {
		add("open out", r)
		s, err := g.OutStream(r.GetSequence())
		require.NoError(g, err)
		add("frames out", s)
	}
	for _, r := range g.OpenIn() {
		add("open in", r)
		s, err := g.InStream(r.GetSequence())
		require.NoError(g, err)
		add("frames in", s)
	}
	for _, r := range g.OwingIn() {
		add("owing", r)
	}
	recs, err := g.Recent(1 << 20)
	require.NoError(g, err)
	for _, r := range recs {
		if r.Out != nil {
			add("out", r.Out)
		} else {
			add("in", r.In)
		}
	}
	return lines
}

// each runs a test on both engines, without restarts and with one after each step.
func each(t *testing.T, cfg activity.Config, fn func(t *testing.T, g *ground, step func())) {
	t.Helper()
	for name, make := range map[string]func(*testing.T, activity.Config) *ground{"memory": memoryGround, "pebble": pebbleGround} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/restarts=%t", name, restart), func(t *testing.T) {
				t.Parallel()
				g := make(t, cfg)
				fn(t, g, func() {
					if restart {
						g.reopen()
					}
				})
				g.reopen()
			})
		}
	}
}

func (g *ground) id(prefix string) string {
	g.ids++
	return fmt.Sprintf("%s-%d", prefix, g.ids)
}

func (g *ground) newID() string { return g.id("own") }

// draft is an operation with a policy of three attempts, waits of 1, 2, 4 … 8 s, and a deadline in an hour.
func (g *ground) draft(change ...func(*storagepb.OutRecord)) activity.Draft {
	rec := &storagepb.OutRecord{
		Token: g.id("token"), KeyKind: storagepb.KeyKind_KEY_KIND_CALL, PayloadHash: []byte("h1"), To: "agent:peer",
		Class: transportpb.Class_CLASS_WORK, Exchange: "a.S/M", MessageType: commonpb.MessageType_DATA, CorrelationId: g.id("talk"),
		Deadline: timestamppb.New(g.now.Add(time.Hour)),
		Retry: &storagepb.RetryPolicy{
			MaxAttempts: 3, InitialBackoffNs: int64(time.Second), MaxBackoffNs: int64(8 * time.Second), Multiplier: 2,
			Codes: []commonpb.ErrorCode{commonpb.ErrorCode_BUFFER_FULL, commonpb.ErrorCode_INTERNAL_ERROR, commonpb.ErrorCode_AGENT_UNAVAILABLE},
		},
	}
	for _, c := range change {
		c(rec)
	}
	return activity.Draft{
		Record: rec, Body: &storagepb.Body{ContentType: "application/protobuf", Payload: []byte("request")}, MessageID: g.id("m"),
	}
}

func wantsReply(r *storagepb.OutRecord) { r.WantsReply = true }

// send records an operation and returns it with the id of its attempt.
func (g *ground) send(change ...func(*storagepb.OutRecord)) (*storagepb.OutRecord, string) {
	g.Helper()
	d := g.draft(change...)
	rec, existed, err := g.RecordOut(g.ctx, d)
	require.NoError(g, err)
	require.False(g, existed)
	return rec, d.MessageID
}

func (g *ground) ack(id string, s ack.Stage, c ack.Code, note string) activity.OutChange {
	g.Helper()
	change, err := g.AckOut(g.ctx, ack.Ack{ForMessageID: id, Stage: s, Code: c, Note: note}, "peer")
	require.NoError(g, err)
	return change
}

func (g *ground) attempt(seq uint64) string {
	g.Helper()
	id := g.id("m")
	_, err := g.AttemptOut(g.ctx, seq, id)
	require.NoError(g, err)
	return id
}

func (g *ground) outNow(seq uint64) *storagepb.OutRecord {
	g.Helper()
	rec, err := g.Out(seq)
	require.NoError(g, err)
	return rec
}

func body(text string) *storagepb.Body {
	return &storagepb.Body{ContentType: "application/protobuf", Payload: []byte(text)}
}

func outcome(s ack.Stage, c ack.Code, note string) *storagepb.Outcome {
	return &storagepb.Outcome{Stage: commonpb.AckStage(s), Code: commonpb.ErrorCode(c), Note: note}
}

// arrival is a message with a token from agent "producer".
func (g *ground) arrival(token string, retry uint32) activity.Arrival {
	return activity.Arrival{
		Envelope: &commonpb.Envelope{
			MessageId: g.id("r"), IdempotencyToken: token, ProducerId: "producer", CorrelationId: "talk", RetryCount: retry,
			SequenceNumber: 9, MessageType: commonpb.MessageType_DATA, ContentType: "application/protobuf", ContentLength: 4,
			Payload: []byte("work"), TtlMs: 500, RepoId: "repo", WorktreeId: "tree", ParentCorrelationId: "parent",
		},
		To: "agent:me", Class: transportpb.Class_CLASS_WORK, RouterStoreID: "router", RouterSeq: 3, Exchange: "a.S/M", Traceparent: "tp",
	}
}

func (g *ground) receive(a activity.Arrival) (activity.Verdict, *storagepb.InRecord) {
	g.Helper()
	v, rec, err := g.RecordIn(g.ctx, a)
	require.NoError(g, err)
	return v, rec
}

func (g *ground) inNow(seq uint64) *storagepb.InRecord {
	g.Helper()
	rec, err := g.In(seq)
	require.NoError(g, err)
	return rec
}

func (g *ground) finish(seq uint64, s ack.Stage, c ack.Code, note string) *storagepb.InRecord {
	g.Helper()
	rec, err := g.FinishIn(g.ctx, seq, activity.Ending{Outcome: outcome(s, c, note), NewID: g.newID})
	require.NoError(g, err)
	return rec
}

func sequences[R interface{ GetSequence() uint64 }](recs []R) []uint64 {
	out := make([]uint64, 0, len(recs))
	for _, r := range recs {
		out = append(out, r.GetSequence())
	}
	return out
}

func (g *ground) unhandled(exchange string) []uint64 {
	g.Helper()
	var recs []*storagepb.OutRecord
	require.NoError(g, g.UnhandledOut(exchange, func(r *storagepb.OutRecord) error {
		recs = append(recs, r)
		return nil
	}))
	return sequences(slices.Clip(recs))
}

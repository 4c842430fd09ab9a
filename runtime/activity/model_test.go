package activity_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// model says in the plainest way what a buffer must answer.
type model struct {
	g     *ground
	rt    *rapid.T
	steps int
	// opened is when the buffer was opened.
	opened time.Time
	outs   []*modelOut
	ins    map[string]*modelIn
}

type modelOut struct {
	seq                    uint64
	token, to, talk        string
	kind                   storagepb.KeyKind
	wants, replied         bool
	done, handled, waiting bool // waiting: for its next attempt
	outcome                ack.Stage
	code                   ack.Code
	ended                  time.Time
	attempts               []modelAttempt
	lates                  map[string]bool
	deadline               time.Time
	touched                time.Time // when it last changed
	gone                   bool      // removed by Prune
}

type modelAttempt struct {
	id    string
	stage ack.Stage
	code  ack.Code
}

type modelIn struct {
	seq     uint64
	ids     []string
	retries []uint32
	// owed are the ids that get the next outcome.
	owed    []string
	done    bool
	outcome ack.Stage
	code    ack.Code
	runs    uint32
	// deferred: for its answer; next: when it runs again.
	deferred bool
	next     time.Time
	owing    bool // it has answers that were not sent
	ended    time.Time
	gone     bool // removed by Prune
}

// TestSequences runs sequences of changes against a buffer and a plain model, and wants the same answers. Each of its parts
// runs -rapid.checks (or RAPID_CHECKS; 100) of them. What fails is shrunk, and told with what repeats it.
func TestSequences(t *testing.T) {
	cfg := activity.Config{MaxOut: 12, MaxIn: 6, DedupWindow: window, KeepAge: keep, InKeep: keepIn}
	for _, engine := range []struct {
		name  string
		parts int
		open  func(t *rapid.T) *ground
	}{
		{"Lossy", 10, func(t *rapid.T) *ground { g, _ := lossyGround(t, cfg); return g }},
		{"Pebble", 1, func(t *rapid.T) *ground {
			return pebbleOn(t, "buffer", pebble.Options{Profile: pebble.Tiny, FS: vfs.NewMem()}, cfg)
		}},
	} {
		for part := range engine.parts {
			t.Run(fmt.Sprint(engine.name, "/Part", part+1), func(t *testing.T) {
				t.Parallel()
				ran, steps := 0, 0
				rapid.Check(t, func(t *rapid.T) {
					m := &model{rt: t, g: engine.open(t), ins: map[string]*modelIn{}}
					for range 3 {
						t.Repeat(map[string]func(*rapid.T){"step": m.step})
						m.restart()
					}
					ran, steps = ran+1, steps+m.steps
				})
				t.Logf("%d sequences of %d steps in all", ran, steps)
			})
		}
	}
}

// The bounds of retention in the sequences, which last longer than each of them.
const (
	window = 40 * time.Minute
	keep   = 30 * time.Minute
	keepIn = 50 * time.Minute
)

// restart opens the buffer again after a clean end, or after the power has failed, and compares everything.
func (m *model) restart() {
	if l, lossy := m.g.s.(*lossy); lossy && m.below(3, "0 for a clean end") > 0 {
		m.g.s = l.crash(m.below(4, "writes that came through unsynced"))
		m.g.start()
		m.crashed()
	} else {
		m.g.reopen()
	}
	m.opened = m.g.now
	m.check()
}

// crashed looks at what is left after the loss of power. The model knows of no step that is not durable, but for stages below
// the terminal ones, handled results and what was pruned, which are read back.
func (m *model) crashed() {
	for _, o := range m.outs {
		if o.gone {
			_, err := m.g.Out(o.seq)
			o.gone = errors.Is(err, activity.ErrUnknown)
		}
		if o.gone {
			continue
		}
		rec := m.g.outNow(o.seq)
		for n, a := range rec.GetAttempts() {
			if !o.attempts[n].stage.Terminal() {
				require.LessOrEqual(m.g, ack.Stage(a.GetStage()), o.attempts[n].stage)
				o.attempts[n].stage = ack.Stage(a.GetStage())
			}
		}
		require.True(m.g, o.handled || !rec.GetHandled())
		o.handled = rec.GetHandled()
	}
	for token, in := range m.ins {
		if in.gone {
			_, err := m.g.InByToken("producer", "agent:me", token)
			in.gone = errors.Is(err, activity.ErrUnknown)
		}
	}
}

// below draws a number under n. What fails shrinks towards 0.
func (m *model) below(n int, what string) int { return rapid.IntRange(0, n-1).Draw(m.rt, what) }

func (m *model) step(*rapid.T) {
	m.steps++
	m.g.now = m.g.now.Add(time.Duration(m.below(120, "seconds that pass")) * time.Second)
	switch n := 10*m.below(10, "step, tens") + m.below(10, "step, ones"); {
	case n < 20:
		m.record()
	case n < 48:
		m.acknowledge()
	case n < 56:
		m.attempt()
	case n < 63:
		m.reply()
	case n < 66:
		m.finish()
	case n < 72:
		m.handled()
	case n < 84:
		m.receive()
	case n < 92:
		m.end()
	case n < 94:
		m.retry()
	case n < 96:
		m.deferAnswer()
	case n < 98:
		m.prune()
	default:
		m.restart()
	}
}

// pick draws an operation that is kept, mostly a recent one.
func (m *model) pick() *modelOut {
	var kept []*modelOut
	for _, o := range m.outs {
		if !o.gone {
			kept = append(kept, o)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	o := kept[len(kept)-1-m.below(len(kept), "operation, from the end")]
	o.touched = m.g.now
	return o
}

// active counts the operations that have not ended.
func (m *model) active() (n int) {
	for _, o := range m.outs {
		if !o.done {
			n++
		}
	}
	return n
}

// full wants a refusal for want of room.
func (m *model) full(err error) { require.ErrorIs(m.g, err, &ack.Error{Code: ack.BufferFull}) }

func (m *model) record() {
	kinds := []storagepb.KeyKind{call, content, caller, derived}
	kind := kinds[m.below(4, "kind of key")]
	o := &modelOut{
		kind: kind, to: fmt.Sprintf("agent:%d", m.below(2, "address")), talk: fmt.Sprintf("talk-%d", m.below(4, "conversation")),
		token: fmt.Sprintf("key-%v-%d", kind, m.below(5, "key")), wants: m.below(2, "1 for a reply") == 1, lates: map[string]bool{},
		deadline: m.g.now.Add(time.Hour),
	}
	if kind == call {
		o.token = m.g.id("call")
	}
	d := m.g.draft(func(r *storagepb.OutRecord) {
		r.Token, r.To, r.CorrelationId, r.KeyKind, r.WantsReply = o.token, o.to, o.talk, kind, o.wants
	})
	var same *modelOut
	for _, p := range m.outs {
		inWindow := m.g.now.Sub(p.ended) < window || kind == derived
		if p.token == o.token && p.to == o.to && !p.gone && (!p.done || inWindow) {
			same = p
		}
	}
	rec, existed, err := m.g.RecordOut(m.g.ctx, d)
	if same == nil && m.active() >= m.g.cfg.MaxOut {
		m.full(err)
		return
	}
	require.NoError(m.g, err)
	require.Equal(m.g, same != nil, existed)
	if existed {
		require.Equal(m.g, same.seq, rec.GetSequence())
		return
	}
	if len(m.outs) > 0 {
		require.Greater(m.g, rec.GetSequence(), m.outs[len(m.outs)-1].seq)
	}
	o.seq, o.attempts = rec.GetSequence(), []modelAttempt{{id: d.MessageID}}
	o.touched = m.g.now
	m.outs = append(m.outs, o)
}

func (m *model) attempt() {
	o := m.pick()
	if o == nil {
		return
	}
	id := m.g.id("m")
	_, err := m.g.AttemptOut(m.g.ctx, o.seq, id)
	if o.outcome != 0 {
		require.ErrorIs(m.g, err, activity.ErrFinished)
		return
	}
	require.NoError(m.g, err)
	o.attempts, o.waiting = append(o.attempts, modelAttempt{id: id}), false
}

func (o *modelOut) open() bool {
	return slices.ContainsFunc(o.attempts, func(a modelAttempt) bool { return !a.stage.Terminal() })
}

func (m *model) acknowledge() {
	o := m.pick()
	if o == nil {
		return
	}
	n := m.below(len(o.attempts), "attempt")
	a := &o.attempts[n]
	stage := ack.Stage(1 + m.below(6, "stage, less one"))
	code := ack.NoCode
	if stage > ack.Fulfilled {
		code = []ack.Code{ack.BufferFull, ack.InternalError, ack.ValidationError}[m.below(3, "code")]
	}
	c := m.g.ack(a.id, stage, code, "")
	got := [5]bool{c.OutcomeSet, c.Finished, c.Retry, c.Late, c.Duplicate}
	require.Equal(m.g, m.acked(o, n, stage, code), got, "operation %d, attempt %d, %v %v", o.seq, n, stage, code)
}

// acked returns what an acknowledgement sets, and does it in the model.
func (m *model) acked(o *modelOut, n int, stage ack.Stage, code ack.Code) (want [5]bool) {
	outcomeSet, finished, retry, late, duplicate := &want[0], &want[1], &want[2], &want[3], &want[4]
	a := &o.attempts[n]
	if !stage.Terminal() {
		if *duplicate = o.done || stage <= a.stage || a.stage.Terminal(); !*duplicate {
			a.stage = stage
		}
		return want
	}
	closed := !a.stage.Terminal()
	known := !closed && a.stage == stage && a.code == code
	if closed {
		a.stage, a.code = stage, code
	}
	mark := fmt.Sprint(a.id, stage, code)
	set := func() {
		o.outcome, o.code, o.waiting, *outcomeSet = stage, code, false, true
		if o.done = stage != ack.Fulfilled || !o.wants; o.done {
			*finished, o.ended = true, m.g.now
		} else {
			o.ended = m.g.now
		}
	}
	contradicts := func() {
		*duplicate = o.outcome == stage && o.code == code || o.lates[mark]
		*late = !*duplicate
		if *late && len(o.lates) < 16 {
			o.lates[mark] = true
		}
	}
	retryable := code == ack.BufferFull || code == ack.InternalError
	left := len(o.attempts) < 3 && m.g.now.Before(o.deadline)
	switch {
	case known:
		*duplicate = true
	case o.outcome != 0:
		contradicts()
	case stage == ack.Fulfilled:
		set()
	case !closed:
		contradicts()
	case retryable && (left || o.open()):
		if *retry = left && n == len(o.attempts)-1; *retry {
			o.waiting = true
		}
	default:
		set()
	}
	return want
}

func (m *model) reply() {
	o := m.pick()
	if o == nil || o.done || len(m.sharing(o)) > 1 {
		return
	}
	c, err := m.g.reply(o.token, o.talk, m.g.id("reply"), "answer")
	require.NoError(m.g, err)
	require.Equal(m.g, o.seq, c.Record.GetSequence())
	require.True(m.g, c.Finished)
	require.Equal(m.g, o.outcome == 0, c.OutcomeSet)
	if o.outcome == 0 {
		o.outcome, o.code, o.ended = ack.Fulfilled, 0, m.g.now
		for n := range slices.Backward(o.attempts) {
			if a := &o.attempts[n]; !a.stage.Terminal() {
				a.stage, a.code = ack.Fulfilled, 0
				break
			}
		}
	}
	o.done, o.replied, o.waiting = true, true, false
}

// sharing returns the open operations with the token of o.
func (m *model) sharing(o *modelOut) (out []*modelOut) {
	for _, p := range m.outs {
		if p.token == o.token && !p.done {
			out = append(out, p)
		}
	}
	return out
}

func (m *model) finish() {
	o := m.pick()
	if o == nil || o.done {
		return
	}
	c, err := m.g.FinishOut(m.g.ctx, o.seq, outcome(ack.TimedOut, ack.AckTimeout, ""))
	require.NoError(m.g, err)
	require.True(m.g, c.Finished)
	require.Equal(m.g, o.outcome == 0, c.OutcomeSet)
	for n := range o.attempts {
		if a := &o.attempts[n]; !a.stage.Terminal() {
			a.stage, a.code = ack.TimedOut, ack.AckTimeout
		}
	}
	if o.outcome == 0 {
		o.outcome, o.code, o.ended = ack.TimedOut, ack.AckTimeout, m.g.now
	}
	o.done, o.waiting = true, false
}

func (m *model) handled() {
	o := m.pick()
	if o == nil {
		return
	}
	err := m.g.HandledOut(o.seq)
	if !o.done {
		require.ErrorIs(m.g, err, activity.ErrOpen)
		return
	}
	require.NoError(m.g, err)
	o.handled = true
}

// prune lets what has had its time go, and nothing else.
func (m *model) prune() {
	r := m.g.prune()
	outs, ins := 0, 0
	since := func(t time.Time) time.Duration { return m.g.now.Sub(t) }
	for _, o := range m.outs {
		if o.gone {
			continue
		}
		_, err := m.g.Out(o.seq)
		if o.gone = errors.Is(err, activity.ErrUnknown); !o.gone {
			kept := !o.done || since(o.touched) < keep+window || since(m.opened) < keep
			require.True(m.g, kept, "operation %d stays", o.seq)
			continue
		}
		outs++
		least := keep
		if o.kind == content || o.kind == caller {
			least = window
		}
		require.True(m.g, o.done, "operation %d went, and is open", o.seq)
		require.GreaterOrEqual(m.g, since(o.ended), least, "operation %d went before its time", o.seq)
	}
	for token, in := range m.ins {
		if in.gone {
			continue
		}
		_, err := m.g.InByToken("producer", "agent:me", token)
		in.gone = errors.Is(err, activity.ErrUnknown)
		require.Equal(m.g, in.done && !in.owing && since(in.ended) >= keepIn, in.gone, "received message %d", in.seq)
		if in.gone {
			ins++
		}
	}
	require.Equal(m.g, outs, r.Out)
	require.Equal(m.g, ins, r.In)
}

// check compares everything.
func (m *model) check() {
	var open, unhandled []uint64
	for _, o := range m.outs {
		if o.gone {
			continue
		}
		rec := m.g.outNow(o.seq)
		require.Equal(m.g, o.done, rec.GetFinished() != 0)
		require.Equal(m.g, o.outcome, ack.Stage(rec.GetOutcome().GetStage()))
		require.Equal(m.g, o.code, ack.Code(rec.GetOutcome().GetCode()))
		require.Equal(m.g, o.replied, rec.GetHasReply())
		require.Equal(m.g, o.handled, rec.GetHandled())
		require.Equal(m.g, o.waiting, rec.GetNextAttemptAt() != nil)
		require.Len(m.g, rec.GetLate(), len(o.lates))
		require.Len(m.g, rec.GetAttempts(), len(o.attempts))
		for n, a := range rec.GetAttempts() {
			require.Equal(m.g, o.attempts[n], modelAttempt{a.GetMessageId(), ack.Stage(a.GetStage()), ack.Code(a.GetCode())})
			found, err := m.g.OutByMessageID(a.GetMessageId())
			require.NoError(m.g, err)
			require.Equal(m.g, o.seq, found.GetSequence())
		}
		switch {
		case !o.done:
			open = append(open, o.seq)
		case !o.handled:
			unhandled = append(unhandled, o.seq)
		}
	}
	require.Equal(m.g, open, slices.Clip(append([]uint64(nil), sequences(m.g.OpenOut())...)))
	if len(open) > 0 {
		require.Equal(m.g, open[0], m.g.LowestOpenOut())
	}
	got := m.g.unhandled("a.S/M")
	slices.Sort(got)
	require.Equal(m.g, unhandled, append([]uint64(nil), got...))
	active, finished := 0, 0
	for token, in := range m.ins {
		if in.gone {
			continue
		}
		rec, err := m.g.InByToken("producer", "agent:me", token)
		require.NoError(m.g, err)
		require.Equal(m.g, in.seq, rec.GetSequence())
		require.Equal(m.g, in.done, rec.GetFinished() != 0)
		require.Len(m.g, rec.GetAliases(), len(in.ids))
		if in.done {
			finished++
			continue
		}
		active++
		require.Equal(m.g, in.deferred, rec.GetDeferred())
		require.Equal(m.g, !in.next.IsZero(), rec.GetNextRunAt() != nil)
		if rec.GetNextRunAt() != nil {
			require.Equal(m.g, in.next.UTC(), rec.GetNextRunAt().AsTime())
		}
	}
	require.Len(m.g, m.g.OpenIn(), active)
	require.Equal(m.g, active, m.g.Stats().InActive)
	require.Equal(m.g, finished, m.g.Stats().InFinished)
	require.Equal(m.g, len(unhandled), m.g.Stats().OutUnhandled)
}

package activity_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

// model says in the plainest way what a buffer must answer. Nothing in it is ever pruned.
type model struct {
	g    *ground
	r    *rand.Rand
	outs []*modelOut
	ins  map[string]*modelIn
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
}

func TestAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		for _, kind := range []string{"crash", "pebble"} {
			t.Run(fmt.Sprintf("%s/seed=%d", kind, seed), func(t *testing.T) {
				t.Parallel()
				m := &model{r: rand.New(rand.NewPCG(seed, 7)), ins: map[string]*modelIn{}}
				steps := 3000
				cfg := activity.Config{DedupWindow: time.Hour, KeepAge: 1 << 60, InKeep: 1 << 60}
				if kind == "pebble" {
					m.g, steps = pebbleGround(t, cfg), 500
				} else {
					m.g, _ = lossyGround(t, cfg)
				}
				for n := range steps {
					m.step()
					if m.r.IntN(50) == 0 {
						if kind == "pebble" {
							m.g.reopen()
						} else {
							m.crashed()
						}
						m.check()
					}
					if t.Failed() {
						t.Fatalf("after step %d", n)
					}
				}
				m.check()
			})
		}
	}
}

// crashed opens what is left after the loss of power. The model knows of no step that is not durable, but for stages
// below the terminal ones and handled results, which are read back.
func (m *model) crashed() {
	m.g.s = m.g.open(m.g.s)
	m.g.start()
	for _, o := range m.outs {
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
}

func (m *model) step() {
	m.g.now = m.g.now.Add(time.Duration(m.r.IntN(int(2 * time.Minute))))
	switch n := m.r.IntN(100); {
	case n < 20:
		m.record()
	case n < 50:
		m.acknowledge()
	case n < 58:
		m.attempt()
	case n < 66:
		m.reply()
	case n < 70:
		m.finish()
	case n < 75:
		m.handled()
	case n < 90:
		m.receive()
	case n < 98:
		m.end()
	default:
		require.Zero(m.g, m.g.prune().Out)
	}
}

// pick returns an operation, mostly a recent one.
func (m *model) pick() *modelOut {
	if len(m.outs) == 0 {
		return nil
	}
	return m.outs[max(0, len(m.outs)-1-int(m.r.ExpFloat64()*6))]
}

func (m *model) record() {
	kinds := []storagepb.KeyKind{call, content, caller, derived}
	kind := kinds[m.r.IntN(4)]
	o := &modelOut{
		kind: kind, to: fmt.Sprintf("agent:%d", m.r.IntN(2)), talk: fmt.Sprintf("talk-%d", m.r.IntN(4)),
		token: fmt.Sprintf("key-%v-%d", kind, m.r.IntN(5)), wants: m.r.IntN(2) == 0, lates: map[string]bool{},
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
		inWindow := m.g.now.Sub(p.ended) < time.Hour || kind == derived
		if p.token == o.token && p.to == o.to && (!p.done || inWindow) {
			same = p
		}
	}
	rec, existed, err := m.g.RecordOut(m.g.ctx, d)
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
	n := m.r.IntN(len(o.attempts))
	a := &o.attempts[n]
	stage := ack.Stage(1 + m.r.IntN(6))
	code := ack.NoCode
	if stage > ack.Fulfilled {
		code = []ack.Code{ack.BufferFull, ack.InternalError, ack.ValidationError}[m.r.IntN(3)]
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
		if len(o.lates) < 16 {
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

func (m *model) receive() {
	token := fmt.Sprintf("in-%d", m.r.IntN(12))
	in := m.ins[token]
	a := m.g.arrival(token, uint32(m.r.IntN(4)))
	id := a.Envelope.GetMessageId()
	if in != nil && m.r.IntN(3) == 0 {
		id = in.ids[m.r.IntN(len(in.ids))]
		a.Envelope.MessageId = id
	}
	v, rec := m.g.receive(a)
	retry := a.Envelope.GetRetryCount()
	want := activity.New
	switch {
	case in == nil:
		in = &modelIn{}
		m.ins[token] = in
		in.seq = rec.GetSequence()
		in.owed = []string{id}
	case slices.Contains(in.ids, id):
		require.Equal(m.g, activity.Repeated, v)
		return
	case !in.done:
		want, in.owed = activity.Running, append(in.owed, id)
	case in.outcome != ack.Fulfilled && in.code == ack.InternalError && retry > slices.Max(in.retries):
		want, in.owed, in.done = activity.Rerun, []string{id}, false
	default:
		want = activity.Finished
	}
	in.ids, in.retries = append(in.ids, id), append(in.retries, retry)
	if over := len(in.ids) - 64; over > 0 {
		in.ids, in.retries = in.ids[over:], in.retries[over:]
		in.owed = slices.DeleteFunc(in.owed, func(o string) bool { return !slices.Contains(in.ids, o) })
	}
	require.Equal(m.g, want, v)
	require.Equal(m.g, in.seq, rec.GetSequence())
}

func (m *model) end() {
	in := m.ins[fmt.Sprintf("in-%d", m.r.IntN(12))]
	if in == nil {
		return
	}
	stage, code := ack.Fulfilled, ack.NoCode
	if m.r.IntN(3) > 0 {
		stage, code = ack.Failed, []ack.Code{ack.InternalError, ack.ValidationError}[m.r.IntN(2)]
	}
	run, err := m.g.StartIn(m.g.ctx, in.seq, true)
	if in.done {
		require.ErrorIs(m.g, err, activity.ErrFinished)
		_, err = m.g.FinishIn(m.g.ctx, in.seq, activity.Ending{Outcome: outcome(stage, code, ""), NewID: m.g.newID})
		require.ErrorIs(m.g, err, activity.ErrFinished)
		return
	}
	require.NoError(m.g, err)
	in.runs++
	require.Equal(m.g, in.runs, run)
	before := len(m.g.inNow(in.seq).GetOwed())
	rec := m.g.finish(in.seq, stage, code, "")
	var owed []string
	for _, o := range rec.GetOwed()[before:] {
		owed = append(owed, o.GetAckFor())
	}
	require.Equal(m.g, in.owed, owed)
	in.done, in.outcome, in.code, in.owed = true, stage, code, nil
	if m.r.IntN(2) == 0 {
		for _, o := range rec.GetOwed() {
			require.NoError(m.g, m.g.OwedSentIn(in.seq, o.GetMessageId()))
		}
		require.NoError(m.g, m.g.Settle(m.g.ctx))
	}
}

// check compares everything.
func (m *model) check() {
	var open, unhandled []uint64
	for _, o := range m.outs {
		rec := m.g.outNow(o.seq)
		require.Equal(m.g, o.done, rec.GetFinished() != 0)
		require.Equal(m.g, o.outcome, ack.Stage(rec.GetOutcome().GetStage()))
		require.Equal(m.g, o.code, ack.Code(rec.GetOutcome().GetCode()))
		require.Equal(m.g, o.replied, rec.GetHasReply())
		require.Equal(m.g, o.handled, rec.GetHandled())
		require.Equal(m.g, o.waiting, rec.GetNextAttemptAt() != nil)
		require.Len(m.g, rec.GetLate(), len(o.lates)-m.repeats(o))
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
	active := 0
	for token, in := range m.ins {
		rec, err := m.g.InByToken("producer", "agent:me", token)
		require.NoError(m.g, err)
		require.Equal(m.g, in.seq, rec.GetSequence())
		require.Equal(m.g, in.done, rec.GetFinished() != 0)
		require.Len(m.g, rec.GetAliases(), len(in.ids))
		if !in.done {
			active++
		}
	}
	require.Len(m.g, m.g.OpenIn(), active)
	require.Equal(m.g, active, m.g.Stats().InActive)
	require.Equal(m.g, len(m.ins)-active, m.g.Stats().InFinished)
	require.Equal(m.g, len(unhandled), m.g.Stats().OutUnhandled)
}

// repeats counts the marks of o that say the same as its outcome, which are not kept beside it.
func (m *model) repeats(o *modelOut) int {
	n := 0
	for mark := range o.lates {
		for _, a := range o.attempts {
			if mark == fmt.Sprint(a.id, o.outcome, o.code) {
				n++
			}
		}
	}
	return n
}

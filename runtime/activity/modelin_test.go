package activity_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
)

func (m *model) receive() {
	token := fmt.Sprintf("in-%d", m.below(10, "received token"))
	in := m.ins[token]
	a := m.g.arrival(token, uint32(m.below(4, "retry count")))
	id := a.Envelope.GetMessageId()
	if in != nil && !in.gone && m.below(3, "2 for a repeated message") == 2 {
		id = in.ids[m.below(len(in.ids), "message id")]
		a.Envelope.MessageId = id
	}
	v, rec, err := m.g.RecordIn(m.g.ctx, a)
	retry := a.Envelope.GetRetryCount()
	isNew := in == nil || in.gone
	again := !isNew && in.done && !slices.Contains(in.ids, id) && in.outcome != ack.Fulfilled && in.code == ack.InternalError && retry > slices.Max(in.retries)
	if (isNew || again) && m.noRoomIn() {
		m.full(err)
		return
	}
	require.NoError(m.g, err)
	want := activity.New
	switch {
	case isNew:
		in = &modelIn{}
		m.ins[token] = in
		in.seq = rec.GetSequence()
		in.owed = []string{id}
	case slices.Contains(in.ids, id):
		require.Equal(m.g, activity.Repeated, v)
		return
	case !in.done:
		want, in.owed = activity.Running, append(in.owed, id)
	case again:
		want, in.owed, in.done, in.deferred, in.next = activity.Rerun, []string{id}, false, false, time.Time{}
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
	in := m.pickIn()
	if in == nil {
		return
	}
	stage, code := ack.Fulfilled, ack.NoCode
	if m.below(3, "0 for FULFILLED") > 0 {
		stage, code = ack.Failed, []ack.Code{ack.InternalError, ack.ValidationError}[m.below(2, "code")]
	}
	run, err := m.g.StartIn(m.g.ctx, in.seq, true)
	if in.done {
		require.ErrorIs(m.g, err, activity.ErrFinished)
		_, err = m.g.FinishIn(m.g.ctx, in.seq, activity.Ending{Outcome: outcome(stage, code, ""), NewID: m.g.newID})
		require.ErrorIs(m.g, err, activity.ErrFinished)
		return
	}
	require.NoError(m.g, err)
	in.runs, in.next = in.runs+1, time.Time{}
	require.Equal(m.g, in.runs, run)
	before := len(m.g.inNow(in.seq).GetOwed())
	rec := m.g.finish(in.seq, stage, code, "")
	var owed []string
	for _, o := range rec.GetOwed()[before:] {
		owed = append(owed, o.GetAckFor())
	}
	require.Equal(m.g, in.owed, owed)
	in.done, in.outcome, in.code, in.owed, in.owing, in.ended = true, stage, code, nil, true, m.g.now
	if m.below(2, "0 to send what it owes") == 0 {
		for _, o := range rec.GetOwed() {
			require.NoError(m.g, m.g.OwedSentIn(in.seq, o.GetMessageId()))
		}
		require.NoError(m.g, m.g.Settle(m.g.ctx))
		in.owing = false
	}
}

// pickIn draws a received message that is kept.
func (m *model) pickIn() *modelIn {
	if in := m.ins[fmt.Sprintf("in-%d", m.below(10, "received token"))]; in != nil && !in.gone {
		return in
	}
	return nil
}

// noRoomIn tells whether a message that is new, or runs again, is to be refused.
func (m *model) noRoomIn() bool {
	active, owing := 0, 0
	for _, in := range m.ins {
		if !in.gone && !in.done {
			active++
		}
		if !in.gone && in.owing {
			owing++
		}
	}
	return active >= m.g.cfg.MaxIn || owing >= m.g.cfg.MaxIn
}

// takes wants what is to be done with a received message refused when that has ended.
func (in *modelIn) takes(m *model, err error) bool {
	if in.done {
		require.ErrorIs(m.g, err, activity.ErrFinished)
		return false
	}
	require.NoError(m.g, err)
	return true
}

func (m *model) retry() {
	if in := m.pickIn(); in != nil && !in.deferred { // one that waits for its answer does not run
		next := m.g.now.Add(time.Duration(m.below(100, "seconds to the next run")) * time.Second)
		if in.takes(m, m.g.RetryIn(m.g.ctx, in.seq, next)) {
			in.next = next
		}
	}
}

func (m *model) deferAnswer() {
	if in := m.pickIn(); in != nil && in.takes(m, m.g.DeferIn(m.g.ctx, in.seq, nil)) {
		in.deferred, in.next = true, time.Time{}
	}
}

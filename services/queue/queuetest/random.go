package queuetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Sequences runs sequences of transitions against an engine and a plain model, and wants the same answers: the given number
// of parts, each of -rapid.checks (or RAPID_CHECKS; 100) sequences. What fails is shrunk, and told with what repeats it.
func Sequences(t *testing.T, parts int, open Open) {
	for part := range parts {
		t.Run(fmt.Sprint("Part", part+1), func(t *testing.T) {
			t.Parallel()
			ran, steps := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				m := &model{
					world: newWorld(t, open, false),
					rt:    t,
					store: map[string]string{"alice": "s0", "bob": "s0"}, // carol names none
					epoch: map[string]uint64{"alice": 1, "bob": 1},
				}
				m.pass(time.Hour) // an engine opens by the machine's clock, which is never ahead of the sequence's
				for _, agent := range agents {
					m.admit(m.holder(agent), false, queue.Admitted)
				}
				for range 3 {
					t.Repeat(map[string]func(*rapid.T){"": m.check, "step": m.step})
					m.crash()
				}
				m.drain()
				ran, steps = ran+1, steps+m.steps
			})
			t.Logf("%d sequences of %d steps in all", ran, steps)
		})
	}
}

// model knows what the engine should: every operation by its token, and every row in the order of acceptance.
type model struct {
	*world
	rt    *rapid.T
	steps int
	ops   []*operation
	rows  []*modelRow
	dead  int
	owed  int
	store map[string]string
	epoch map[string]uint64
}

type operation struct {
	last     queue.Message
	attempts map[string]uint32
	state    transportpb.Answer_State
	retry    uint32
	stage    ack.Stage
	code     ack.Code
	// custodian and its store, and who had the row last that was given up.
	custodian, custodianStore, lastAgent string
	seen, withdrawn                      bool
	// row waits or is leased; latest is that of the latest attempt, taken the one whose custody was taken last.
	row, latest, taken *modelRow
}

type modelRow struct {
	op         *operation
	message    queue.Message
	address    string
	copy       bool
	copyStore  string
	accepted   time.Time
	deliveries int
	failed     int
	leasedBy   string
	until      time.Time
	last       string
	lastStore  string
	delivery   queue.Delivery
}

func (m *model) holder(agent string) queue.Holder {
	return queue.Holder{Agent: agent, Store: m.store[agent], Epoch: m.epoch[agent], Stream: 1}
}

var agents = [...]string{"alice", "bob", "carol"}

// below draws a number under n. What fails shrinks towards 0.
func (m *model) below(n int, what string) int { return rapid.IntRange(0, n-1).Draw(m.rt, what) }

func (m *model) agent() string { return agents[m.below(len(agents), "agent")] }

// someOp draws an operation, mostly a recent one.
func (m *model) someOp() *operation {
	if len(m.ops) == 0 {
		return nil
	}
	return m.ops[len(m.ops)-1-m.below(len(m.ops), "operation, from the end")]
}

func (m *model) check(*rapid.T) { require.Len(m, m.world.dead(), m.dead) }

func (m *model) step(*rapid.T) {
	m.steps++
	switch n := 10*m.below(10, "step, tens") + m.below(10, "step, ones"); {
	case n < 20:
		m.newWork()
	case n < 32:
		m.ask(false)
	case n < 42:
		m.ask(true)
	case n < 60:
		m.lease()
	case n < 75:
		m.takeCustody()
	case n < 85:
		m.outcome()
	case n < 88:
		m.withdrawSome()
	case n < 91:
		m.releaseAll(m.agent())
	case n < 95:
		m.pass(time.Duration(m.below(11, "half seconds that pass")) * time.Second / 2)
		m.sweep()
		m.expire()
		m.tell()
	case n < 97:
		m.prune() // everything is younger than what it forgets
	case n < 98:
		m.crash()
	default:
		m.replace()
	}
}

func (m *model) newWork() {
	to := []string{toAny, toAlice, toBob, toAny, toCarol}[m.below(5, "to")]
	msg := m.message(to)
	if m.below(3, "2 for a TTL") == 2 {
		msg.Envelope.TtlMs = uint64(1 + 1000*m.below(20, "TTL, seconds"))
	}
	op := &operation{attempts: make(map[string]uint32)}
	if m.enqueue(op, msg, to, m.submit(msg)) {
		m.ops = append(m.ops, op)
	}
}

func (m *model) waiting(addr string) int {
	n := 0
	for _, r := range m.rows {
		if r.address == addr {
			n++
		}
	}
	return n
}

// enqueue wants a new row at addr, or a refusal when it is full.
func (m *model) enqueue(op *operation, msg queue.Message, addr string, got queue.Answer) bool {
	if m.waiting(addr) >= Limits().MaxWork {
		require.Equal(m, refused, got.State)
		return false
	}
	require.Equal(m, isNew, got.State, "%v", got)
	op.last, op.state, op.retry, op.withdrawn = msg, queued, msg.Envelope.GetRetryCount(), false
	op.stage, op.code = ack.None, ack.NoCode
	op.attempts[idOf(msg)] = op.retry
	for _, r := range slices.Clone(m.rows) {
		if r.op == op && r.copy && r.leasedBy == "" {
			m.drop(r)
		}
	}
	op.row = &modelRow{op: op, message: msg, address: addr, accepted: m.now}
	op.latest = op.row
	m.rows = append(m.rows, op.row)
	return true
}

func (m *model) lost(op *operation) bool { return m.store[op.custodian] != op.custodianStore }

func (m *model) ask(next bool) {
	op := m.someOp()
	if op == nil {
		return
	}
	msg := op.last
	if next {
		msg = m.attempt(op.last)
	}
	retry := msg.Envelope.GetRetryCount()
	got := m.submit(msg)
	switch {
	case op.row != nil && op.row.leasedBy != "":
		require.Equal(m, leased, got.State)
	case op.row != nil:
		require.Equal(m, queued, got.State)
	case op.state == delivered && retry > op.retry:
		m.enqueue(op, msg, m.retryAddress(op), got)
		return
	case op.state == delivered && m.lost(op):
		require.Equal(m, lost, got.State)
	case op.state == delivered:
		require.Equal(m, delivered, got.State)
	case retry > op.retry && op.stage != ack.Fulfilled:
		m.enqueue(op, msg, m.retryAddress(op), got)
		return
	default:
		require.Equal(m, done, got.State)
		require.Equal(m, op.stage, got.Stage)
		require.Equal(m, op.code, got.Code)
	}
	op.attempts[idOf(msg)] = retry
	if next && op.row == nil {
		op.last = msg
	}
	if op.row == nil && op.custodian != "" && !m.lost(op) && (op.taken == op.latest || op.stage == ack.Fulfilled) {
		m.copyTo(op, msg)
	}
}

func (m *model) retryAddress(op *operation) string {
	if slices.Contains([]ack.Code{ack.BufferFull, ack.AgentUnavailable, ack.AgentShutdown, ack.Overloaded}, op.code) ||
		op.custodian == "" || m.lost(op) {
		return op.last.To
	}
	return address.Agent(op.custodian).String()
}

func (m *model) copyTo(op *operation, msg queue.Message) {
	to := address.Agent(op.custodian).String()
	for _, r := range m.rows {
		if r.op == op && r.copy {
			return
		}
	}
	if m.waiting(to) < Limits().MaxWork {
		m.rows = append(m.rows, &modelRow{op: op, message: msg, address: to, copy: true, copyStore: op.custodianStore, accepted: m.now})
	}
}

func (m *model) drop(r *modelRow) {
	m.rows = slices.DeleteFunc(m.rows, func(o *modelRow) bool { return o == r })
	if r.op.row == r {
		r.op.row = nil
	}
}

func (r *modelRow) expired(now time.Time) bool {
	ttl := time.Duration(r.message.Envelope.GetTtlMs()) * time.Millisecond
	return ttl > 0 && now.Sub(r.accepted) >= ttl
}

// sweep ends what has run out.
func (m *model) sweep() {
	for _, r := range slices.Clone(m.rows) {
		if r.leasedBy != "" && !r.until.After(m.now) {
			m.failLease(r)
		}
	}
	for _, r := range slices.Clone(m.rows) {
		if r.leasedBy == "" && r.expired(m.now) {
			m.giveUp(r, ack.TTLExpired)
		}
	}
}

// failLease counts a delivery that was not acknowledged.
func (m *model) failLease(r *modelRow) {
	r.leasedBy = ""
	if r.failed++; r.failed >= Limits().DeliveryBudget {
		m.giveUp(r, ack.AgentUnavailable)
	}
}

func (m *model) giveUp(r *modelRow, code ack.Code) {
	m.drop(r)
	if r.copy {
		return
	}
	m.dead++
	m.owed++
	r.op.state, r.op.stage, r.op.code = done, ack.Failed, code
	if r.deliveries > 0 {
		r.op.seen, r.op.lastAgent = true, r.last
	}
}

func (m *model) lease() {
	agent := m.agent()
	most := 1 + m.below(4, "one less than it takes")
	h := m.holder(agent)
	ds := m.request(queue.LeaseRequest{
		Holder: h, Addresses: []string{toAny, "agent:" + agent}, Class: work,
		MaxMessages: most, MaxBytes: 1 << 30, Now: m.now, Until: m.now.Add(leaseTime),
	})
	m.sweep()
	var want []*modelRow
	for _, r := range slices.Clone(m.rows) {
		if len(want) == most {
			break
		}
		if r.leasedBy != "" || r.address != toAny && r.address != "agent:"+agent {
			continue
		}
		if r.copy && r.copyStore != h.Store {
			m.drop(r)
			continue
		}
		want = append(want, r)
	}
	require.Len(m, ds, len(want))
	for i, r := range want {
		r.deliveries++
		r.leasedBy, r.last, r.lastStore, r.until, r.delivery = agent, agent, h.Store, m.now.Add(leaseTime), ds[i]
		require.Equal(m, idOf(r.message), ds[i].Envelope.GetMessageId())
		require.Equal(m, r.message.To, ds[i].To)
		require.Equal(m, r.deliveries, ds[i].Deliveries)
	}
}

func (m *model) takeCustody() {
	var handed []*modelRow
	for _, r := range m.rows {
		if r.deliveries > 0 {
			handed = append(handed, r)
		}
	}
	if len(handed) == 0 {
		return
	}
	r := handed[m.below(len(handed), "row that was handed out")]
	agent := m.agent()
	may := r.last == agent && r.lastStore == m.store[agent]
	m.custody(m.holder(agent), r.delivery, may)
	if !may {
		return
	}
	m.drop(r)
	if !r.copy {
		r.op.taken = r
		r.op.state, r.op.custodian, r.op.custodianStore, r.op.seen, r.op.lastAgent = delivered, agent, m.store[agent], true, agent
	}
	m.custody(m.holder(agent), r.delivery, r.op.custodian == agent)
}

func (m *model) outcome() {
	op := m.someOp()
	if op == nil {
		return
	}
	agent := m.agent()
	id := m.someAttempt(op)
	stage, code := ack.Fulfilled, ack.NoCode
	if n := m.below(4, "0 for FULFILLED"); n > 0 {
		stage, code = ack.Failed, []ack.Code{ack.InternalError, ack.Overloaded, ack.ValidationError}[n-1]
	}
	// A full signal queue is another rule's matter, so it is kept short.
	m.fetchSignals()
	got := m.submit(m.ends(m.holder(agent), id, stage, code))
	entitled := op.custodian == agent || op.lastAgent == agent || op.last.To == "agent:"+agent || op.row != nil && op.row.last == agent
	if !entitled {
		require.Equal(m, refused, got.State)
		require.Equal(m, ack.PermissionDenied, got.Code)
		return
	}
	require.Equal(m, isNew, got.State)
	m.owed++
	retry := op.attempts[id]
	if op.state == done {
		if op.stage == ack.Fulfilled || stage != ack.Fulfilled && retry <= op.retry {
			return
		}
	} else if stage != ack.Fulfilled && retry < op.retry {
		return
	}
	if op.row != nil {
		op.taken = op.row
		m.drop(op.row)
	}
	op.state, op.stage, op.code, op.retry = done, stage, code, max(retry, op.retry)
	op.custodian, op.custodianStore, op.lastAgent, op.seen, op.withdrawn = agent, m.store[agent], agent, true, false
}

// someAttempt draws one of an order that is always the same.
func (m *model) someAttempt(op *operation) string {
	ids := make([]string, 0, len(op.attempts))
	for id := range op.attempts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids[m.below(len(ids), "attempt")]
}

func (m *model) withdrawSome() {
	op := m.someOp()
	if op == nil {
		return
	}
	switch r := op.row; {
	case r == nil && op.withdrawn:
		m.withdraw(op.last, withdrawn)
	case r == nil || r.leasedBy != "":
		m.withdraw(op.last, tooLate)
	default:
		op.withdrawn = !op.seen && r.deliveries == 0
		want := tooLate
		if op.withdrawn {
			want = withdrawn
		}
		if r.deliveries > 0 {
			op.seen, op.lastAgent = true, r.last
		}
		m.withdraw(op.last, want)
		m.drop(r)
		op.state, op.stage, op.code = done, ack.TimedOut, ack.NoCode
	}
}

func (m *model) releaseAll(agent string) {
	m.release(m.holder(agent))
	m.endAll(agent)
}

// endAll ends the leases of an agent's streams. They count where no store counts for itself.
func (m *model) endAll(agent string) {
	for _, r := range slices.Clone(m.rows) {
		switch {
		case r.leasedBy != agent:
		case m.store[agent] == "":
			m.failLease(r)
		default:
			r.leasedBy = ""
		}
	}
}

// crash restarts the engine: every lease has ended, and nobody is to blame.
func (m *model) crash() {
	m.e = m.reopen()
	m.expire()
	m.tell()
	for _, r := range m.rows {
		r.leasedBy = ""
	}
	m.sweep()
}

// tell ends what is in the custody of replaced stores.
func (m *model) tell() {
	for _, op := range m.ops {
		if op.state == delivered && m.lost(op) {
			op.state, op.stage, op.code = done, ack.Failed, ack.AgentUnavailable
			m.owed++
		}
	}
}

// replace lets another instance of an agent speak for it.
func (m *model) replace() {
	agent := m.agent()
	if m.store[agent] == "" {
		return
	}
	if m.below(2, "1 for another store") == 0 {
		m.epoch[agent]++
	} else {
		m.store[agent], m.epoch[agent] = fmt.Sprint("s", m.id()), 1
	}
	m.admit(m.holder(agent), false, queue.Admitted)
	m.endAll(agent)
}

// fetchSignals wants at sam's address every signal that was sent or owed to it.
func (m *model) fetchSignals() {
	ds := m.world.lease(sam(), signal, toSam)
	m.sweep()
	require.Len(m, ds, m.owed)
	for _, d := range ds {
		m.custody(sam(), d, true)
	}
	m.owed = 0
}

// drain wants every row that is left, in order.
func (m *model) drain() {
	m.crash()
	m.fetchSignals()
	for range 1000 {
		if len(m.rows) == 0 {
			return
		}
		m.lease()
		m.takeCustody()
		for _, agent := range agents {
			m.releaseAll(agent)
		}
	}
	require.Empty(m, m.rows)
}

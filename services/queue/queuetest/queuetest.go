// Package queuetest is the conformance suite of queue engines.
package queuetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Open returns an engine with Limits over an empty store, and a function that closes it and opens the same store again,
// as a restarted process does. What has to be closed at the end is closed by t.Cleanup.
type Open func(t TB) (engine queue.Engine, reopen func() queue.Engine)

// TB is what the suite needs of a test: a *testing.T, or a *rapid.T, which is one of many short lives of an engine.
type TB interface {
	rapid.TB
	Context() context.Context
	Cleanup(f func())
}

// Limits are those with which the suite's engines are opened: small ones, so that they are reached.
func Limits() queue.Limits {
	return queue.Limits{
		MaxWork:        8,
		MaxWaiting:     200,
		MaxAgents:      12,
		KeepAgents:     10 * 24 * time.Hour,
		DeliveryBudget: 3,
		Window:         time.Hour,
		KeepUnknown:    25 * time.Hour,
		KeepUnfetched:  24 * time.Hour,
	}
}

// Run runs the suite. Each rule is checked twice: in one life of the engine, and with a restart after each transition.
func Run(t *testing.T, open Open) {
	groups := map[string][]rule{
		"Accept":   acceptRules,
		"Retry":    retryRules,
		"Control":  controlRules,
		"Lease":    leaseRules,
		"Custody":  custodyRules,
		"Outcome":  outcomeRules,
		"Dead":     deadRules,
		"Withdraw": withdrawRules,
		"Admit":    admitRules,
		"Prune":    pruneRules,
		"Inspect":  inspectRules(),
	}
	for group, rules := range groups {
		t.Run(group, func(t *testing.T) {
			for _, r := range rules {
				t.Run(r.name, func(t *testing.T) {
					t.Run("OneLife", func(t *testing.T) { r.check(newWorld(t, open, false)) })
					t.Run("Restarts", func(t *testing.T) { r.check(newWorld(t, open, true)) })
				})
			}
		})
	}
	t.Run("Concurrent", func(t *testing.T) { concurrent(t, open) })
}

type rule struct {
	name  string
	check func(w *world)
}

// world is an engine with a clock, and what makes a rule short to write.
type world struct {
	TB
	ctx      context.Context
	e        queue.Engine
	reopen   func() queue.Engine
	restarts bool
	now      time.Time
	ids      int
}

func newWorld(t TB, open Open, restarts bool) *world {
	e, reopen := open(t)
	return &world{TB: t, ctx: t.Context(), e: e, reopen: reopen, restarts: restarts, now: time.Now()}
}

// restart opens the engine again where the rule is checked with restarts. It ends every lease.
func (w *world) restart() {
	if w.restarts {
		w.e = w.reopen()
	}
}

func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

const (
	work   = transportpb.Class_CLASS_WORK
	answer = transportpb.Class_CLASS_ANSWER
	signal = transportpb.Class_CLASS_SIGNAL

	isNew     = transportpb.Answer_STATE_NEW
	queued    = transportpb.Answer_STATE_QUEUED
	leased    = transportpb.Answer_STATE_LEASED
	delivered = transportpb.Answer_STATE_DELIVERED
	done      = transportpb.Answer_STATE_DONE
	lost      = transportpb.Answer_STATE_LOST
	refused   = transportpb.Answer_STATE_REFUSED
)

// The holders of the rules: an agent with a store, another, one without, and the sender.
var (
	alice = func() queue.Holder { return queue.Holder{Agent: "alice", Store: "store-a", Epoch: 1, Stream: 1} }
	bob   = func() queue.Holder { return queue.Holder{Agent: "bob", Store: "store-b", Epoch: 1, Stream: 2} }
	carol = func() queue.Holder { return queue.Holder{Agent: "carol", Stream: 3} }
	sam   = func() queue.Holder { return queue.Holder{Agent: "sam", Store: "store-s", Epoch: 1, Stream: 4} }
)

const (
	toAlice = "agent:alice"
	toBob   = "agent:bob"
	toCarol = "agent:carol"
	toSam   = "agent:sam"
	toAny   = "capability:acme.review.v1.Reviewer"
)

func (w *world) id() string {
	w.ids++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", w.ids)
}

// message is work by sam with a token of its own.
func (w *world) message(to string) queue.Message {
	id := w.id()
	return queue.Message{
		Envelope: &commonpb.Envelope{
			MessageId:        id,
			IdempotencyToken: "sam:op:" + id,
			ProducerId:       "sam",
			CorrelationId:    "correlation-" + id,
			SequenceNumber:   uint64(w.ids),
			MessageType:      commonpb.MessageType_DATA,
			ContentType:      "application/json",
			Payload:          []byte(`{"n":1}`),
		},
		To: to, Class: work, From: sam(), At: w.now,
	}
}

// control is a signal or answer by an agent.
func (w *world) control(class transportpb.Class, from queue.Holder, to string) queue.Message {
	m := w.message(to)
	m.Class, m.From = class, from
	m.Envelope.ProducerId, m.Envelope.IdempotencyToken = from.Agent, ""
	return m
}

// attempt is the next attempt of m's operation.
func (w *world) attempt(m queue.Message) queue.Message {
	old := m.Envelope
	m.Envelope = &commonpb.Envelope{
		MessageId:        w.id(),
		IdempotencyToken: old.GetIdempotencyToken(),
		ProducerId:       old.GetProducerId(),
		CorrelationId:    old.GetCorrelationId(),
		SequenceNumber:   old.GetSequenceNumber(),
		RetryCount:       old.GetRetryCount() + 1,
		TtlMs:            old.GetTtlMs(),
		MessageType:      old.GetMessageType(),
		ContentType:      old.GetContentType(),
		Payload:          old.GetPayload(),
	}
	m.At = w.now
	return m
}

func (w *world) submit(m queue.Message) queue.Answer {
	w.Helper()
	m.At = w.now
	a, err := queue.Submit(w.ctx, w.e, m)
	require.NoError(w, err)
	return a
}

// accept submits m and wants this state.
func (w *world) accept(m queue.Message, want transportpb.Answer_State) queue.Answer {
	w.Helper()
	a := w.submit(m)
	require.Equal(w, want, a.State, "%s %v: %s", a.State, a.Code, a.Note)
	return a
}

func (w *world) refused(m queue.Message, code ack.Code) {
	w.Helper()
	a := w.accept(m, refused)
	require.Equal(w, code, a.Code)
	require.NotEmpty(w, a.Note)
}

const leaseTime = 30 * time.Second

func (w *world) lease(h queue.Holder, class transportpb.Class, addresses ...string) []queue.Delivery {
	w.Helper()
	return w.request(queue.LeaseRequest{
		Holder: h, Addresses: addresses, Class: class,
		MaxMessages: 1000, MaxBytes: 1 << 40, Now: w.now, Until: w.now.Add(leaseTime),
	})
}

func (w *world) request(r queue.LeaseRequest) []queue.Delivery {
	w.Helper()
	ds, err := w.e.Lease(w.ctx, r)
	require.NoError(w, err)
	return ds
}

// one leases work and wants exactly one message.
func (w *world) one(h queue.Holder, addresses ...string) queue.Delivery {
	w.Helper()
	ds := w.lease(h, work, addresses...)
	require.Len(w, ds, 1)
	return ds[0]
}

func (w *world) nothing(h queue.Holder, class transportpb.Class, addresses ...string) {
	w.Helper()
	require.Empty(w, w.lease(h, class, addresses...))
}

func (w *world) custody(h queue.Holder, d queue.Delivery, want bool) {
	w.Helper()
	ok, err := w.e.Custody(w.ctx, h, d.Seq, d.Envelope.GetMessageId())
	require.NoError(w, err)
	require.Equal(w, want, ok)
}

// deliver brings m into h's custody.
func (w *world) deliver(m queue.Message, h queue.Holder) queue.Delivery {
	w.Helper()
	w.accept(m, isNew)
	w.restart()
	d := w.one(h, m.To)
	w.custody(h, d, true)
	w.restart()
	return d
}

// ends is a terminal acknowledgement by h of the attempt with this id, for sam.
func (w *world) ends(h queue.Holder, id string, stage ack.Stage, code ack.Code) queue.Message {
	m := w.control(signal, h, toSam)
	m.Ends = &queue.Outcome{MessageID: id, Stage: stage, Code: code, Note: "the note"}
	return m
}

func (w *world) end(h queue.Holder, m queue.Message, stage ack.Stage, code ack.Code) {
	w.Helper()
	w.accept(w.ends(h, m.Envelope.GetMessageId(), stage, code), isNew)
	w.restart()
}

// isDone asks for m and wants this outcome.
func (w *world) isDone(m queue.Message, stage ack.Stage, code ack.Code) queue.Answer {
	w.Helper()
	a := w.accept(m, done)
	require.Equal(w, stage, a.Stage, a.Note)
	require.Equal(w, code, a.Code, a.Note)
	return a
}

func (w *world) release(h queue.Holder) {
	w.Helper()
	require.NoError(w, w.e.Release(w.ctx, h))
}

func (w *world) expire() time.Time {
	w.Helper()
	next, err := w.e.Expire(w.ctx, w.now)
	require.NoError(w, err)
	return next
}

func (w *world) prune() {
	w.Helper()
	w.pruneBut(nobody)
}

// pruneBut is prune while agents are connected.
func (w *world) pruneBut(connected func(agent string) bool) {
	w.Helper()
	require.NoError(w, w.e.Prune(w.ctx, w.now, connected))
}

func nobody(string) bool { return false }

func (w *world) admit(h queue.Holder, live bool, want queue.Admission) {
	w.Helper()
	a, err := w.e.Admit(w.ctx, h, live)
	require.NoError(w, err)
	require.Equal(w, want, a)
	w.restart()
}

func (w *world) withdraw(m queue.Message, want transportpb.WithdrawAnswer_State) {
	w.Helper()
	s, err := w.e.Withdraw(w.ctx, queue.Withdrawal{
		From: m.From, To: m.To, Token: m.Envelope.GetIdempotencyToken(), MessageID: m.Envelope.GetMessageId(),
	})
	require.NoError(w, err)
	require.Equal(w, want, s)
	w.restart()
}

func (w *world) dead() []queue.DeadLetter {
	w.Helper()
	letters, err := w.e.DeadLetters(w.ctx, 1000)
	require.NoError(w, err)
	return letters
}

// owed wants one acknowledgement by the router at sam's queue, takes it, and returns what it says.
func (w *world) owed(of queue.Message) ack.Ack {
	w.Helper()
	ds := w.lease(sam(), signal, toSam)
	require.Len(w, ds, 1)
	w.custody(sam(), ds[0], true)
	env := ds[0].Envelope
	require.Equal(w, address.RouterID, env.GetProducerId())
	require.Equal(w, commonpb.MessageType_ACKNOWLEDGEMENT, env.GetMessageType())
	require.Equal(w, of.Envelope.GetCorrelationId(), env.GetCorrelationId())
	require.NotEmpty(w, env.GetMessageId())
	require.EqualValues(w, len(env.GetPayload()), env.GetContentLength())
	a, err := ack.Parse(env.GetContentType(), env.GetPayload())
	require.NoError(w, err)
	require.Equal(w, of.Envelope.GetMessageId(), a.ForMessageID)
	return a
}

func idsOf(ds []queue.Delivery) []string {
	ids := make([]string, len(ds))
	for i, d := range ds {
		ids[i] = d.Envelope.GetMessageId()
	}
	return ids
}

func idOf(m queue.Message) string { return m.Envelope.GetMessageId() }

package queuetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

var acceptRules = []rule{
	{"NewThenQueued", func(w *world) {
		m := w.message(toAlice)
		w.accept(m, isNew)
		w.restart()
		w.accept(m, queued)
		w.restart()
		w.accept(m, queued)
		require.Len(w, w.lease(alice(), work, toAlice), 1)
	}},
	{"Leased", func(w *world) {
		m := w.message(toAlice)
		w.accept(m, isNew)
		w.restart()
		w.one(alice(), toAlice)
		w.accept(m, leased)
		w.accept(w.attempt(m), leased)
	}},
	{"EnvelopeStaysAsItWas", func(w *world) {
		m := w.message(toAlice)
		sent := proto.Clone(m.Envelope)
		w.accept(m, isNew)
		m.Envelope.Payload[0] = 'X'
		m.Envelope.CorrelationId = "changed"
		w.restart()
		d := w.one(alice(), toAlice)
		require.True(w, proto.Equal(sent, d.Envelope), "%v", d.Envelope)
		require.EqualValues(w, proto.Size(sent), d.Bytes)
		d.Envelope.Payload[0] = 'Y'
		w.release(alice())
		require.True(w, proto.Equal(sent, w.one(alice(), toAlice).Envelope))
	}},
	{"AliasOfAQueuedToken", func(w *world) {
		m := w.message(toAlice)
		w.accept(m, isNew)
		again := w.attempt(m)
		w.accept(again, queued)
		w.restart()
		require.Equal(w, []string{idOf(m)}, idsOf(w.lease(alice(), work, toAlice)))
		// The alias names the same operation, so its outcome is the operation's.
		w.end(alice(), again, ack.Fulfilled, ack.NoCode)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
	}},
	{"TokenIsByProducerAndAddress", func(w *world) {
		m := w.message(toAlice)
		w.accept(m, isNew)
		elsewhere := w.attempt(m)
		elsewhere.To = toBob
		w.accept(elsewhere, isNew)
		byAnother := w.attempt(m)
		byAnother.From = carol()
		w.accept(byAnother, isNew)
		w.restart()
		require.Len(w, w.lease(alice(), work, toAlice), 2)
		require.Len(w, w.lease(bob(), work, toBob), 1)
	}},
	{"WithoutTokenByMessageID", func(w *world) {
		m := w.message(toAlice)
		m.Envelope.IdempotencyToken = ""
		w.accept(m, isNew)
		w.restart()
		w.accept(m, queued)
		other := w.message(toAlice)
		other.Envelope.IdempotencyToken = ""
		w.accept(other, isNew)
		// One message may go to several addresses, as a broadcast does.
		m.To = toBob
		w.accept(m, isNew)
		require.Len(w, w.lease(alice(), work, toAlice), 2)
		require.Len(w, w.lease(bob(), work, toBob), 1)
		w.end(bob(), m, ack.Rejected, ack.ValidationError)
		w.isDone(m, ack.Rejected, ack.ValidationError)
		m.To = toAlice
		require.NotEqual(w, done, w.submit(m).State)
	}},
	{"MessageIDOfAnotherIsRefused", func(w *world) {
		m := w.message(toAlice)
		w.accept(m, isNew)
		w.restart()
		stolen := w.message(toAlice)
		stolen.From = bob()
		stolen.Envelope.MessageId = idOf(m)
		w.refused(stolen, ack.ValidationError)
		sig := w.control(signal, sam(), toAlice)
		sig.Envelope.MessageId = idOf(m)
		w.refused(sig, ack.ValidationError)
	}},
	{"Delivered", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.nothing(alice(), work, toAny)
		w.accept(m, delivered)
		w.restart()
		// A copy waits for the custodian, one at a time, with the address as sent.
		w.accept(m, delivered)
		again := w.attempt(m)
		again.Envelope.RetryCount = 0
		w.accept(again, delivered)
		w.restart()
		w.nothing(bob(), work, toAny)
		d := w.one(alice(), toAny, toAlice)
		require.Equal(w, toAny, d.To)
		require.Equal(w, idOf(m), d.Envelope.GetMessageId())
		w.custody(alice(), d, true)
		w.restart()
		w.custody(alice(), d, true)
		w.nothing(alice(), work, toAny, toAlice)
		w.accept(again, delivered)
		require.Equal(w, idOf(again), w.one(alice(), toAlice).Envelope.GetMessageId())
		require.Empty(w, w.dead())
	}},
	{"DoneCopiesToCustodian", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		a := w.isDone(m, ack.Fulfilled, ack.NoCode)
		require.Equal(w, "the note", a.Note)
		w.restart()
		d := w.one(alice(), toAlice)
		require.Equal(w, toAny, d.To)
		w.custody(alice(), d, true)
		w.nothing(alice(), work, toAlice, toAny)
	}},
	{"WaitingIsBounded", func(w *world) {
		var ms []queue.Message
		for i := range Limits().MaxWaiting {
			ms = append(ms, w.message(fmt.Sprint("capability:c-", i/Limits().MaxWork)))
			w.accept(ms[i], isNew)
		}
		over := w.message(toAny)
		a := w.accept(over, refused)
		require.Equal(w, ack.BufferFull, a.Code)
		require.Contains(w, a.Note, "max_waiting: 200 messages wait at the router, where 200 may. Fix: ")
		w.accept(ms[0], queued)
		w.accept(w.control(signal, alice(), toSam), isNew) // so that what is under way can end
		w.restart()
		w.custody(alice(), w.lease(alice(), work, ms[0].To)[0], true)
		w.refused(over, ack.BufferFull)
		w.custody(sam(), w.lease(sam(), signal, toSam)[0], true)
		w.accept(over, isNew)
	}},
	{"FullQueueRefuses", func(w *world) {
		for range Limits().MaxWork {
			w.accept(w.message(toAlice), isNew)
		}
		w.restart()
		w.refused(w.message(toAlice), ack.BufferFull)
		w.accept(w.message(toBob), isNew)
		ds := w.lease(alice(), work, toAlice)
		require.Len(w, ds, Limits().MaxWork)
		m := w.message(toAlice)
		w.refused(m, ack.BufferFull)
		w.custody(alice(), ds[0], true)
		w.accept(m, isNew)
		for range 3 * Limits().MaxWork {
			w.accept(w.control(signal, sam(), toAlice), isNew)
			w.accept(w.control(answer, sam(), toAlice), isNew)
		}
	}},
	{"RefusalLeavesNothing", func(w *world) {
		for range Limits().MaxWork {
			w.accept(w.message(toAlice), isNew)
		}
		m := w.message(toAlice)
		w.refused(m, ack.BufferFull)
		w.restart()
		_, ok, err := w.e.Lookup(w.ctx, idOf(m))
		require.NoError(w, err)
		require.False(w, ok)
		w.refused(m, ack.BufferFull)
	}},
	{"Invalid", func(w *world) {
		bad := map[string]func(m *queue.Message){
			"no envelope":     func(m *queue.Message) { m.Envelope = nil },
			"no message id":   func(m *queue.Message) { m.Envelope.MessageId = "" },
			"long message id": func(m *queue.Message) { m.Envelope.MessageId = strings.Repeat("x", 1<<16) },
			"long token":      func(m *queue.Message) { m.Envelope.IdempotencyToken = strings.Repeat("x", 1<<20) },
			"no UTF-8":        func(m *queue.Message) { m.Envelope.CorrelationId = "\xff" },
			"no address":      func(m *queue.Message) { m.To = "" },
			"bad address":     func(m *queue.Message) { m.To = "agent:\x00" },
			"no kind":         func(m *queue.Message) { m.To = "alice" },
			"no class":        func(m *queue.Message) { m.Class = 0 },
			"unknown class":   func(m *queue.Message) { m.Class = 77 },
			"no producer":     func(m *queue.Message) { m.From.Agent = "" },
			"bad producer":    func(m *queue.Message) { m.From.Agent = "a\x00b" },
			"bad store":       func(m *queue.Message) { m.From.Store = "a\x00b" },
			"no end":          func(m *queue.Message) { m.Ends = &queue.Outcome{MessageID: "x", Stage: ack.Read} },
		}
		for name, spoil := range bad {
			m := w.message(toAlice)
			spoil(&m)
			a := w.submit(m)
			require.Equal(w, refused, a.State, name)
			require.Equal(w, ack.ValidationError, a.Code, name)
		}
		w.restart()
		w.nothing(alice(), work, toAlice)
	}},
	{"ExtremeNumbers", func(w *world) {
		m := w.message(toAlice)
		m.Envelope.TtlMs, m.Envelope.SequenceNumber, m.Envelope.RetryCount = 1<<64-1, 1<<64-1, 1<<32-1
		m.DeadlineLeft, m.LowestOpen = 1<<63-1, 1<<64-1
		w.accept(m, isNew)
		w.restart()
		w.expire()
		w.prune()
		require.Len(w, w.lease(alice(), work, toAlice), 1)
		m = w.message(toBob)
		m.DeadlineLeft = -time.Hour
		w.accept(m, isNew)
		w.accept(m, queued)
	}},
	{"SupersededSenderIsRefused", func(w *world) {
		w.admit(sam(), false, queue.Admitted)
		next := sam()
		next.Epoch = 2
		w.admit(next, true, queue.Admitted)
		w.refused(w.message(toAlice), ack.PermissionDenied)
		m := w.control(answer, sam(), toAlice)
		w.refused(m, ack.PermissionDenied)
		m.From = next
		w.accept(m, isNew)
	}},
	{"SequencesNeverReturn", func(w *world) {
		var last int64
		for range 20 {
			m := w.message(toAlice)
			w.accept(m, isNew)
			w.restart()
			d := w.one(alice(), toAlice)
			require.Greater(w, d.Seq, last)
			last = d.Seq
			w.custody(alice(), d, true)
			w.end(alice(), m, ack.Fulfilled, ack.NoCode)
			w.pass(48 * time.Hour)
			w.expire()
			w.prune()
			w.restart()
		}
	}},
}

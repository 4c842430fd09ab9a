package queuetest

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

var outcomeRules = []rule{
	{"ByTheCustodian", func(w *world) {
		for _, end := range []struct {
			stage ack.Stage
			code  ack.Code
		}{{ack.Fulfilled, ack.NoCode}, {ack.Rejected, ack.ValidationError}, {ack.Failed, ack.InternalError}, {ack.TimedOut, ack.NoCode}} {
			m := w.message(toAny)
			w.deliver(m, alice())
			sig := w.ends(alice(), idOf(m), end.stage, end.code)
			w.accept(sig, isNew)
			w.restart()
			require.Equal(w, "the note", w.isDone(m, end.stage, end.code).Note)
			w.accept(sig, queued)
			w.custody(alice(), w.one(alice(), toAlice), true)
		}
		require.Len(w, w.lease(sam(), signal, toSam), 4)
	}},
	{"WithoutDeliveryAck", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		w.restart()
		d := w.one(carol(), toAny)
		w.end(carol(), m, ack.Fulfilled, ack.NoCode)
		w.nothing(carol(), work, toAny)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
		w.custody(carol(), d, true)
	}},
	{"ByTheLastHolder", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		w.one(carol(), toAny)
		w.release(carol())
		w.restart()
		w.end(carol(), m, ack.Fulfilled, ack.NoCode)
		w.nothing(bob(), work, toAny)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
	}},
	{"ByTheAgentOfTheAddress", func(w *world) {
		m := w.message(toAlice)
		w.accept(m, isNew)
		w.restart()
		w.end(alice(), m, ack.Rejected, ack.PermissionDenied)
		w.isDone(m, ack.Rejected, ack.PermissionDenied)
	}},
	{"ByNobodyElse", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		for _, h := range []queue.Holder{bob(), carol(), sam()} {
			w.refused(w.ends(h, idOf(m), ack.Fulfilled, ack.NoCode), ack.PermissionDenied)
		}
		w.restart()
		w.nothing(sam(), signal, toSam)
		w.accept(m, delivered)
		waiting := w.message(toAny)
		w.accept(waiting, isNew)
		w.refused(w.ends(alice(), idOf(waiting), ack.Fulfilled, ack.NoCode), ack.PermissionDenied)
		w.accept(waiting, queued)
	}},
	{"NotByASupersededInstance", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		m := w.message(toAny)
		w.deliver(m, alice())
		next := alice()
		next.Epoch = 2
		w.admit(next, true, queue.Admitted)
		w.refused(w.ends(alice(), idOf(m), ack.Fulfilled, ack.NoCode), ack.PermissionDenied)
		unnamed := alice()
		unnamed.Store, unnamed.Epoch = "", 0
		w.refused(w.ends(unnamed, idOf(m), ack.Fulfilled, ack.NoCode), ack.PermissionDenied)
		w.accept(m, delivered)
		w.end(next, m, ack.Fulfilled, ack.NoCode)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
	}},
	{"OfAnUnknownMessage", func(w *world) {
		m := w.ends(alice(), "nobody-knows", ack.Fulfilled, ack.NoCode)
		w.accept(m, isNew)
		w.restart()
		require.Len(w, w.lease(sam(), signal, toSam), 1)
	}},
	{"ForwardOnly", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Failed, ack.InternalError)
		w.end(alice(), m, ack.Failed, ack.InternalError)
		w.end(alice(), m, ack.Rejected, ack.ValidationError)
		w.isDone(m, ack.Failed, ack.InternalError)
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
		w.end(alice(), m, ack.Failed, ack.InternalError)
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
	}},
	{"OfASignal", func(w *world) {
		m := w.control(answer, sam(), toCarol)
		w.accept(m, isNew)
		require.Len(w, w.lease(carol(), answer, toCarol), 1)
		w.refused(w.ends(bob(), idOf(m), ack.Fulfilled, ack.NoCode), ack.PermissionDenied)
		w.end(carol(), m, ack.Fulfilled, ack.NoCode)
		w.release(carol())
		w.nothing(carol(), answer, toCarol)
		w.accept(m, done)
	}},
	{"LongNote", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		sig := w.ends(alice(), idOf(m), ack.Failed, ack.InternalError)
		sig.Ends.Note = strings.Repeat("é", 1<<20)
		w.accept(sig, isNew)
		require.Less(w, len(w.isDone(m, ack.Failed, ack.InternalError).Note), 1<<12)
		m = w.message(toAny)
		w.deliver(m, alice())
		sig = w.ends(alice(), idOf(m), ack.Failed, ack.InternalError)
		sig.Ends.Note = "\xff\xfe"
		w.accept(sig, isNew)
		w.isDone(m, ack.Failed, ack.InternalError)
	}},
	{"OfTheHigherAttempt", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		again := w.attempt(m)
		w.accept(again, isNew)
		// Its custodian ends every alias; both attempts have failed then.
		w.end(alice(), m, ack.Failed, ack.InternalError)
		w.end(alice(), again, ack.Failed, ack.InternalError)
		w.isDone(again, ack.Failed, ack.InternalError)
		w.accept(w.attempt(again), isNew)
	}},
}

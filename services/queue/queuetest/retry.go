package queuetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

var retryRules = []rule{
	{"DoneHoldsForItsRetryCount", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Failed, ack.InternalError)
		w.isDone(m, ack.Failed, ack.InternalError)
		w.restart()
		same := w.attempt(m)
		same.Envelope.RetryCount = 0
		w.isDone(same, ack.Failed, ack.InternalError)
	}},
	{"FulfilledHoldsForAll", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		again := w.attempt(m)
		again.Envelope.RetryCount = 9
		w.isDone(again, ack.Fulfilled, ack.NoCode)
	}},
	{"FailureGoesToTheLastCustodian", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Failed, ack.InternalError)
		again := w.attempt(m)
		w.accept(again, isNew)
		w.restart()
		w.accept(again, queued)
		w.nothing(bob(), work, toAny)
		d := w.one(alice(), toAny, toAlice)
		require.Equal(w, toAny, d.To)
		require.Equal(w, idOf(again), d.Envelope.GetMessageId())
		w.custody(alice(), d, true)
		w.restart()
		w.accept(again, delivered)
		w.end(alice(), again, ack.Fulfilled, ack.NoCode)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
	}},
	{"OverloadGoesToAnybody", func(w *world) {
		for _, code := range []ack.Code{ack.BufferFull, ack.AgentUnavailable, ack.AgentShutdown, ack.Overloaded} {
			m := w.message(toAny)
			w.deliver(m, alice())
			w.end(alice(), m, ack.Rejected, code)
			again := w.attempt(m)
			w.accept(again, isNew)
			w.restart()
			w.nothing(alice(), work, toAlice)
			w.custody(bob(), w.one(bob(), toAny), true)
			w.end(bob(), again, ack.Fulfilled, ack.NoCode)
			w.isDone(again, ack.Fulfilled, ack.NoCode)
			// The copy of that ask is bob's.
			w.custody(bob(), w.one(bob(), toBob), true)
		}
	}},
	{"AttemptBeforeTheWordOnTheLast", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		// The sender has heard of the failure in another way than by its acknowledgement.
		again := w.attempt(m)
		w.accept(again, isNew)
		w.restart()
		w.end(alice(), m, ack.Failed, ack.Overloaded)
		w.accept(again, queued)
		w.nothing(bob(), work, toAny)
		d := w.one(alice(), toAny, toAlice)
		require.Equal(w, idOf(again), d.Envelope.GetMessageId())
		w.custody(alice(), d, true)
		w.restart()
		w.end(alice(), m, ack.Failed, ack.Overloaded)
		w.accept(again, delivered)
		w.nothing(bob(), work, toAny)
		w.end(alice(), again, ack.Fulfilled, ack.NoCode)
		w.isDone(again, ack.Fulfilled, ack.NoCode)
	}},
	{"AttemptBeforeTheWordOnOneThatIsCopied", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.accept(m, delivered)
		again := w.attempt(m)
		w.accept(again, isNew)
		w.restart()
		require.Equal(w, idOf(again), w.one(alice(), toAny, toAlice).Envelope.GetMessageId())
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		w.isDone(again, ack.Fulfilled, ack.NoCode)
		w.nothing(bob(), work, toAny)
	}},
	{"CopyIsForTheAgentThatHadTheAttempt", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Failed, ack.Overloaded)
		again := w.attempt(m)
		again.Envelope.TtlMs = 1000
		w.accept(again, isNew)
		w.restart()
		w.pass(2 * time.Second)
		w.expire()
		w.isDone(again, ack.Failed, ack.TTLExpired)
		// Alice would take it for one that is to run.
		w.nothing(alice(), work, toAlice)
		w.isDone(m, ack.Failed, ack.TTLExpired)
		w.nothing(alice(), work, toAlice)
	}},
	{"ExpiredAttemptIsInNobodysCustody", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Failed, ack.Overloaded)
		again := w.attempt(m)
		again.Envelope.TtlMs = uint64((leaseTime / 2).Milliseconds())
		w.accept(again, isNew)
		d := w.one(alice(), toAny)
		w.pass(leaseTime)
		w.expire()
		w.isDone(again, ack.Failed, ack.TTLExpired)
		// Alice had the attempt before, and stood still until now.
		w.custody(alice(), d, false)
		w.restart()
		w.custody(alice(), d, false)
	}},
	{"LostCustody", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		m := w.message(toAny)
		w.deliver(m, alice())
		replaced := alice()
		replaced.Store = "store-a2"
		w.admit(replaced, false, queue.Admitted)
		w.accept(m, lost)
		w.restart()
		w.nothing(replaced, work, toAlice)
		again := w.attempt(m)
		w.accept(again, isNew)
		w.restart()
		w.accept(again, queued)
		w.custody(bob(), w.one(bob(), toAny), true)
		w.accept(again, delivered)
	}},
	{"LostAfterFailureGoesToAnybody", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Failed, ack.InternalError)
		replaced := alice()
		replaced.Store = "store-a2"
		w.admit(replaced, false, queue.Admitted)
		w.isDone(m, ack.Failed, ack.InternalError)
		w.nothing(replaced, work, toAlice)
		w.accept(w.attempt(m), isNew)
		w.one(bob(), toAny)
	}},
	{"CopyIsForTheStoreThatHasIt", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		m := w.message(toAny)
		w.deliver(m, alice())
		w.accept(m, delivered)
		w.restart()
		replaced := alice()
		replaced.Store = "store-a2"
		w.admit(replaced, false, queue.Admitted)
		w.nothing(replaced, work, toAlice)
	}},
	{"UnnamedStoresDiffer", func(w *world) {
		m := w.message(toCarol)
		w.deliver(m, carol())
		w.accept(m, delivered)
		named := queue.Holder{Agent: "carol", Store: "store-c", Epoch: 1}
		w.admit(named, false, queue.Admitted)
		w.accept(m, lost)
		w.admit(carol(), false, queue.Admitted)
		w.accept(m, lost)
		w.accept(w.attempt(m), isNew)
	}},
	{"LateWordOnAnEarlierAttempt", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Failed, ack.InternalError)
		again := w.attempt(m)
		w.accept(again, isNew)
		w.end(alice(), m, ack.Failed, ack.InternalError)
		w.accept(again, queued)
		// A success is one, whichever attempt had it.
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		w.isDone(again, ack.Fulfilled, ack.NoCode)
		d := w.one(alice(), toAlice)
		w.custody(alice(), d, true)
		w.nothing(alice(), work, toAlice, toAny)
	}},
	{"RetryIntoAFullQueue", func(w *world) {
		m := w.message(toBob)
		w.deliver(m, bob())
		w.end(bob(), m, ack.Failed, ack.Overloaded)
		for range Limits().MaxWork {
			w.accept(w.message(toBob), isNew)
		}
		again := w.attempt(m)
		w.refused(again, ack.BufferFull)
		w.restart()
		w.isDone(m, ack.Failed, ack.Overloaded)
		require.Len(w, w.lease(bob(), work, toBob), Limits().MaxWork)
	}},
}

var controlRules = []rule{
	{"ByMessageID", func(w *world) {
		for _, m := range []queue.Message{w.control(signal, alice(), toSam), w.control(answer, alice(), toSam)} {
			w.accept(m, isNew)
			w.restart()
			w.accept(m, queued)
			ds := w.lease(sam(), m.Class, toSam)
			require.Len(w, ds, 1)
			require.Equal(w, m.Class, ds[0].Class)
			w.custody(sam(), ds[0], true)
			w.restart()
			w.accept(m, done)
			w.nothing(sam(), m.Class, toSam)
			w.custody(sam(), ds[0], true)
		}
	}},
	{"TokenDoesNotCount", func(w *world) {
		first, second := w.control(answer, alice(), toSam), w.control(answer, alice(), toSam)
		first.Envelope.IdempotencyToken, second.Envelope.IdempotencyToken = "t:response:v1", "t:response:v1"
		w.accept(first, isNew)
		w.accept(second, isNew)
		require.Len(w, w.lease(sam(), answer, toSam), 2)
	}},
	{"Bounded", func(w *world) {
		most := 10 * Limits().MaxWork
		for range most {
			w.accept(w.control(signal, alice(), toSam), isNew)
		}
		w.restart()
		w.refused(w.control(signal, alice(), toSam), ack.BufferFull)
		w.accept(w.control(answer, alice(), toSam), isNew)
		w.accept(w.message(toSam), isNew)
	}},
	{"ClassesDoNotMix", func(w *world) {
		w.accept(w.message(toAlice), isNew)
		w.accept(w.control(answer, sam(), toAlice), isNew)
		w.accept(w.control(signal, sam(), toAlice), isNew)
		w.restart()
		require.Len(w, w.lease(alice(), work, toAlice), 1)
		require.Len(w, w.lease(alice(), answer, toAlice), 1)
		require.Len(w, w.lease(alice(), signal, toAlice), 1)
		w.nothing(alice(), 0, toAlice)
	}},
	{"UnfetchedDie", func(w *world) {
		m := w.control(answer, alice(), toSam)
		w.accept(m, isNew)
		w.restart()
		w.pass(Limits().KeepUnfetched - 1)
		w.expire()
		require.Empty(w, w.dead())
		w.pass(2)
		w.expire()
		w.restart()
		letters := w.dead()
		require.Len(w, letters, 1)
		require.Contains(w, letters[0].Reason, "unfetched")
		w.nothing(sam(), answer, toSam)
		w.nothing(alice(), signal, toAlice)
		w.accept(m, done)
	}},
}

package queuetest

import (
	"time"

	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

var deadRules = []rule{
	{"DeliveryBudget", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		for range Limits().DeliveryBudget {
			require.Empty(w, w.dead())
			w.one(alice(), toAny)
			w.pass(leaseTime)
			w.expire()
		}
		w.restart()
		w.nothing(alice(), work, toAny)
		letters := w.dead()
		require.Len(w, letters, 1)
		require.Equal(w, idOf(m), letters[0].Envelope.GetMessageId())
		require.Equal(w, Limits().DeliveryBudget, letters[0].Deliveries)
		require.Equal(w, toAny, letters[0].To)
		require.Equal(w, work, letters[0].Class)
		require.Contains(w, letters[0].Reason, "delivery_budget")
		a := w.owed(m)
		require.Equal(w, ack.Failed, a.Stage)
		require.Equal(w, ack.AgentUnavailable, a.Code)
		require.Contains(w, a.Note, "delivery_budget")
		w.isDone(m, ack.Failed, ack.AgentUnavailable)
		w.nothing(sam(), signal, toSam)
		w.accept(w.attempt(m), isNew)
		w.one(bob(), toAny)
	}},
	{"LostStreamsOfUnnamedPeersCount", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		for range Limits().DeliveryBudget {
			require.Empty(w, w.dead())
			w.one(carol(), toAny)
			w.release(carol())
			w.e = w.reopen() // what has counted stays
		}
		require.Len(w, w.dead(), 1)
		w.owed(m)
	}},
	{"LostStreamsOfStoresDoNotCount", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		m := w.message(toAny)
		w.accept(m, isNew)
		h := alice()
		for n := range 3 * Limits().DeliveryBudget {
			w.one(h, toAny)
			if h.Stream++; n%2 == 0 {
				h.Epoch++ // its process was started again
				w.admit(h, true, queue.Admitted)
				continue
			}
			before := h
			before.Stream--
			w.release(before)
			w.admit(h, true, queue.Admitted)
		}
		for n := range Limits().DeliveryBudget {
			require.Empty(w, w.dead())
			require.Equal(w, 3*Limits().DeliveryBudget+n+1, w.one(h, toAny).Deliveries)
			w.pass(leaseTime)
			w.expire()
		}
		require.Len(w, w.dead(), 1)
	}},
	{"LeasesOfSilentHoldersDoNotCount", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		lease := func(h queue.Holder) {
			d, err := w.e.Lease(w.ctx, queue.LeaseRequest{
				Holder: h, Addresses: []string{toAny}, Class: work, MaxMessages: 1, MaxBytes: 1 << 20, Now: w.now, Until: w.now.Add(leaseTime), Audible: true,
			})
			require.NoError(w, err)
			require.Len(w, d, 1)
		}
		w.e.Heard(alice(), w.now)
		for range 3 * Limits().DeliveryBudget {
			lease(alice())
			w.e.Heard(bob(), w.now.Add(leaseTime/2)) // which says nothing of another
			w.pass(leaseTime)
			w.expire()
			require.Empty(w, w.dead())
		}
		for n := range Limits().DeliveryBudget {
			require.Empty(w, w.dead(), n)
			lease(alice())
			w.e.Heard(alice(), w.now.Add(leaseTime/2))
			w.pass(leaseTime)
			w.expire()
		}
		require.Len(w, w.dead(), 1)
		handouts := w.dead()[0].Handouts
		require.Contains(w, handouts[0].End, "silent")
		require.NotContains(w, handouts[len(handouts)-1].End, "silent")
		w.owed(m)
	}},
	{"RestartsDoNotCount", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		for n := range 3 * Limits().DeliveryBudget {
			w.one([]queue.Holder{alice(), carol()}[n%2], toAny)
			w.e = w.reopen()
			w.pass(time.Minute)
			w.expire()
		}
		require.Empty(w, w.dead())
		w.custody(alice(), w.one(alice(), toAny), true)
	}},
	{"LastHolderMayStillEndIt", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		for range Limits().DeliveryBudget {
			w.one(carol(), toAny)
			w.release(carol())
		}
		w.restart()
		w.end(carol(), m, ack.Fulfilled, ack.NoCode)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
	}},
	{"PermanentFailure", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		d := w.one(alice(), toAny)
		give := func(h queue.Holder, id string) bool {
			ok, err := w.e.Dead(w.ctx, h, d.Seq, id, "cannot be read")
			require.NoError(w, err)
			return ok
		}
		require.False(w, give(bob(), idOf(m)))
		require.False(w, give(alice(), "another"))
		require.True(w, give(alice(), idOf(m)))
		w.restart()
		require.False(w, give(alice(), idOf(m)))
		letters := w.dead()
		require.Len(w, letters, 1)
		require.Contains(w, letters[0].Reason, "permanent_failure")
		require.Contains(w, letters[0].Reason, "cannot be read")
		a := w.owed(m)
		require.Equal(w, ack.Failed, a.Stage)
		require.Equal(w, ack.InternalError, a.Code)
		require.Contains(w, a.Note, "permanent_failure")
		w.isDone(m, ack.Failed, ack.InternalError)
		w.nothing(alice(), work, toAny)
	}},
	{"PermanentFailureOfASignal", func(w *world) {
		m := w.control(signal, sam(), toAlice)
		w.accept(m, isNew)
		d := w.lease(alice(), signal, toAlice)[0]
		ok, err := w.e.Dead(w.ctx, alice(), d.Seq, idOf(m), "")
		require.NoError(w, err)
		require.True(w, ok)
		w.restart()
		require.Len(w, w.dead(), 1)
		w.nothing(sam(), signal, toSam)
		w.accept(m, done)
	}},
	{"TTL", func(w *world) {
		m := w.message(toAlice)
		m.Envelope.TtlMs = 1000
		w.accept(m, isNew)
		w.restart()
		next := w.expire()
		require.WithinDuration(w, w.now.Add(time.Second), next, time.Millisecond)
		w.pass(time.Second)
		w.expire()
		w.restart()
		w.expire()
		letters := w.dead()
		require.Len(w, letters, 1)
		require.Contains(w, letters[0].Reason, "ttl_expired")
		require.Zero(w, letters[0].Deliveries)
		a := w.owed(m)
		require.Equal(w, ack.Failed, a.Stage)
		require.Equal(w, ack.TTLExpired, a.Code)
		require.Contains(w, a.Note, "ttl_expired")
		w.isDone(m, ack.Failed, ack.TTLExpired)
		w.expire()
		w.nothing(sam(), signal, toSam)
	}},
	{"TTLWaitsForTheLease", func(w *world) {
		m := w.message(toAlice)
		m.Envelope.TtlMs = 1000
		w.accept(m, isNew)
		d := w.one(alice(), toAlice)
		w.pass(10 * time.Second)
		w.expire()
		w.accept(m, leased)
		w.custody(alice(), d, true)
		w.restart()
		w.pass(time.Hour)
		w.expire()
		require.Empty(w, w.dead())

		m = w.message(toAlice)
		m.Envelope.TtlMs = 1000
		w.accept(m, isNew)
		w.one(alice(), toAlice)
		w.pass(leaseTime)
		w.expire()
		w.isDone(m, ack.Failed, ack.TTLExpired)
		require.Len(w, w.dead(), 1)
		w.owed(m)
	}},
	{"TTLOfACopyIsTheCustodians", func(w *world) {
		m := w.message(toAny)
		m.Envelope.TtlMs = 60_000
		w.deliver(m, alice())
		w.accept(m, delivered)
		w.restart()
		w.pass(time.Hour)
		w.expire()
		require.Empty(w, w.dead())
		w.nothing(sam(), signal, toSam)
		w.nothing(alice(), work, toAlice)
		w.accept(m, delivered)
		require.Equal(w, toAny, w.one(alice(), toAlice).To)
	}},
	{"NothingDue", func(w *world) {
		require.True(w, w.expire().IsZero())
		w.accept(w.message(toAlice), isNew)
		w.restart()
		require.True(w, w.expire().IsZero())
	}},
	{"ManyAtOnce", func(w *world) {
		for range 10 * Limits().MaxWork {
			m := w.control(signal, alice(), toSam)
			m.Envelope.TtlMs = 1
			w.accept(m, isNew)
			m.To, m.Envelope.MessageId = toBob, w.id()
			w.accept(m, isNew)
			m.To, m.Envelope.MessageId = toCarol, w.id()
			w.accept(m, isNew)
			m.To, m.Envelope.MessageId = toAlice, w.id()
			w.accept(m, isNew)
		}
		w.pass(time.Second)
		require.True(w, w.expire().IsZero())
		w.restart()
		require.Len(w, w.dead(), 40*Limits().MaxWork)
	}},
}

const (
	withdrawn = transportpb.WithdrawAnswer_STATE_WITHDRAWN
	tooLate   = transportpb.WithdrawAnswer_STATE_TOO_LATE
	unknown   = transportpb.WithdrawAnswer_STATE_UNKNOWN
)

var withdrawRules = []rule{
	{"Waiting", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		w.restart()
		w.withdraw(m, withdrawn)
		w.nothing(alice(), work, toAny)
		w.isDone(m, ack.TimedOut, ack.NoCode)
		// The answer may have been lost.
		w.withdraw(m, withdrawn)
	}},
	{"ByMessageIDAlone", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		s, err := w.e.Withdraw(w.ctx, queue.Withdrawal{From: sam(), MessageID: idOf(m)})
		require.NoError(w, err)
		require.Equal(w, withdrawn, s)
		w.restart()
		w.isDone(m, ack.TimedOut, ack.NoCode)
	}},
	{"Unknown", func(w *world) {
		w.withdraw(w.message(toAny), unknown)
		s, err := w.e.Withdraw(w.ctx, queue.Withdrawal{})
		require.NoError(w, err)
		require.Equal(w, unknown, s)
	}},
	{"OnlyItsProducer", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		m.From = bob()
		w.withdraw(m, unknown)
		w.accept(w.message(toAny), isNew)
		require.Len(w, w.lease(alice(), work, toAny), 2)
	}},
	{"Leased", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		d := w.one(alice(), toAny)
		s, err := w.e.Withdraw(w.ctx, queue.Withdrawal{From: sam(), To: m.To, Token: m.Envelope.GetIdempotencyToken()})
		require.NoError(w, err)
		require.Equal(w, tooLate, s)
		w.custody(alice(), d, true)
		w.withdraw(m, tooLate)
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		w.withdraw(m, tooLate)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
	}},
	{"OnceLeased", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		w.one(alice(), toAny)
		w.release(alice())
		w.restart()
		w.withdraw(m, tooLate)
		w.nothing(alice(), work, toAny)
		w.isDone(m, ack.TimedOut, ack.NoCode)
		w.withdraw(m, tooLate)
		// The one that had it may have done it.
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
	}},
	{"ALaterAttempt", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.end(alice(), m, ack.Failed, ack.Overloaded)
		again := w.attempt(m)
		w.accept(again, isNew)
		w.withdraw(again, tooLate)
		w.nothing(bob(), work, toAny)
		w.isDone(again, ack.TimedOut, ack.NoCode)
	}},
	{"AnAttemptThatNeverCame", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.withdraw(w.attempt(m), unknown)
		w.end(alice(), m, ack.Failed, ack.Overloaded)
		w.withdraw(w.attempt(m), unknown)
		w.isDone(m, ack.Failed, ack.Overloaded)
	}},
	{"Expired", func(w *world) {
		m := w.message(toAny)
		m.Envelope.TtlMs = 1
		w.accept(m, isNew)
		w.pass(time.Second)
		w.expire()
		w.withdraw(m, tooLate)
		w.isDone(m, ack.Failed, ack.TTLExpired)
	}},
}

package queuetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

var leaseRules = []rule{
	{"OldestFirstOverAddresses", func(w *world) {
		var want []string
		for i := range 6 {
			m := w.message([]string{toAlice, toAny, "capability:other"}[i%3])
			w.accept(m, isNew)
			w.restart()
			want = append(want, idOf(m))
		}
		ds := w.lease(alice(), work, toAlice, toAny, "capability:other", toAny)
		require.Equal(w, want, idsOf(ds))
		for _, d := range ds {
			require.Equal(w, 1, d.Deliveries)
		}
	}},
	{"OtherAddressesStay", func(w *world) {
		w.accept(w.message(toBob), isNew)
		w.nothing(alice(), work, toAlice, toAny)
		w.nothing(alice(), work)
	}},
	{"MaxMessages", func(w *world) {
		for range 5 {
			w.accept(w.message(toAlice), isNew)
		}
		r := queue.LeaseRequest{Holder: alice(), Addresses: []string{toAlice}, Class: work, MaxBytes: 1 << 40, Now: w.now, Until: w.now.Add(leaseTime)}
		require.Empty(w, w.request(r))
		r.MaxMessages = -1
		require.Empty(w, w.request(r))
		r.MaxMessages = 2
		require.Len(w, w.request(r), 2)
		require.Len(w, w.request(r), 2)
		require.Len(w, w.request(r), 1)
		require.Empty(w, w.request(r))
	}},
	{"MaxBytes", func(w *world) {
		for range 4 {
			m := w.message(toAlice)
			m.Envelope.Payload = make([]byte, 1000)
			w.accept(m, isNew)
		}
		r := queue.LeaseRequest{Holder: alice(), Addresses: []string{toAlice}, Class: work, MaxMessages: 10, MaxBytes: 1, Now: w.now, Until: w.now.Add(leaseTime)}
		ds := w.request(r)
		require.Len(w, ds, 1)
		require.Greater(w, ds[0].Bytes, int64(1000))
		r.MaxBytes = 2*ds[0].Bytes + 100
		require.Len(w, w.request(r), 2)
		r.MaxBytes = 0
		require.Len(w, w.request(r), 1)
	}},
	{"ReleasedReturnsToItsPlace", func(w *world) {
		var want []string
		for range 4 {
			m := w.message(toAlice)
			w.accept(m, isNew)
			want = append(want, idOf(m))
		}
		r := queue.LeaseRequest{Holder: alice(), Addresses: []string{toAlice}, Class: work, MaxMessages: 2, MaxBytes: 1 << 40, Now: w.now, Until: w.now.Add(leaseTime)}
		first := w.request(r)
		require.Equal(w, want[:2], idsOf(first))
		w.release(alice())
		again := w.lease(alice(), work, toAlice)
		require.Equal(w, want, idsOf(again))
		require.Equal(w, first[0].Seq, again[0].Seq)
		require.Equal(w, 2, again[0].Deliveries)
		require.Equal(w, 1, again[3].Deliveries)
	}},
	{"ReleaseIsByStream", func(w *world) {
		w.accept(w.message(toCarol), isNew)
		w.accept(w.message(toCarol), isNew)
		other := carol()
		other.Stream = 77
		r := queue.LeaseRequest{Holder: carol(), Addresses: []string{toCarol}, Class: work, MaxMessages: 1, MaxBytes: 1, Now: w.now, Until: w.now.Add(leaseTime)}
		mine := w.request(r)
		r.Holder = other
		theirs := w.request(r)
		require.NotEqual(w, mine[0].Seq, theirs[0].Seq)
		w.release(other)
		require.Equal(w, theirs[0].Seq, w.one(carol(), toCarol).Seq)
	}},
	{"EndsAtUntil", func(w *world) {
		w.accept(w.message(toAlice), isNew)
		d := w.one(alice(), toAlice)
		next := w.expire()
		require.WithinDuration(w, w.now.Add(leaseTime), next, time.Millisecond)
		w.pass(leaseTime - 1)
		w.expire()
		w.nothing(bob(), work, toAlice)
		w.pass(1)
		w.expire()
		again := w.one(bob(), toAlice)
		require.Equal(w, d.Seq, again.Seq)
		// alice is not the holder any more, and bob has it now.
		w.custody(alice(), d, false)
		w.custody(bob(), again, true)
	}},
	{"RestartFreesAll", func(w *world) {
		w.accept(w.message(toAlice), isNew)
		d := w.one(alice(), toAlice)
		w.e = w.reopen()
		again := w.one(bob(), toAlice)
		require.Equal(w, d.Seq, again.Seq)
	}},
	{"TTLIsWhatIsLeft", func(w *world) {
		m := w.message(toAlice)
		m.Envelope.TtlMs = 10_000
		w.accept(m, isNew)
		w.restart()
		w.pass(4 * time.Second)
		require.InDelta(w, 6000, w.one(alice(), toAlice).Envelope.GetTtlMs(), 2)
		w.release(alice())
		w.pass(6*time.Second - time.Microsecond)
		require.EqualValues(w, 1, w.one(alice(), toAlice).Envelope.GetTtlMs())
	}},
	{"ExpiredIsNeverHandedOut", func(w *world) {
		m := w.message(toAlice)
		m.Envelope.TtlMs = 1000
		w.accept(m, isNew)
		w.restart()
		w.pass(time.Second)
		w.nothing(alice(), work, toAlice)
		w.restart()
		w.isDone(m, ack.Failed, ack.TTLExpired)
	}},
	{"SupersededGetsNothing", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		w.accept(w.message(toAlice), isNew)
		next := alice()
		next.Epoch = 2
		w.admit(next, true, queue.Admitted)
		w.nothing(alice(), work, toAlice)
		w.one(next, toAlice)
	}},
	{"TakeoverEndsLeases", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		w.accept(w.message(toAlice), isNew)
		d := w.one(alice(), toAlice)
		next := alice()
		next.Epoch = 2
		w.admit(next, true, queue.Admitted)
		w.custody(alice(), d, false)
		require.Equal(w, d.Seq, w.one(next, toAlice).Seq)
	}},
}

var custodyRules = []rule{
	{"OfTheHolder", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		w.restart()
		d := w.one(alice(), toAny)
		w.custody(bob(), d, false)
		ok, err := w.e.Custody(w.ctx, alice(), d.Seq, "another-id")
		require.NoError(w, err)
		require.False(w, ok)
		ok, err = w.e.Custody(w.ctx, alice(), d.Seq+1, idOf(m))
		require.NoError(w, err)
		require.False(w, ok)
		for _, seq := range []int64{0, -1, 1<<63 - 1} {
			ok, err = w.e.Custody(w.ctx, alice(), seq, idOf(m))
			require.NoError(w, err)
			require.False(w, ok)
		}
		w.custody(alice(), d, true)
		w.restart()
		w.accept(m, delivered)
	}},
	{"AsksAgain", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		m := w.message(toAny)
		d := w.deliver(m, alice())
		w.custody(alice(), d, true)
		w.custody(bob(), d, false)
		next := alice()
		next.Epoch, next.Stream = 2, 9
		w.admit(next, true, queue.Admitted)
		w.custody(next, d, true)
		w.custody(alice(), d, false)
		w.end(next, m, ack.Fulfilled, ack.NoCode)
		w.custody(next, d, true)
	}},
	{"OfTheLastHolder", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		d := w.one(alice(), toAny)
		w.release(alice())
		w.restart()
		w.custody(bob(), d, false)
		w.custody(alice(), d, true)
		w.restart()
		w.nothing(bob(), work, toAny)
		w.accept(m, delivered)
	}},
	{"NotWhileAnotherHasIt", func(w *world) {
		w.accept(w.message(toAny), isNew)
		d := w.one(alice(), toAny)
		w.release(alice())
		w.one(bob(), toAny)
		w.custody(alice(), d, false)
		w.release(bob())
		w.custody(alice(), d, false)
		w.custody(bob(), d, true)
	}},
	{"NotOfAReplacedStore", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		m := w.message(toAny)
		d := w.deliver(m, alice())
		replaced := alice()
		replaced.Store = "store-a2"
		w.admit(replaced, false, queue.Admitted)
		w.custody(alice(), d, false)
		w.custody(replaced, d, false)
	}},
	{"OfAnUnnamedStore", func(w *world) {
		m := w.message(toCarol)
		w.accept(m, isNew)
		d := w.one(carol(), toCarol)
		other := carol()
		other.Stream = 9
		// Its streams are one store.
		w.custody(other, d, true)
		w.restart()
		w.custody(carol(), d, true)
		w.accept(m, delivered)
	}},
	{"OfAnEarlierAttempt", func(w *world) {
		m := w.message(toAny)
		d := w.deliver(m, alice())
		w.end(alice(), m, ack.Failed, ack.Overloaded)
		w.accept(w.attempt(m), isNew)
		w.restart()
		w.custody(alice(), d, true)
		d2 := w.one(bob(), toAny)
		w.custody(bob(), d2, true)
		w.restart()
		w.custody(alice(), d, false)
	}},
}

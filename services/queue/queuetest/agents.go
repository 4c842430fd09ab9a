package queuetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

var admitRules = []rule{
	{"Epochs", func(w *world) {
		a := alice()
		a.Epoch = 5
		w.admit(a, false, queue.Admitted)
		w.admit(a, true, queue.Admitted)
		a.Epoch = 7
		w.admit(a, true, queue.Admitted)
		a.Epoch = 6
		w.admit(a, false, queue.RefusedRolledBack)
		a.Epoch = 7
		w.admit(a, false, queue.Admitted)
	}},
	{"AnotherStore", func(w *world) {
		a := alice()
		w.admit(a, false, queue.Admitted)
		b := a
		b.Store, b.Epoch = "store-a2", 1
		w.admit(b, true, queue.RefusedDuplicate)
		w.admit(a, true, queue.Admitted)
		w.admit(b, false, queue.Admitted)
		a.Epoch = 100
		w.admit(a, false, queue.RefusedRolledBack)
		w.admit(a, true, queue.RefusedRolledBack)
		w.admit(b, true, queue.Admitted)
	}},
	{"LostCustodyIsTold", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		inCustody, ended, waits := w.message(toAny), w.message(toAlice), w.message(toAlice)
		w.deliver(inCustody, alice())
		w.deliver(ended, alice())
		w.end(alice(), ended, ack.Fulfilled, ack.NoCode)
		require.Len(w, w.lease(sam(), signal, toSam), 1)
		w.release(sam())
		w.pass(time.Minute)
		w.accept(waits, isNew)
		b := alice()
		b.Store, b.Epoch = "store-a2", 1
		w.admit(b, false, queue.Admitted)
		w.restart()
		w.accept(inCustody, lost)
		w.expire()
		w.restart()
		ds := w.lease(sam(), signal, toSam)
		require.Len(w, ds, 2)
		w.custody(sam(), ds[0], true) // what alice said herself
		w.release(sam())
		a := w.owed(inCustody)
		require.Equal(w, ack.Failed, a.Stage)
		require.Equal(w, ack.AgentUnavailable, a.Code)
		require.Contains(w, a.Note, "receiver_lost_state")
		w.isDone(inCustody, ack.Failed, ack.AgentUnavailable)
		w.isDone(ended, ack.Fulfilled, ack.NoCode)
		w.custody(b, w.one(b, toAlice), true)
		again := w.attempt(inCustody)
		w.accept(again, isNew)
		w.custody(b, w.one(b, toAny), true)
		w.expire()
		w.restart()
		w.expire()
		w.nothing(sam(), signal, toSam)
		w.accept(again, delivered)
		w.accept(waits, delivered)
	}},
	{"LostCustodyOfUnnamedPeersIsTold", func(w *world) {
		m := w.message(toCarol)
		w.deliver(m, carol())
		c := carol()
		c.Store, c.Epoch = "store-c", 1
		w.admit(c, false, queue.Admitted)
		w.restart()
		w.expire()
		require.Equal(w, ack.AgentUnavailable, w.owed(m).Code)
	}},
	{"Unnamed", func(w *world) {
		w.admit(carol(), false, queue.Admitted)
		w.admit(carol(), true, queue.Admitted)
		named := queue.Holder{Agent: "carol", Store: "store-c", Epoch: 1}
		w.admit(named, true, queue.RefusedDuplicate)
		w.admit(named, false, queue.Admitted)
		w.admit(carol(), true, queue.RefusedDuplicate)
		w.admit(carol(), false, queue.Admitted)
	}},
	{"HigherEpochKeepsCustody", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		m := w.message(toAny)
		w.deliver(m, alice())
		next := alice()
		next.Epoch = 2
		w.admit(next, true, queue.Admitted)
		w.accept(m, delivered)
		w.one(next, toAlice)
	}},
	{"Reserved", func(w *world) {
		w.admit(queue.Holder{Agent: address.RouterID, Store: "x"}, false, queue.RefusedDuplicate)
		for _, h := range []queue.Holder{{}, {Agent: "a\x00"}, {Agent: "a", Store: "\x00"}} {
			_, err := w.e.Admit(w.ctx, h, false)
			require.Error(w, err)
		}
	}},
	{"ManyStores", func(w *world) {
		for i := range 10 {
			w.admit(queue.Holder{Agent: "alice", Store: fmt.Sprint("s", i), Epoch: 1}, false, queue.Admitted)
		}
		for i := range 9 {
			w.admit(queue.Holder{Agent: "alice", Store: fmt.Sprint("s", i), Epoch: 9}, false, queue.RefusedRolledBack)
		}
	}},
	{"AgentsAreBounded", func(w *world) {
		known := func(i int) queue.Holder { return queue.Holder{Agent: fmt.Sprint("agent-", i), Store: "s", Epoch: 1} }
		for i := range Limits().MaxAgents {
			w.admit(known(i), false, queue.Admitted)
		}
		w.admit(alice(), false, queue.RefusedFull)
		w.admit(carol(), false, queue.RefusedFull)
		w.admit(known(0), true, queue.Admitted)
		w.expire() // nobody has to be told of lost custody
		w.pass(Limits().KeepAgents + time.Minute)
		w.prune()
		w.restart()
		w.admit(alice(), false, queue.Admitted)
	}},
	{"AgentsThatAreGoneAreForgotten", func(w *world) {
		all := []queue.Holder{alice(), bob(), sam(), {Agent: "dora", Store: "store-d"}}
		for i := range all {
			all[i].Epoch = 5
			w.admit(all[i], false, queue.Admitted)
		}
		m := w.message(toBob)
		m.From = all[2]
		w.accept(m, isNew)
		w.expire()
		connected := func(agent string) bool { return agent == "sam" }
		w.pass(Limits().KeepAgents - time.Minute)
		w.pruneBut(connected)
		w.restart()
		for i := range all {
			all[i].Epoch = 4
			w.admit(all[i], false, queue.RefusedRolledBack)
		}
		w.pass(2 * time.Minute)
		w.pruneBut(connected)
		w.restart()
		w.admit(all[0], false, queue.Admitted)
		w.admit(all[1], false, queue.RefusedRolledBack) // a message waits for it
		w.admit(all[2], false, queue.RefusedRolledBack) // it is there
		w.admit(all[3], false, queue.Admitted)
		w.pass(Limits().KeepAgents - time.Minute)
		w.prune()
		w.restart()
		w.admit(all[2], false, queue.RefusedRolledBack) // it was there until lately
		w.pass(2 * time.Minute)
		w.prune()
		w.restart()
		w.admit(all[2], false, queue.Admitted)
	}},
	{"WhatAForgottenAgentHadIsLostToTheNext", func(w *world) {
		w.admit(alice(), false, queue.Admitted)
		m := w.message(toAny)
		m.DeadlineLeft = 2 * Limits().KeepAgents
		w.deliver(m, alice())
		w.expire()
		w.pass(Limits().KeepAgents + time.Minute)
		w.prune()
		w.restart()
		w.accept(m, delivered)
		w.admit(alice(), false, queue.Admitted)
		w.accept(m, delivered)
		b := alice()
		b.Store = "store-a2"
		w.admit(b, false, queue.Admitted)
		w.accept(m, lost)
	}},
}

var pruneRules = []rule{
	{"ByLowestOpen", func(w *world) {
		var ms []queue.Message
		for range 5 {
			m := w.message(toAny)
			m.LowestOpen, m.DeadlineLeft = 1, time.Hour
			w.deliver(m, alice())
			ms = append(ms, m)
		}
		w.end(alice(), ms[0], ack.Fulfilled, ack.NoCode)
		w.prune()
		w.isDone(ms[0], ack.Fulfilled, ack.NoCode)
		next := w.message(toAny)
		next.LowestOpen = ms[3].Envelope.GetSequenceNumber()
		w.accept(next, isNew)
		w.prune()
		w.restart()
		for i, m := range ms {
			_, ok, err := w.e.Lookup(w.ctx, idOf(m))
			require.NoError(w, err)
			require.Equal(w, i >= 3, ok, "message %d", i)
		}
		w.accept(ms[3], delivered)
		w.accept(ms[0], isNew)
	}},
	{"ByDeadlineAndWindow", func(w *world) {
		m := w.message(toAny)
		m.DeadlineLeft = 2 * time.Hour
		w.deliver(m, alice())
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		w.pass(3*time.Hour - time.Second)
		w.prune()
		w.restart()
		w.isDone(m, ack.Fulfilled, ack.NoCode)
		w.pass(2 * time.Second)
		w.prune()
		w.restart()
		w.accept(m, isNew)
	}},
	{"ByKeepUnknown", func(w *world) {
		m := w.message(toAny)
		w.deliver(m, alice())
		w.pass(Limits().KeepUnknown - time.Second)
		w.prune()
		w.accept(m, delivered)
		w.pass(2 * time.Second)
		w.prune()
		w.restart()
		// With the token goes the copy that waits for its custodian.
		w.nothing(alice(), work, toAlice)
		w.accept(m, isNew)
	}},
	{"NeverWhatWaits", func(w *world) {
		m := w.message(toAny)
		m.LowestOpen, m.DeadlineLeft = 1, time.Minute
		w.accept(m, isNew)
		for range 5 {
			w.pass(100 * time.Hour)
			w.prune()
			w.restart()
			w.accept(m, queued)
		}
		next := w.message(toBob)
		next.LowestOpen = next.Envelope.GetSequenceNumber()
		w.accept(next, isNew)
		w.prune()
		w.restart()
		w.accept(m, queued)
		w.custody(alice(), w.one(alice(), toAny), true)
		w.pass(100 * time.Hour)
		w.prune()
		w.accept(m, isNew)
	}},
	{"AnotherStoreCountsFromTheStart", func(w *world) {
		w.admit(sam(), false, queue.Admitted)
		m := w.message(toAny)
		m.LowestOpen, m.Envelope.SequenceNumber = 1000, 1000
		w.accept(m, isNew)
		replaced := sam()
		replaced.Store = "store-s2"
		w.admit(replaced, false, queue.Admitted)
		m = w.message(toAny)
		m.From = replaced
		m.LowestOpen, m.Envelope.SequenceNumber = 1, 1
		w.accept(m, isNew)
		require.Len(w, w.lease(alice(), work, toAny), 2)
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		w.prune()
		w.isDone(m, ack.Fulfilled, ack.NoCode)
	}},
	{"SignalsAndAnswers", func(w *world) {
		m := w.control(answer, alice(), toSam)
		w.accept(m, isNew)
		w.custody(sam(), w.lease(sam(), answer, toSam)[0], true)
		w.pass(Limits().KeepUnknown - time.Second)
		w.prune()
		w.restart()
		w.accept(m, done)
		w.pass(2 * time.Second)
		w.prune()
		w.restart()
		w.accept(m, isNew)
	}},
	{"TokenUsedAgain", func(w *world) {
		m := w.message(toAny)
		m.LowestOpen = 1
		w.deliver(m, alice())
		w.end(alice(), m, ack.Fulfilled, ack.NoCode)
		again := w.attempt(m)
		again.Envelope.RetryCount, again.Envelope.SequenceNumber = 0, 1000
		// Its sender still has the earlier operation open, so this is a duplicate of it.
		w.isDone(again, ack.Fulfilled, ack.NoCode)
		w.restart()
		again = w.attempt(again)
		again.Envelope.RetryCount, again.LowestOpen = 0, m.Envelope.GetSequenceNumber()+1
		w.accept(again, isNew)
		w.restart()
		w.accept(again, queued)
		w.prune()
		w.restart()
		require.Equal(w, []string{idOf(again)}, idsOf(w.lease(bob(), work, toAny)))
		w.nothing(alice(), work, toAlice)
		// What is left of the earlier operation does not end this one.
		w.accept(w.ends(alice(), idOf(m), ack.Failed, ack.InternalError), isNew)
		w.accept(again, leased)
		w.pass(100 * time.Hour)
		w.prune()
		w.accept(again, leased)
	}},
	{"Aliases", func(w *world) {
		m := w.message(toAny)
		w.accept(m, isNew)
		var again []queue.Message
		for range 100 {
			again = append(again, w.attempt(m))
			again[len(again)-1].Envelope.RetryCount = uint32(len(again))
			w.accept(again[len(again)-1], queued)
		}
		w.restart()
		d := w.one(alice(), toAny)
		w.custody(alice(), d, true)
		w.end(alice(), m, ack.Failed, ack.InternalError)
		w.isDone(m, ack.Failed, ack.InternalError)
		w.end(alice(), again[99], ack.Fulfilled, ack.NoCode)
		w.isDone(m, ack.Fulfilled, ack.NoCode)
		w.pass(100 * time.Hour)
		w.prune()
		w.restart()
		for _, a := range again {
			_, ok, err := w.e.Lookup(w.ctx, idOf(a))
			require.NoError(w, err)
			require.False(w, ok)
		}
	}},
	{"Many", func(w *world) {
		for range 300 {
			m := w.message(toAny)
			m.LowestOpen = 1
			w.accept(m, isNew)
			w.custody(alice(), w.one(alice(), toAny), true)
		}
		m := w.message(toBob)
		m.LowestOpen = m.Envelope.GetSequenceNumber()
		w.accept(m, isNew)
		w.prune()
		w.restart()
		for i := range 300 {
			_, ok, err := w.e.Lookup(w.ctx, fmt.Sprintf("00000000-0000-4000-8000-%012d", i+1))
			require.NoError(w, err)
			require.False(w, ok)
		}
		for range 300 {
			w.accept(w.message(toAny), isNew)
			w.custody(alice(), w.one(alice(), toAny), true)
		}
		w.restart()
		w.pass(100 * time.Hour)
		w.prune()
		w.prune()
		_, ok, err := w.e.Lookup(w.ctx, fmt.Sprintf("00000000-0000-4000-8000-%012d", 500))
		require.NoError(w, err)
		require.False(w, ok)
	}},
}

// inspectRules is a function, since its rules name helpers of their own.
func inspectRules() []rule {
	depths := func(w *world) map[string]queue.Depth {
		all := make(map[string]queue.Depth)
		require.NoError(w, w.e.Scan(w.ctx, func(d queue.Depth) error {
			all[d.To] = d
			return nil
		}))
		return all
	}
	return []rule{
		{"Lookup", func(w *world) {
			m := w.message(toAny)
			w.accept(m, isNew)
			again := w.attempt(m)
			w.accept(again, queued)
			w.restart()
			want := queue.Origin{Producer: "sam", To: toAny, Token: m.Envelope.GetIdempotencyToken(), CorrelationID: m.Envelope.GetCorrelationId()}
			for _, id := range []string{idOf(m), idOf(again)} {
				o, ok, err := w.e.Lookup(w.ctx, id)
				require.NoError(w, err)
				require.True(w, ok)
				require.Equal(w, want, o)
			}
			w.custody(alice(), w.one(alice(), toAny), true)
			w.restart()
			want.Custodian = "alice"
			o, ok, err := w.e.Lookup(w.ctx, idOf(m))
			require.NoError(w, err)
			require.True(w, ok)
			require.Equal(w, want, o)
		}},
		{"LookupOfAnAnswer", func(w *world) {
			m := w.control(answer, alice(), toSam)
			w.accept(m, isNew)
			w.restart()
			o, ok, err := w.e.Lookup(w.ctx, idOf(m))
			require.NoError(w, err)
			require.True(w, ok)
			require.Equal(w, queue.Origin{Producer: "alice", To: toSam, CorrelationID: m.Envelope.GetCorrelationId()}, o)
		}},
		{"LookupOfNothing", func(w *world) {
			for _, id := range []string{"", "x", string(make([]byte, 1<<16))} {
				_, ok, err := w.e.Lookup(w.ctx, id)
				require.NoError(w, err)
				require.False(w, ok)
			}
		}},
		{"Depths", func(w *world) {
			require.Empty(w, depths(w))
			start := w.now
			w.accept(w.message(toAlice), isNew)
			w.pass(time.Second)
			w.accept(w.message(toAlice), isNew)
			w.accept(w.control(signal, sam(), toAlice), isNew)
			w.accept(w.control(answer, sam(), toBob), isNew)
			w.restart()
			w.lease(bob(), answer, toBob)
			all := depths(w)
			require.Len(w, all, 2)
			a, b := all[toAlice], all[toBob]
			require.Equal(w, [4]int{2, 0, 1, 0}, [4]int{a.Work, a.Answers, a.Signals, a.Leased})
			require.Equal(w, [4]int{0, 1, 0, 1}, [4]int{b.Work, b.Answers, b.Signals, b.Leased})
			require.WithinDuration(w, start, a.Oldest, time.Millisecond)
		}},
		{"ScanStops", func(w *world) {
			w.accept(w.message(toAlice), isNew)
			w.accept(w.message(toBob), isNew)
			stop, calls := errors.New("stop"), 0
			require.ErrorIs(w, w.e.Scan(w.ctx, func(queue.Depth) error {
				calls++
				// The engine may be used meanwhile.
				w.accept(w.message(toCarol), isNew)
				return stop
			}), stop)
			require.Equal(w, 1, calls)
		}},
		{"DeadLettersOldestFirst", func(w *world) {
			var want []string
			for range 4 {
				m := w.message(toAlice)
				m.Envelope.TtlMs = 1000
				w.accept(m, isNew)
				want = append(want, idOf(m))
				w.pass(2 * time.Second)
				w.expire()
				w.restart()
			}
			var got []string
			for _, l := range w.dead() {
				got = append(got, l.Envelope.GetMessageId())
				require.False(w, l.DiedAt.Before(l.AcceptedAt))
			}
			require.Equal(w, want, got)
			two, err := w.e.DeadLetters(w.ctx, 2)
			require.NoError(w, err)
			require.Len(w, two, 2)
			none, err := w.e.DeadLetters(w.ctx, 0)
			require.NoError(w, err)
			require.Empty(w, none)
		}},
		{"ID", func(w *world) {
			id := w.e.ID()
			require.NotEmpty(w, id)
			w.e = w.reopen()
			require.Equal(w, id, w.e.ID())
		}},
	}
}

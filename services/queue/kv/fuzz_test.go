package kv_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// kinds are the second bytes of all keys.
const kinds = "mihrbtlxspd"

// FuzzRecords puts something else into the place of the records of one kind. Whatever it is, the engine opens or says that
// the record is damaged, works on or says so, and never panics.
func FuzzRecords(f *testing.F) {
	whole := records(f)
	for key, value := range whole {
		f.Add(key[1], []byte(key[2:]), []byte(value), false)
		f.Add(key[1], []byte(key[2:]), []byte(value)[:len(value)/2], false)
	}
	for _, kind := range []byte(kinds) {
		f.Add(kind, []byte{}, []byte{0xff}, true)
		f.Add(kind, []byte("short"), []byte{}, true)
	}
	f.Fuzz(func(t *testing.T, kind byte, key, value []byte, all bool) {
		s := store.NewMemory()
		var b store.Batch
		for key, is := range whole {
			if all && key[1] == kind {
				is = string(value)
			}
			b.Set([]byte(key), []byte(is))
		}
		b.Set(append([]byte{'q', kind}, key...), value)
		require.NoError(t, store.Write(t.Context(), s, &b))
		e, err := kv.Open(t.Context(), s, kv.Options{})
		requireDamage(t, err)
		if err == nil {
			requireDamage(t, use(t.Context(), e))
		}
	})
}

// requireDamage accepts an error that tells of damage, or none.
func requireDamage(t *testing.T, err error) {
	t.Helper()
	var damaged *store.DamagedError
	if err != nil && !errors.As(err, &damaged) && !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("it is no damage: %v", err)
	}
}

// records returns what lies in a store after something of everything has happened.
func records(f *testing.F) map[string]string {
	s := store.NewMemory()
	e, err := kv.Open(f.Context(), s, kv.Options{})
	require.NoError(f, err)
	require.NoError(f, use(f.Context(), e))
	found := map[string]string{}
	require.NoError(f, s.Scan(nil, nil, func(key, value []byte) error {
		found[string(key)] = string(value)
		return nil
	}))
	return found
}

// use does something of everything, and returns the first error.
func use(ctx context.Context, e *kv.Engine) error {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	worker, producer := holder("worker"), holder("producer")
	worker.Store, worker.Epoch = "store", 1
	if _, err := e.Admit(ctx, worker, false); err != nil {
		return err
	}
	to := "capability:c"
	for _, id := range []string{"m-1", "m-2", "m-3", "m-4"} {
		m := message(id)
		m.To, m.From, m.At, m.LowestOpen = to, producer, now, 1
		m.Envelope.ProducerId, m.Envelope.SequenceNumber = producer.Agent, uint64(id[2]-'0')
		if _, err := queue.Submit(ctx, e, m); err != nil {
			return err
		}
		if _, _, err := e.Lookup(ctx, id); err != nil {
			return err
		}
	}
	request := queue.LeaseRequest{
		Holder: worker, Addresses: []string{to, "agent:worker"}, Class: transportpb.Class_CLASS_WORK,
		MaxMessages: 3, MaxBytes: 1 << 20, Now: now, Until: now.Add(time.Minute),
	}
	deliveries, err := e.Lease(ctx, request)
	if err != nil {
		return err
	}
	for n, d := range deliveries {
		id := d.Envelope.GetMessageId()
		if n == 0 {
			_, err = e.Dead(ctx, worker, d.Seq, id, "unreadable")
		} else {
			_, err = e.Custody(ctx, worker, d.Seq, id)
		}
		if err != nil {
			return err
		}
	}
	s := signal("ack-m-2", worker.Agent, "agent:producer")
	s.From, s.At, s.Ends = worker, now, &queue.Outcome{MessageID: "m-2", Stage: ack.Fulfilled}
	if _, err := queue.Submit(ctx, e, s); err != nil {
		return err
	}
	if _, err := e.Withdraw(ctx, queue.Withdrawal{From: producer, To: to, MessageID: "m-4"}); err != nil {
		return err
	}
	if _, err := e.DeadLetters(ctx, 10); err != nil {
		return err
	}
	if _, err := e.Expire(ctx, now.Add(time.Hour)); err != nil {
		return err
	}
	return e.Prune(ctx, now.Add(time.Hour), nobody)
}

package kv

import (
	"bytes"
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Rebuild makes a sound queue of what a salvage has left in s, of which some records may be missing. What it drops it
// reports in words. A message that waited and whose envelope or record is lost is forgotten with its token, so that its
// sender's next question is answered by taking it again; the index of times and sequences is made anew.
//
// Nobody may use s meanwhile. When Rebuild returns an error or its process dies, it is to be done again from the beginning.
func Rebuild(ctx context.Context, s store.Store, report func(string)) error {
	if err := rebuild(ctx, s, report); err != nil {
		return fmt.Errorf("rebuild the queue: %w", err)
	}
	return nil
}

func rebuild(ctx context.Context, s store.Store, report func(string)) error {
	var b store.Batch
	for _, kind := range []byte{kindHead, kindExpiry, kindSequence} {
		b.DeleteRange(kindRange(kind))
	}
	if err := store.Write(ctx, s, &b); err != nil {
		return err
	}
	// What one removal leaves without its counterpart is removed by the next round.
	for {
		m, removed, err := sweep(ctx, s, report)
		if err != nil {
			return err
		}
		if !removed {
			return index(ctx, s, m)
		}
	}
}

// sweep removes what contradicts itself, but for what index makes anew.
func sweep(ctx context.Context, s store.Store, report func(string)) (m mender, removed bool, err error) {
	var b store.Batch
	m = mender{r: s}
	m.wrong = func(key []byte, text string, args ...any) error {
		if key[1] == kindHead || key[1] == kindCounters {
			return nil
		}
		report(fmt.Sprintf(text+": it is dropped", args...))
		b.Delete(bytes.Clone(key))
		removed = true
		return nil
	}
	if err := m.run(ctx, new(Summary)); err != nil {
		return m, false, err
	}
	return m, removed, store.Write(ctx, s, &b)
}

// index writes the beginnings of queues, the order of times, the order of sequences, and the counters.
func index(ctx context.Context, s store.Store, found mender) error {
	w := indexer{s: s}
	heads := map[queueKey]bool{}
	err := walk(ctx, s, kindRow, func(key, value []byte) error {
		var p storagepb.QueueRow
		if err := decode(key, value, &p); err != nil {
			return err
		}
		k := queueKey{p.GetClass(), p.GetAddress()}
		if heads[k] {
			return nil
		}
		heads[k] = true // rows come by their numbers
		return w.put(k.headKey(), &storagepb.QueueHead{Seq: p.GetSeq()})
	})
	if err != nil {
		return err
	}
	if err := walk(ctx, s, kindToken, w.token); err != nil {
		return err
	}
	if err := walk(ctx, s, kindID, w.id); err != nil {
		return err
	}
	if err := walk(ctx, s, kindInstance, w.instance); err != nil {
		return err
	}
	var counters storagepb.QueueCounters
	if value, err := s.Get(countersKey()); err == nil {
		_ = proto.Unmarshal(value, &counters) // a damaged one counts as none
	}
	counters.ReservedSeq = max(counters.GetReservedSeq(), found.last) + seqBlock
	counters.Dead, counters.DeadBytes = found.dead.letters, found.dead.bytes
	counters.PrunedUntilMs = 0
	if err := w.put(countersKey(), &counters); err != nil {
		return err
	}
	return store.Write(ctx, s, &w.b)
}

type indexer struct {
	s store.Store
	b store.Batch
}

func (w *indexer) put(key []byte, m proto.Message) error {
	value, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %T: %w", m, err)
	}
	return w.set(key, value)
}

func (w *indexer) set(key, value []byte) error {
	if w.b.Set(key, value); w.b.Len() < 1024 {
		return nil
	}
	_, err := w.s.Apply(&w.b)
	w.b.Reset()
	return err
}

func (w *indexer) token(key, value []byte) error {
	var t storagepb.QueueToken
	if err := decode(key, value, &t); err != nil {
		return err
	}
	k := tokenKey(sized(key[2:]))
	if err := w.set(expiryKey(t.GetExpiresMs(), kindToken, string(k[:])), nil); err != nil {
		return err
	}
	for _, id := range t.GetMessageIds() {
		var known storagepb.QueueMessageId
		if has, err := (&mender{r: w.s}).read(idKey(id), &known); err != nil {
			return err
		} else if has {
			continue
		}
		lost := &storagepb.QueueMessageId{
			Producer: t.GetProducer(), Class: transportpb.Class_CLASS_WORK,
			Attempts: []*storagepb.QueueMessageId_Attempt{{TokenKey: k[:], RetryCount: t.GetRetryCount()}},
		}
		if err := w.put(idKey(id), lost); err != nil {
			return err
		}
	}
	if t.GetProducerSequence() == 0 {
		return nil
	}
	return w.set(producerKey{t.GetProducer(), t.GetProducerStore()}.sequenceKey(t.GetProducerSequence(), k), nil)
}

func (w *indexer) id(key, value []byte) error {
	var id storagepb.QueueMessageId
	if err := decode(key, value, &id); err != nil || id.GetClass() == transportpb.Class_CLASS_WORK {
		return err
	}
	return w.set(expiryKey(id.GetExpiresMs(), kindID, string(key[2:])), nil)
}

func (w *indexer) instance(key, value []byte) error {
	var i storagepb.QueueInstance
	if err := decode(key, value, &i); err != nil || i.GetExpiresMs() == 0 {
		return err
	}
	return w.set(expiryKey(i.GetExpiresMs(), kindInstance, string(key[2:])), nil)
}

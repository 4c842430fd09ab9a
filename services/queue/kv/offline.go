package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Waiting is a message in a queue of a closed store.
type Waiting struct {
	Seq                 int64
	Class               transportpb.Class
	To, Queue, Producer string
	MessageID           string
	RetryCount          uint32
	AcceptedAt          time.Time
	Deliveries          int
	// LastAgent is the agent that had it last.
	LastAgent string
	// Envelope is the message; nil when it is lost.
	Envelope *commonpb.Envelope
}

// WalkWaiting calls fn for every message that waits in the queues of r, by class and address, until fn returns an error or
// store.ErrStop, which it does not return. Nobody may change r meanwhile.
func WalkWaiting(ctx context.Context, r store.Reader, fn func(Waiting) error) error {
	return walk(ctx, r, kindRow, func(key, value []byte) error {
		var p storagepb.QueueRow
		if err := decode(key, value, &p); err != nil {
			return err
		}
		env, err := envelopeOf(r, p.GetSeq())
		if err != nil {
			return err
		}
		return fn(Waiting{
			Seq: p.GetSeq(), Class: p.GetClass(), To: p.GetTo(), Queue: p.GetAddress(), Producer: p.GetProducer(),
			MessageID: p.GetMessageId(), RetryCount: p.GetRetryCount(), AcceptedAt: time.Unix(0, p.GetAcceptedAt()),
			Deliveries: int(p.GetDeliveries()), LastAgent: p.GetLastAgent(), Envelope: env,
		})
	})
}

// WalkDead calls fn for every dead letter of r, oldest first, as WalkWaiting does. Its Envelope is nil when it is lost.
func WalkDead(ctx context.Context, r store.Reader, fn func(queue.DeadLetter) error) error {
	return walk(ctx, r, kindDead, func(key, value []byte) error {
		var p storagepb.QueueDeadLetter
		if err := decode(key, value, &p); err != nil {
			return err
		}
		env, err := envelopeOf(r, p.GetRow().GetSeq())
		if err != nil {
			return err
		}
		return fn(deadLetter(&p, env))
	})
}

// Withdrawn is an attempt in a closed store that its sender has taken back.
type Withdrawn struct{ Token, MessageID string }

// WalkWithdrawn calls fn for every latest attempt of r that was taken back, as WalkWaiting does.
func WalkWithdrawn(ctx context.Context, r store.Reader, fn func(Withdrawn) error) error {
	return walk(ctx, r, kindToken, func(key, value []byte) error {
		var t storagepb.QueueToken
		if err := decode(key, value, &t); err != nil {
			return err
		}
		ids := t.GetMessageIds()
		if !t.GetWithdrawn() || len(ids) == 0 {
			return nil
		}
		return fn(Withdrawn{t.GetToken(), ids[len(ids)-1]})
	})
}

func envelopeOf(r store.Reader, seq int64) (*commonpb.Envelope, error) {
	key := bodyKey(seq)
	value, err := r.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read envelope %d: %w", seq, err)
	}
	env := new(commonpb.Envelope)
	return env, decode(key, value, env)
}

// walkBytes is how many bytes walk reads at a time.
const walkBytes = 1 << 20

// walk calls fn for all keys of a kind. fn may use the store.
func walk(ctx context.Context, r store.Reader, kind byte, fn func(key, value []byte) error) error {
	type pair struct{ key, value []byte }
	start, end := kindRange(kind)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var pairs []pair
		size := 0
		err := r.Scan(start, end, func(key, value []byte) error {
			pairs = append(pairs, pair{bytes.Clone(key), bytes.Clone(value)})
			if size += len(key) + len(value); size > walkBytes {
				return store.ErrStop
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read the queue: %w", err)
		}
		for _, p := range pairs {
			if err := fn(p.key, p.value); errors.Is(err, store.ErrStop) {
				return nil
			} else if err != nil {
				return err
			}
		}
		if size <= walkBytes {
			return nil
		}
		start = after(pairs[len(pairs)-1].key)
	}
}

// Summary counts what a closed queue holds.
type Summary struct{ Waiting, Dead, Tokens, Instances int }

// Check reads a whole queue, which nobody changes meanwhile, and reports what does not decode, messages without their
// envelopes or outside of their queue's beginning, which an engine would not find, and what names something that is not
// there. The error is the store's, or ctx's.
func Check(ctx context.Context, r store.Reader, report func(*store.DamagedError)) (Summary, error) {
	var sum Summary
	m := mender{r: r, wrong: func(key []byte, text string, args ...any) error {
		report(&store.DamagedError{File: "the queue's store", Offset: -1, Key: key, Err: fmt.Errorf(text, args...)})
		return nil
	}}
	err := m.run(ctx, &sum)
	return sum, err
}

// mender looks for what contradicts itself, and tells wrong.
type mender struct {
	r      store.Reader
	wrong  func(key []byte, text string, args ...any) error
	lowest map[queueKey]int64
	bodies map[int64]bool
	dead   deadCount
	last   int64
}

func (m *mender) run(ctx context.Context, sum *Summary) error {
	m.lowest, m.bodies = map[queueKey]int64{}, map[int64]bool{}
	for _, step := range []struct {
		kind byte
		fn   func(key, value []byte) error
	}{
		{kindRow, func(key, value []byte) error { sum.Waiting++; return m.row(key, value) }},
		{kindDead, func(key, value []byte) error { sum.Dead++; return m.deadLetter(key, value) }},
		{kindBody, m.body},
		{kindHead, m.head},
		{kindToken, func(key, value []byte) error { sum.Tokens++; return m.token(key, value) }},
		{kindID, m.id},
		{kindInstance, func(key, value []byte) error {
			sum.Instances++
			return m.decodes(key, value, new(storagepb.QueueInstance))
		}},
		{kindMark, func(key, value []byte) error { return m.decodes(key, value, new(storagepb.QueueMark)) }},
	} {
		if err := walk(ctx, m.r, step.kind, step.fn); err != nil {
			return err
		}
	}
	for k, seq := range m.lowest {
		if seq > 0 {
			if err := m.wrong(k.headKey(), "the beginning of queue %s is missing, and message %d waits in it", k.address, seq); err != nil {
				return err
			}
		}
	}
	return m.counters()
}

func (m *mender) decodes(key, value []byte, into proto.Message) error {
	if err := proto.Unmarshal(value, into); err != nil {
		return m.wrong(key, "decode %s: %w", proto.MessageName(into), err)
	}
	return nil
}

// read reads a record that need not be there.
func (m *mender) read(key []byte, into proto.Message) (bool, error) {
	value, err := m.r.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && proto.Unmarshal(value, into) == nil, err
}

func (m *mender) row(key, value []byte) error {
	var p storagepb.QueueRow
	if err := proto.Unmarshal(value, &p); err != nil {
		return m.wrong(key, "a waiting message does not decode: %w", err)
	}
	k := queueKey{p.GetClass(), p.GetAddress()}
	if !bytes.Equal(key, k.rowKey(p.GetSeq())) {
		return m.wrong(key, "message %d for %s waits at another place than it says", p.GetSeq(), p.GetAddress())
	}
	m.last = max(m.last, p.GetSeq())
	has, err := m.read(bodyKey(p.GetSeq()), new(commonpb.Envelope))
	if err != nil {
		return err
	}
	if !has {
		return m.wrong(key, "the envelope of message %s from %s to %s is missing", p.GetMessageId(), p.GetProducer(), p.GetTo())
	}
	m.bodies[p.GetSeq()] = true
	if first, ok := m.lowest[k]; !ok || p.GetSeq() < first {
		m.lowest[k] = p.GetSeq()
	}
	if p.GetClass() != transportpb.Class_CLASS_WORK || p.GetCopy() {
		return nil
	}
	has, err = m.read(tokenEntryKey(tokenKey(sized(p.GetTokenKey()))), new(storagepb.QueueToken))
	if err == nil && !has {
		err = m.wrong(key, "the token of message %s from %s to %s is missing", p.GetMessageId(), p.GetProducer(), p.GetTo())
	}
	return err
}

// sized makes of what a record says a key of the right size.
func sized(b []byte) []byte {
	return append(bytes.Clone(b), make([]byte, len(tokenKey{}))...)[:len(tokenKey{})]
}

func (m *mender) deadLetter(key, value []byte) error {
	var p storagepb.QueueDeadLetter
	if err := proto.Unmarshal(value, &p); err != nil {
		return m.wrong(key, "a dead letter does not decode: %w", err)
	}
	seq := p.GetRow().GetSeq()
	if at, ok := deadSeq(key); !ok || at != seq {
		return m.wrong(key, "dead letter %d lies at another place than it says", seq)
	}
	if m.bodies[seq] {
		return m.wrong(key, "dead letter %d waits too, or is dead twice", seq)
	}
	m.last = max(m.last, seq)
	has, err := m.read(bodyKey(seq), new(commonpb.Envelope))
	if err != nil {
		return err
	}
	if !has {
		return m.wrong(key, "the envelope of dead letter %s from %s to %s is missing", p.GetRow().GetMessageId(), p.GetRow().GetProducer(), p.GetRow().GetTo())
	}
	m.bodies[seq] = true
	m.dead.letters++
	m.dead.bytes += p.GetRow().GetBytes()
	return nil
}

func (m *mender) body(key, _ []byte) error {
	if len(key) != 10 {
		return m.wrong(key, "it is no key of an envelope")
	}
	if seq := int64(binary.BigEndian.Uint64(key[2:])); !m.bodies[seq] {
		return m.wrong(key, "envelope %d belongs to no message that waits or is dead", seq)
	}
	return nil
}

func (m *mender) head(key, value []byte) error {
	var p storagepb.QueueHead
	k, ok := parseHeadKey(key)
	if err := proto.Unmarshal(value, &p); err != nil || !ok {
		return m.wrong(key, "the beginning of a queue does not decode")
	}
	if first := m.lowest[k]; first > 0 && p.GetSeq() > first {
		return m.wrong(key, "queue %s begins at %d, and message %d waits in front of that", k.address, p.GetSeq(), first)
	}
	m.lowest[k] = 0 // it has its beginning
	return nil
}

func (m *mender) token(key, value []byte) error {
	var t storagepb.QueueToken
	if err := proto.Unmarshal(value, &t); err != nil {
		return m.wrong(key, "a token does not decode: %w", err)
	}
	waits := t.GetState() == storagepb.QueueToken_STATE_WAITING
	if waits && !m.bodies[t.GetSeq()] {
		return m.wrong(key, "token %q of %s waits, and its message is missing", t.GetToken(), t.GetProducer())
	}
	return nil
}

func (m *mender) id(key, value []byte) error {
	var id storagepb.QueueMessageId
	if err := proto.Unmarshal(value, &id); err != nil {
		return m.wrong(key, "a message id does not decode: %w", err)
	}
	for _, a := range id.GetAttempts() {
		var t storagepb.QueueToken
		has, err := m.read(tokenEntryKey(tokenKey(sized(a.GetTokenKey()))), &t)
		if err != nil {
			return err
		}
		if !has {
			return m.wrong(key, "message id %q names a token that is not there", key[2:])
		}
		if !slices.Contains(t.GetMessageIds(), string(key[2:])) {
			return m.wrong(key, "message id %q names a token that has no such attempt", key[2:])
		}
	}
	return nil
}

func (m *mender) counters() error {
	var p storagepb.QueueCounters
	value, err := m.r.Get(countersKey())
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	default:
		if err := proto.Unmarshal(value, &p); err != nil {
			return m.wrong(countersKey(), "the counters do not decode: %w", err)
		}
	}
	if p.GetReservedSeq() < m.last {
		return m.wrong(countersKey(), "the counter is at %d, and %d was given", p.GetReservedSeq(), m.last)
	}
	if counted := (deadCount{p.GetDead(), p.GetDeadBytes()}); counted != m.dead {
		return m.wrong(countersKey(), "%d dead letters with %d bytes are counted, and there are %d with %d",
			counted.letters, counted.bytes, m.dead.letters, m.dead.bytes)
	}
	return nil
}

package storagefault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// queueRecords is what lies in a queue's store, read without the queue's own code.
type queueRecords struct {
	tokens    map[string]*storagepb.QueueToken
	ids       map[string]*storagepb.QueueMessageId
	rows      map[int64]*storagepb.QueueRow
	dead      map[int64]*storagepb.QueueDeadLetter
	bodies    map[int64]*commonpb.Envelope
	instances map[string]*storagepb.QueueInstance
	counters  storagepb.QueueCounters
	keys      map[string]bool
}

func readQueue(s store.Store) (*queueRecords, error) {
	r := &queueRecords{
		tokens: map[string]*storagepb.QueueToken{}, ids: map[string]*storagepb.QueueMessageId{}, rows: map[int64]*storagepb.QueueRow{},
		dead: map[int64]*storagepb.QueueDeadLetter{}, bodies: map[int64]*commonpb.Envelope{},
		instances: map[string]*storagepb.QueueInstance{}, keys: map[string]bool{},
	}
	return r, s.Scan(nil, nil, func(key, value []byte) error {
		name := string(key[2:])
		r.keys[string(key)] = true
		switch key[1] {
		case 'm':
			return proto.Unmarshal(value, &r.counters)
		case 't':
			r.tokens[name] = &storagepb.QueueToken{}
			return proto.Unmarshal(value, r.tokens[name])
		case 'l':
			r.ids[name] = &storagepb.QueueMessageId{}
			return proto.Unmarshal(value, r.ids[name])
		case 'i':
			r.instances[name] = &storagepb.QueueInstance{}
			return proto.Unmarshal(value, r.instances[name])
		case 'r':
			row := &storagepb.QueueRow{}
			r.rows[seqOf(key)] = row
			return proto.Unmarshal(value, row)
		case 'd':
			letter := &storagepb.QueueDeadLetter{}
			r.dead[seqOf(key)] = letter
			return proto.Unmarshal(value, letter)
		case 'b':
			body := &commonpb.Envelope{}
			r.bodies[seqOf(key)] = body
			return proto.Unmarshal(value, body)
		}
		return nil
	})
}

// seqOf is the number at the end of a key.
func seqOf(key []byte) (seq int64) {
	for _, b := range key[len(key)-8:] {
		seq = seq<<8 | int64(b)
	}
	return seq
}

// dumpQueue reads a queue as a router finds it after a fault, takes all that waits in it, and asks for everything again.
func dumpQueue(ctx context.Context, s store.Store) (storagecheck.Dump, error) {
	d := storagecheck.Dump{Objects: map[string]storagecheck.State{}}
	var errs []error
	problem := func(doing string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", doing, err))
		}
	}
	r, err := readQueue(s)
	if err != nil {
		problem("read the records", err)
		_, err = kv.Open(ctx, s, queueOptions(began)) // must not panic, and not say anything else
		problem("open the queue", err)
		return d, errors.Join(errs...)
	}
	problem("compare tokens", r.dumpWork(&d))
	problem("compare signals", r.dumpControl(&d))
	problem("compare rows", r.compareRows())
	for agent, i := range r.instances {
		d.Objects["agent/"+agent] = agentState(i.GetStore(), i.GetEpoch())
	}
	// Nothing has run out when runs begin.
	e, err := kv.Open(ctx, s, queueOptions(began))
	if err != nil {
		problem("open the queue", err)
		return d, errors.Join(errs...)
	}
	problem("count", r.count(ctx, &d, e))
	problem("lease", r.leaseAll(ctx, e))
	problem("ask", r.probe(ctx, &d, e))
	problem("accept a newcomer", queueNewcomer(ctx, &d, e))
	return d, errors.Join(errs...)
}

// dumpWork tells how messages look, and whether their records fit together.
func (r *queueRecords) dumpWork(d *storagecheck.Dump) error {
	dead := map[string]int{}
	for _, letter := range r.dead {
		dead[string(letter.GetRow().GetTokenKey())]++
	}
	for key, t := range r.tokens {
		stage, result, payload := "", "", ""
		switch t.GetState() {
		case storagepb.QueueToken_STATE_WAITING:
			stage = isQueued
			row := r.rows[t.GetSeq()]
			if string(row.GetTokenKey()) != key || r.bodies[t.GetSeq()] == nil {
				return fmt.Errorf("%s waits, and its row %d is %v", t.GetToken(), t.GetSeq(), row)
			}
			payload = string(r.bodies[t.GetSeq()].GetPayload())
		case storagepb.QueueToken_STATE_DELIVERED:
			stage = isDelivered
			if t.GetCustodian() == "" {
				return fmt.Errorf("%s is delivered to nobody", t.GetToken())
			}
		default:
			stage, result = isDone, fmt.Sprint(ack.Stage(t.GetStage()), " ", ack.Code(t.GetCode()))
		}
		for _, id := range t.GetMessageIds() {
			if !slices.ContainsFunc(r.ids[id].GetAttempts(), func(a *storagepb.QueueMessageId_Attempt) bool { return string(a.GetTokenKey()) == key }) {
				return fmt.Errorf("message id %s does not lead to %s", id, t.GetToken())
			}
		}
		object := "work/" + t.GetProducer() + "/" + t.GetToken()
		if err := put(d, object, workState(stage, result, payload, t.GetRetryCount(), dead[key], t.GetMessageIds())); err != nil {
			return err
		}
	}
	return nil
}

// dumpControl tells how signals look, and whether ids lead somewhere.
func (r *queueRecords) dumpControl(d *storagecheck.Dump) error {
	for id, m := range r.ids {
		if m.GetClass() == transportpb.Class_CLASS_WORK {
			for _, a := range m.GetAttempts() {
				if r.tokens[string(a.GetTokenKey())] == nil {
					return fmt.Errorf("message id %s leads to a token that is not there", id)
				}
			}
			continue
		}
		row := r.rows[m.GetSeq()]
		if m.GetDone() == (row != nil) {
			return fmt.Errorf("signal %s is done %v, and its row is %v", id, m.GetDone(), row)
		}
		state := controlState(m.GetDone(), r.dead[m.GetSeq()] != nil, string(r.bodies[m.GetSeq()].GetPayload()))
		if err := put(d, "control/"+id, state); err != nil {
			return err
		}
	}
	return nil
}

// compareRows tells whether every row belongs to something, and every envelope to a row.
func (r *queueRecords) compareRows() error {
	for seq, row := range r.rows {
		t := r.tokens[string(row.GetTokenKey())]
		switch {
		case seq != row.GetSeq():
			return fmt.Errorf("row %d says that it is %d", seq, row.GetSeq())
		case row.GetCopy():
		case row.GetClass() == transportpb.Class_CLASS_WORK && (t.GetState() != storagepb.QueueToken_STATE_WAITING || t.GetSeq() != seq):
			return fmt.Errorf("row %d waits, and its token is %v", seq, t)
		case row.GetClass() != transportpb.Class_CLASS_WORK && r.ids[row.GetMessageId()].GetSeq() != seq:
			return fmt.Errorf("row %d waits, and its id is %v", seq, r.ids[row.GetMessageId()])
		}
		if r.bodies[seq] == nil {
			return fmt.Errorf("row %d has no envelope", seq)
		}
	}
	for seq := range r.bodies {
		if r.rows[seq] == nil && r.dead[seq] == nil {
			return fmt.Errorf("envelope %d belongs to nothing", seq)
		}
	}
	return nil
}

// count compares what the queue tells with what lies in its store.
func (r *queueRecords) count(ctx context.Context, d *storagecheck.Dump, e *kv.Engine) error {
	var told int64
	err := e.Scan(ctx, func(depth queue.Depth) error {
		told += int64(depth.Work + depth.Answers + depth.Signals)
		return nil
	})
	letters, deadErr := e.DeadLetters(ctx, 1<<20)
	sequences, numbered := int64(0), int64(0)
	for key := range r.keys {
		sequences += int64(one(key[1] == 's'))
	}
	for _, t := range r.tokens {
		numbered += int64(one(t.GetProducerSequence() > 0))
	}
	d.Totals = append(d.Totals,
		storagecheck.Total{Name: "rows", Told: told, Is: int64(len(r.rows))},
		storagecheck.Total{Name: "dead letters", Told: int64(len(letters)), Is: int64(len(r.dead))},
		storagecheck.Total{Name: "counted dead letters", Told: r.counters.GetDead(), Is: int64(len(r.dead))},
		storagecheck.Total{Name: "envelopes", Told: int64(len(r.bodies)), Is: int64(len(r.rows) + len(r.dead))},
		storagecheck.Total{Name: "producers' sequences", Told: sequences, Is: numbered},
	)
	return errors.Join(err, deadErr)
}

// leaseAll takes everything that waits: each row once, with its envelope.
func (r *queueRecords) leaseAll(ctx context.Context, e *kv.Engine) error {
	places := map[transportpb.Class][]string{}
	want := map[int64]bool{}
	for seq, row := range r.rows {
		if !slices.Contains(places[row.GetClass()], row.GetAddress()) {
			places[row.GetClass()] = append(places[row.GetClass()], row.GetAddress())
		}
		// Copies are meant for their custodian's store.
		if !row.GetCopy() {
			want[seq] = true
		}
	}
	for class, addresses := range places {
		deliveries, err := e.Lease(ctx, queue.LeaseRequest{
			Holder: queue.Holder{Agent: "prober", Stream: 1}, Addresses: addresses, Class: class, MaxMessages: 1 << 20, MaxBytes: 1 << 40,
			Now: began(), Until: began().Add(time.Hour),
		})
		if err != nil {
			return err
		}
		for _, got := range deliveries {
			if !want[got.Seq] {
				return fmt.Errorf("row %d is handed out, and it is not its turn", got.Seq)
			}
			delete(want, got.Seq)
			if body := r.bodies[got.Seq]; string(body.GetPayload()) != string(got.Envelope.GetPayload()) || body.GetMessageId() != got.Envelope.GetMessageId() {
				return fmt.Errorf("row %d is handed out as %s", got.Seq, got.Envelope.GetMessageId())
			}
		}
	}
	for seq := range want {
		return fmt.Errorf("row %d, message %s, waits and is not handed out", seq, r.rows[seq].GetMessageId())
	}
	return nil
}

// probe submits everything again, and lets instances that were replaced try to connect.
func (r *queueRecords) probe(ctx context.Context, d *storagecheck.Dump, e *kv.Engine) error {
	for _, t := range r.tokens {
		answer, err := queue.Submit(ctx, e, queue.Message{
			Envelope: &commonpb.Envelope{
				MessageId: t.GetMessageIds()[len(t.GetMessageIds())-1], IdempotencyToken: t.GetToken(), ProducerId: t.GetProducer(), RetryCount: t.GetRetryCount(),
			},
			To: t.GetTo(), Class: transportpb.Class_CLASS_WORK, From: queue.Holder{Agent: t.GetProducer()}, At: began(),
		})
		if err != nil {
			return err
		}
		d.Probes = append(d.Probes, storagecheck.Probe{Object: "work/" + t.GetProducer() + "/" + t.GetToken(), Answer: answerText(answer)})
	}
	for id, m := range r.ids {
		if m.GetClass() == transportpb.Class_CLASS_WORK {
			continue
		}
		answer, err := queue.Submit(ctx, e, queue.Message{
			Envelope: &commonpb.Envelope{MessageId: id, ProducerId: m.GetProducer()},
			To:       m.GetTo(), Class: m.GetClass(), From: queue.Holder{Agent: m.GetProducer()}, At: began(),
		})
		if err != nil {
			return err
		}
		d.Probes = append(d.Probes, storagecheck.Probe{Object: "control/" + id, Answer: answerText(answer)})
	}
	for agent, i := range r.instances {
		got, err := e.Admit(ctx, queue.Holder{Agent: agent, Store: i.GetStore(), Epoch: i.GetEpoch() - 1, Stream: 9}, false)
		if err != nil || got != queue.RefusedRolledBack {
			return fmt.Errorf("epoch %d of agent %s is answered %v after epoch %d: %w", i.GetEpoch()-1, agent, got, i.GetEpoch(), err)
		}
	}
	return nil
}

// queueNewcomer accepts a message that was never there, and hands it out.
func queueNewcomer(ctx context.Context, d *storagecheck.Dump, e *kv.Engine) error {
	const to = "agent:newcomer"
	err := taken(queue.Submit(ctx, e, queue.Message{
		Envelope: &commonpb.Envelope{MessageId: "newcomer", ProducerId: "prober"}, To: to, Class: transportpb.Class_CLASS_WORK,
		From: queue.Holder{Agent: "prober"}, At: began(),
	}))
	if err != nil {
		return err
	}
	deliveries, err := e.Lease(ctx, queue.LeaseRequest{
		Holder: queue.Holder{Agent: "newcomer", Stream: 1}, Addresses: []string{to}, Class: transportpb.Class_CLASS_WORK, MaxMessages: 9, MaxBytes: 1 << 20,
		Now: began(), Until: began().Add(time.Hour),
	})
	if err != nil || len(deliveries) != 1 {
		return fmt.Errorf("%d messages are handed out: %w", len(deliveries), err)
	}
	d.Given = []storagecheck.Given{{Space: "row", Number: uint64(deliveries[0].Seq), To: "newcomer"}}
	return nil
}

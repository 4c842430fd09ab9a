package storagefault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// dumpBuffer reads a buffer as an agent finds it after a fault, asks for everything in it again, and records newcomers.
func dumpBuffer(ctx context.Context, s store.Store) (storagecheck.Dump, error) {
	d := storagecheck.Dump{Objects: map[string]storagecheck.State{}}
	var errs []error
	problem := func(doing string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", doing, err))
		}
	}
	// Whatever has ended has done so within the window, at the time when runs begin.
	b, err := activity.Open(ctx, s, bufferConfig(began))
	if err != nil {
		problem("open the buffer", err)
		return d, errors.Join(errs...)
	}
	recs, err := b.Recent(math.MaxInt32)
	problem("read the records", err)
	for _, r := range recs {
		if r.Out != nil {
			problem("read an operation", dumpOut(&d, b, r.Out))
		} else {
			problem("read a received message", dumpIn(&d, b, r.In))
		}
	}
	problem("count", countBuffer(&d, b, s, recs))
	for _, r := range recs {
		if r.Out != nil {
			problem("ask for an operation", probeOut(ctx, &d, b, r.Out))
		} else {
			problem("ask for a received message", probeIn(ctx, &d, b, r.In))
		}
	}
	problem("record newcomers", bufferNewcomers(ctx, &d, b))
	return d, errors.Join(errs...)
}

func dumpOut(d *storagecheck.Dump, b *activity.Buffer, listed *storagepb.OutRecord) error {
	rec, state, err := outState(b, listed.GetSequence())
	if err != nil {
		return err
	}
	if !proto.Equal(rec, listed) {
		return fmt.Errorf("operation %d is listed as %v and found as %v", listed.GetSequence(), listed, rec)
	}
	return put(d, "out/"+rec.GetToken(), state)
}

func dumpIn(d *storagecheck.Dump, b *activity.Buffer, listed *storagepb.InRecord) error {
	rec, state, err := inState(b, listed.GetSequence())
	if err != nil {
		return err
	}
	if !proto.Equal(rec, listed) {
		return fmt.Errorf("received message %d is listed as %v and found as %v", listed.GetSequence(), listed, rec)
	}
	return put(d, "in/"+rec.GetToken(), state)
}

func put(d *storagecheck.Dump, object string, state storagecheck.State) error {
	if _, twice := d.Objects[object]; twice {
		return fmt.Errorf("%s is there twice", object)
	}
	d.Objects[object] = state
	return nil
}

// probeOut looks for an operation in all the ways there are, and sends it again where that is to say that it exists.
func probeOut(ctx context.Context, d *storagecheck.Dump, b *activity.Buffer, rec *storagepb.OutRecord) error {
	for _, a := range rec.GetAttempts() {
		found, err := b.OutByMessageID(a.GetMessageId())
		if err != nil || found.GetSequence() != rec.GetSequence() {
			return fmt.Errorf("attempt %s of operation %d leads to %d: %w", a.GetMessageId(), rec.GetSequence(), found.GetSequence(), err)
		}
	}
	for _, find := range []func() ([]*storagepb.OutRecord, error){
		func() ([]*storagepb.OutRecord, error) { return b.OutByToken(rec.GetToken()) },
		func() ([]*storagepb.OutRecord, error) { return b.OutByCorrelation(rec.GetCorrelationId()) },
	} {
		if found, err := find(); err != nil || len(found) != 1 || found[0].GetSequence() != rec.GetSequence() {
			return fmt.Errorf("operation %d is found as %v: %w", rec.GetSequence(), found, err)
		}
	}
	if rec.GetFinished() != 0 && rec.GetKeyKind() == storagepb.KeyKind_KEY_KIND_CALL {
		return nil
	}
	found, existed, err := b.RecordOut(ctx, activity.Draft{Record: proto.CloneOf(rec), MessageID: "again"})
	d.Probes = append(d.Probes, storagecheck.Probe{Object: "out/" + rec.GetToken(), Answer: existedAnswer(found, existed)})
	return err
}

// probeIn looks for a received message in all the ways there are, and receives it again.
func probeIn(ctx context.Context, d *storagecheck.Dump, b *activity.Buffer, rec *storagepb.InRecord) error {
	for _, a := range rec.GetAliases() {
		found, err := b.InByMessageID(a.GetMessageId())
		if err != nil || found.GetSequence() != rec.GetSequence() {
			return fmt.Errorf("message id %s of %d leads to %d: %w", a.GetMessageId(), rec.GetSequence(), found.GetSequence(), err)
		}
	}
	verdict, found, err := b.RecordIn(ctx, activity.Arrival{
		Envelope: &commonpb.Envelope{
			MessageId: rec.GetAliases()[0].GetMessageId(), IdempotencyToken: rec.GetToken(), ProducerId: rec.GetFrom(),
			SequenceNumber: rec.GetProducerSequence(),
		},
		To: rec.GetTo(), RouterStoreID: rec.GetRouterStoreId(), RouterSeq: rec.GetRouterSeq(),
	})
	d.Probes = append(d.Probes, storagecheck.Probe{Object: "in/" + rec.GetToken(), Answer: fmt.Sprint(verdict, " ", found.GetSequence())})
	return err
}

// bufferNewcomers records one operation and one message that were never there.
func bufferNewcomers(ctx context.Context, d *storagecheck.Dump, b *activity.Buffer) error {
	out, existed, err := b.RecordOut(ctx, activity.Draft{Record: &storagepb.OutRecord{Token: "newcomer", To: "agent:worker"}, MessageID: "newcomer"})
	if err != nil || existed {
		return fmt.Errorf("the operation existed %v: %w", existed, err)
	}
	verdict, in, err := b.RecordIn(ctx, activity.Arrival{Envelope: &commonpb.Envelope{MessageId: "newcomer", ProducerId: "client"}, To: "agent:me"})
	if err != nil || verdict != activity.New {
		return fmt.Errorf("the message is %v: %w", verdict, err)
	}
	d.Given = []storagecheck.Given{
		{Space: "operation", Number: out.GetSequence(), To: "out/newcomer"},
		{Space: "received message", Number: in.GetSequence(), To: "in/newcomer"},
	}
	return nil
}

// tally counts what a buffer's records own in the store, and what is there, by the beginnings of keys.
type tally map[string]storagecheck.Total

func (t tally) told(name string, n int64) {
	c := t[name]
	c.Told += n
	t[name] = c
}

func (t tally) is(name string, n int) {
	c := t[name]
	c.Is += int64(n)
	t[name] = c
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// countBuffer compares the totals that the buffer keeps and the keys in its store with what its records say.
func countBuffer(d *storagecheck.Dump, b *activity.Buffer, s store.Store, recs []activity.Record) error {
	t := tally{}
	for _, r := range recs {
		var err error
		if r.Out != nil {
			err = t.out(b, r.Out)
		} else {
			err = t.in(b, r.In)
		}
		if err != nil {
			return err
		}
	}
	if err := t.keys(s); err != nil {
		return err
	}
	if err := t.data(b); err != nil {
		return err
	}
	stats := b.Stats()
	t.told("entries of data", int64(stats.DataKeys))
	t.told("bytes of data", stats.DataBytes)
	t.told("active operations", int64(stats.OutActive))
	t.told("finished operations", int64(stats.OutFinished))
	t.told("unhandled operations", int64(stats.OutUnhandled))
	t.told("active messages", int64(stats.InActive))
	t.told("finished messages", int64(stats.InFinished))
	t.told("owing messages", int64(stats.InOwing))
	t.told("bytes for deduplication", stats.DedupBytes)
	for name, total := range t {
		total.Name = name
		d.Totals = append(d.Totals, total)
	}
	return nil
}

// out counts an operation and its keys.
func (t tally) out(b *activity.Buffer, rec *storagepb.OutRecord) error {
	stream, err := b.OutStream(rec.GetSequence())
	ended := rec.GetFinished() != 0
	t.is("ob", 1)
	t.is("or", one(rec.GetHasReply() && !rec.GetStreams()))
	t.is("of", int(stream.GetStored()))
	t.is("os", one(stream != nil && !ended))
	t.is("active operations", one(!ended))
	t.is("oa", one(!ended))
	if !ended {
		return err
	}
	t.is("finished operations", 1)
	for _, key := range []string{"od", "ot", "oc", "order of operations"} {
		t.is(key, 1)
	}
	t.is("om", len(rec.GetAttempts()))
	t.is("ou", one(!rec.GetHandled()))
	t.is("unhandled operations", one(!rec.GetHandled()))
	return err
}

// in counts a received message and its keys. One that is active again keeps the keys that lead to it.
func (t tally) in(b *activity.Buffer, rec *storagepb.InRecord) error {
	stream, err := b.InStream(rec.GetSequence())
	ended := rec.GetFinished() != 0
	answered := 0
	for _, a := range rec.GetAliases() {
		answered += one(a.GetAnswered())
	}
	t.is("active messages", one(!ended))
	t.is("ia", one(!ended))
	t.is("ib", one(!ended)) // and those that have ended with a payload: see keys
	t.is("ir", one(rec.GetHasReply()))
	t.is("im", answered)
	t.is("it", one(answered > 0))
	t.is("io", one(len(rec.GetOwed()) > 0))
	t.is("owing messages", one(len(rec.GetOwed()) > 0))
	t.is("id", one(ended))
	t.is("finished messages", one(ended))
	t.is("order of messages", one(ended))
	t.is("if", int(stream.GetStored()))
	t.is("is", one(stream != nil && !ended))
	return err
}

// data counts what handlers have written: an entry for each fulfilled message, pruned ones included, and how many these are.
// That each record has its entry, or none, is a part of its state.
func (t tally) data(b *activity.Buffer) error {
	return b.BeginData(context.Background()).Scan("", func(key string, value []byte) error {
		t.is("entries of data", 1)
		t.is("bytes of data", len(key)+len(value))
		if key != dataCount {
			t.is("counted messages", 1)
			return nil
		}
		n, err := strconv.ParseInt(string(value), 10, 64)
		t.told("counted messages", n)
		return err
	})
}

// The classes of the order of endings, as they lie in the store.
const (
	keyedClass = 2
	fullClass  = 4
	lastClass  = 6
)

// keys counts what is in the store.
func (t tally) keys(s store.Store) error {
	var stored storagepb.Totals
	err := s.Scan(nil, nil, func(key, value []byte) error {
		switch {
		case string(key) == "mt":
			return proto.Unmarshal(value, &stored)
		case key[0] == 'm' || key[0] == 'l':
		case key[0] == 'd':
		case key[0] == 'k':
			t.kept(int(key[1]), int(binary.BigEndian.Uint64(value[16:])))
		default:
			t.told(string(key[:2]), 1)
		}
		return nil
	})
	for class, total := range stored.GetKept() {
		switch {
		case class <= lastClass:
			t.told(fmt.Sprint("records of class ", class), total.GetRecords())
			t.told(fmt.Sprint("bytes of class ", class), total.GetBytes())
		case class == lastClass+1:
			t.told("operations that wait", total.GetRecords())
			t.is("operations that wait", int(t["ou"].Told))
		}
	}
	return err
}

// kept counts an entry in the order of endings.
func (t tally) kept(class, bytes int) {
	t.is(fmt.Sprint("records of class ", class), 1)
	t.is(fmt.Sprint("bytes of class ", class), bytes)
	if class < fullClass {
		t.told("order of operations", 1)
	} else {
		t.told("order of messages", 1)
	}
	t.is("ib", one(class == fullClass))
	if class == keyedClass || class >= fullClass {
		t.is("bytes for deduplication", bytes)
	}
}

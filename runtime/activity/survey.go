package activity

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Walk calls fn for every record of the buffer in r, which nobody changes meanwhile: operations first, then received
// messages, each by number, until fn returns an error, or store.ErrStop, which Walk does not return. It needs memory for
// one record only.
func Walk(ctx context.Context, r store.Reader, fn func(Record) error) error {
	stop := false
	for _, pair := range [][2]string{{keyOutDone, keyOutActive}, {keyInDone, keyInActive}} {
		if stop {
			return nil
		}
		err := walkBoth(ctx, r, pair, func(rec Record) error {
			err := fn(rec)
			stop = errors.Is(err, store.ErrStop)
			return err
		})
		if err != nil {
			return fmt.Errorf("read the activity buffer: %w", err)
		}
	}
	return nil
}

// walkBoth reads finished and active records of one direction, merged by number.
func walkBoth(ctx context.Context, r store.Reader, prefixes [2]string, fn func(Record) error) error {
	var heads [2]*Record
	var from [2]uint64
	var ended [2]bool
	fill := func(i int) error {
		if heads[i] != nil || ended[i] {
			return nil
		}
		ended[i] = true
		return r.Scan(numberKey(prefixes[i], from[i]), after([]byte(prefixes[i])), func(key, value []byte) error {
			rec, seq, err := decodeRecord(key, value)
			if err != nil {
				return err
			}
			heads[i], from[i], ended[i] = &rec, seq+1, false
			return store.ErrStop
		})
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := errors.Join(fill(0), fill(1)); err != nil {
			return err
		}
		next := 0
		switch {
		case heads[0] == nil && heads[1] == nil:
			return nil
		case heads[0] == nil, heads[1] != nil && heads[1].sequence() < heads[0].sequence():
			next = 1
		}
		rec := *heads[next]
		heads[next] = nil
		if err := fn(rec); errors.Is(err, store.ErrStop) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// decodeRecord reads what lies under a record's key, with the number that the key says.
func decodeRecord(key, value []byte) (rec Record, seq uint64, err error) {
	if seq, err = lastNumber(key); err == nil && len(key) != 10 {
		err = errors.New("the key is none of a record")
	}
	if err != nil {
		return rec, 0, damaged(key, err)
	}
	switch string(key[:2]) {
	case keyOutActive, keyOutDone:
		rec.Out = new(storagepb.OutRecord)
		if err = proto.Unmarshal(value, rec.Out); err == nil && len(rec.Out.GetAttempts()) == 0 {
			err = errors.New("it has no attempt")
		}
	default:
		rec.In = new(storagepb.InRecord)
		if err = proto.Unmarshal(value, rec.In); err == nil && len(rec.In.GetAliases()) == 0 {
			err = errors.New("it has no message id")
		}
	}
	if err == nil && rec.sequence() != seq {
		err = fmt.Errorf("it says that its number is %d", rec.sequence())
	}
	done := string(key[:2]) == keyOutDone || string(key[:2]) == keyInDone
	if err == nil && done != rec.Finished() {
		err = errors.New("it lies among finished records or not as if it were the opposite")
	}
	if err != nil {
		return rec, seq, damaged(key, err)
	}
	return rec, seq, nil
}

// Finished tells whether the record has ended.
func (r Record) Finished() bool {
	if r.Out != nil {
		return r.Out.GetFinished() != 0
	}
	return r.In.GetFinished() != 0
}

// FailedUnhandled tells whether the record is an operation that ended without what it was to bring, and whose end nobody
// was told of yet: no waiting call, and no reply handler.
func (r Record) FailedUnhandled() bool {
	o := r.Out
	if o == nil || o.GetFinished() == 0 || o.GetHandled() {
		return false
	}
	return o.GetOutcome().GetStage() != commonpb.AckStage_FULFILLED || o.GetWantsReply() && !o.GetHasReply()
}

func (r Record) message() proto.Message {
	if r.Out != nil {
		return r.Out
	}
	return r.In
}

// key is where the record lies.
func (r Record) key() []byte {
	prefix := keyInActive
	switch {
	case r.Out != nil && r.Finished():
		prefix = keyOutDone
	case r.Out != nil:
		prefix = keyOutActive
	case r.Finished():
		prefix = keyInDone
	}
	return numberKey(prefix, r.sequence())
}

// place is the record's in the order of endings.
func (r Record) place() uint64 {
	if r.Out != nil {
		return r.Out.GetFinished()
	}
	return r.In.GetFinished()
}

// what names the record for people.
func (r Record) what() string {
	if r.Out != nil {
		return fmt.Sprintf("operation %d", r.Out.GetSequence())
	}
	return fmt.Sprintf("received message %d", r.In.GetSequence())
}

// DescribeKey says in words what lies under a key of the buffer.
func DescribeKey(key []byte) string {
	if len(key) < 2 {
		return fmt.Sprintf("key %q", key)
	}
	if string(key[:1]) == keyData {
		return fmt.Sprintf("data %q", key[1:])
	}
	names := map[string]string{
		keyOutActive: "operation", keyOutDone: "operation", keyOutBody: "payload of operation", keyOutReply: "reply to operation",
		keyOutFrame: "frame of operation", keyOutStream: "stream of operation", keyInActive: "received message",
		keyInDone: "received message", keyInBody: "payload of received message", keyInReply: "reply to received message",
		keyInFrame: "frame of received message", keyInStream: "stream of received message",
	}
	if name, ok := names[string(key[:2])]; ok && len(key) >= 10 {
		n, err := lastNumber(key[:10])
		if err == nil {
			return fmt.Sprintf("%s %d", name, n)
		}
	}
	for _, prefix := range indexes {
		if len(key) >= len(prefix) && string(key[:len(prefix)]) == prefix {
			return fmt.Sprintf("index entry %q", key)
		}
	}
	return fmt.Sprintf("key %q", key)
}

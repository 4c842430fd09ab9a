package activity

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// notePayloadLost is the note of operations that ended because their payload was lost with a part of the store.
const notePayloadLost = "payload_lost"

// Primary tells whether what lies under a key is a record, a part of one, or a place that no record tells. The rest follows
// from these, and Rebuild makes it.
func Primary(key []byte) bool {
	if len(key) > 0 && string(key[:1]) == keyKept {
		return true
	}
	if len(key) < 2 {
		return false
	}
	switch string(key[:2]) {
	case keyOutMessage, keyOutToken, keyOutTalk, keyOutUnhandled, keyInDedup, keyInMessage, keyTotals:
		return false
	default:
		return true
	}
}

// Rebuild makes a sound buffer of what a salvage has left in s, of which some records may be missing, stand in both their
// old and their new place, or lack their parts. It makes every index, total and counter anew. What it changes or drops it
// reports in words. An operation whose payload is gone ends as FAILED with the note payload_lost; a received message that
// cannot run without its payload is dropped, so that its sender's next attempt is a new message.
//
// Nobody may use s meanwhile. When Rebuild returns an error or its process dies, it is to be done again from the beginning.
func Rebuild(ctx context.Context, s store.Store, now time.Time, report func(string)) error {
	r := rebuilder{
		s: s, now: now, report: report, batch: batcher{s: s}, kept: map[uint64]classAndKept{}, owing: map[uint64]uint64{}, ends: map[uint64]bool{},
	}
	for _, step := range []func(context.Context) error{r.readPlaces, r.conflicts, r.clear, r.records, r.orphans, r.data, r.finish} {
		err := step(ctx)
		if err == nil {
			err = r.batch.flush()
		}
		if err != nil {
			return fmt.Errorf("rebuild the activity buffer: %w", err)
		}
	}
	return r.batch.sync(ctx)
}

type classAndKept struct {
	class class
	kept  kept
}

type rebuilder struct {
	s      store.Store
	now    time.Time
	report func(string)
	batch  batcher
	// kept are the places of finished records, owing those of received messages that owe by number; ends are taken.
	kept  map[uint64]classAndKept
	owing map[uint64]uint64
	ends  map[uint64]bool
	meta  meta
	last  [3]uint64
}

func (r *rebuilder) say(text string, args ...any) { r.report(fmt.Sprintf(text, args...)) }

// readPlaces remembers what no record tells: why finished ones are kept, and counters.
func (r *rebuilder) readPlaces(ctx context.Context) error {
	err := scanPrefix(ctx, r.s, keyKept, func(key, value []byte) error {
		k, err := decodeKept(key, value)
		if err == nil && len(key) == 10 && class(key[1]) < outWaiting {
			r.kept[k.end] = classAndKept{class(key[1]), k}
			r.last[2] = max(r.last[2], k.end)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = scanPrefix(ctx, r.s, keyInOwing, func(key, value []byte) error {
		end, errEnd := lastNumber(key)
		seq, errSeq := decodeNumber(value)
		if errEnd == nil && errSeq == nil {
			r.owing[seq] = end
			r.last[2] = max(r.last[2], end)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, n := range r.meta.numbers()[:3] {
		value, err := r.s.Get([]byte(n.key))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if v, err := decodeNumber(value); err == nil && v > 0 {
			r.last[i] = max(r.last[i], v-1)
		}
	}
	return nil
}

// conflicts drops records that do not decode, and one of two places of a record.
func (r *rebuilder) conflicts(ctx context.Context) error {
	for _, prefix := range []string{keyOutActive, keyOutDone, keyInActive, keyInDone} {
		err := scanPrefix(ctx, r.s, prefix, func(key, value []byte) error {
			rec, _, err := decodeRecord(key, value)
			if err != nil {
				r.say("%s is dropped: %v", DescribeKey(key), errors.Unwrap(err))
				r.batch.delete(key)
				return nil
			}
			direction := 0
			if rec.In != nil {
				direction = 1
			}
			r.last[direction] = max(r.last[direction], rec.sequence())
			r.last[2] = max(r.last[2], rec.place())
			if !rec.Finished() {
				return r.conflict(rec)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// conflict decides between an active record and a finished one with its number. The finished one is later, unless the
// active one has been received under more message ids since.
func (r *rebuilder) conflict(active Record) error {
	prefix := keyInDone
	if active.Out != nil {
		prefix = keyOutDone
	}
	key := numberKey(prefix, active.sequence())
	value, err := r.s.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	done, _, err := decodeRecord(key, value)
	if err != nil {
		return nil // it is dropped
	}
	drop := active.key()
	if active.In != nil && len(active.In.GetAliases()) > len(done.In.GetAliases()) {
		drop = key
	}
	r.say("%s was found both active and finished: the earlier one of the two is dropped", active.what())
	r.batch.delete(drop)
	return nil
}

// clear removes everything that is made anew.
func (r *rebuilder) clear(context.Context) error {
	for _, prefix := range indexes {
		r.batch.b.DeleteRange([]byte(prefix), prefixEnd(prefix))
	}
	for _, key := range []string{keyLowOut, keyLowIn, keyLowOwing, keyTotals} {
		r.batch.delete([]byte(key))
	}
	return nil
}

// records mends every record and writes what follows from it.
func (r *rebuilder) records(ctx context.Context) error {
	for _, prefix := range []string{keyOutActive, keyOutDone, keyInActive, keyInDone} {
		err := scanPrefix(ctx, r.s, prefix, func(key, value []byte) error {
			rec, _, err := decodeRecord(key, value)
			if err != nil {
				return err
			}
			return r.record(rec, int64(len(value)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *rebuilder) record(rec Record, size int64) error {
	body, reply, err := r.parts(rec)
	if err != nil {
		return err
	}
	was := proto.Clone(rec.message())
	frames, err := r.mendFrames(rec)
	if err != nil {
		return err
	}
	if rec.repliesWithBody() && reply < 0 {
		r.mendReply(rec)
	}
	if body < 0 && !r.mendBody(&rec) {
		return nil
	}
	if rec.Finished() && r.ends[rec.place()] {
		r.last[2]++
		r.place(rec, r.last[2])
	}
	r.ends[rec.place()] = true
	if !proto.Equal(was, rec.message()) {
		value, err := encode(rec.message())
		if err != nil {
			return err
		}
		if err := r.batch.set(rec.key(), value); err != nil {
			return err
		}
	}
	return r.index(rec, body >= 0, size+max(body, 0)+max(reply, 0)+frames)
}

// parts returns the sizes of payload and reply, -1 where there is none.
func (r *rebuilder) parts(rec Record) (body, reply int64, err error) {
	bodyKey, replyKey := rec.payloads()
	sizes := [2]int64{-1, -1}
	for i, key := range [][]byte{bodyKey, replyKey} {
		value, err := r.s.Get(key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		if err := proto.Unmarshal(value, new(storagepb.Body)); err != nil {
			r.say("%s is dropped: %v", DescribeKey(key), err)
			r.batch.delete(key)
			continue
		}
		sizes[i] = int64(len(value))
	}
	return sizes[0], sizes[1], nil
}

// mendReply makes a record say that it has no reply.
func (r *rebuilder) mendReply(rec Record) {
	r.say("%s is without its reply, which is lost", rec.what())
	if rec.Out != nil {
		rec.Out.HasReply, rec.Out.ReplyMessageId = false, ""
		return
	}
	rec.In.HasReply = false
	owed := rec.In.GetOwed()
	rec.In.Owed = nil
	for _, o := range owed {
		if o.GetAckFor() != "" {
			rec.In.Owed = append(rec.In.Owed, o)
		}
	}
}

// mendBody deals with a record without its payload, and returns false when the record goes.
func (r *rebuilder) mendBody(rec *Record) bool {
	switch {
	case rec.In != nil && rec.Finished():
		return true // that is as it should be
	case rec.In != nil:
		r.say("%s is dropped: its payload is lost, and it cannot run", rec.what())
		r.batch.delete(rec.key())
		return false
	case rec.Finished():
		r.say("%s is without its payload, which is lost", rec.what())
		return true
	}
	r.say("%s has failed: its payload is lost, and it cannot be sent any more", rec.what())
	r.batch.delete(rec.key())
	out := proto.CloneOf(rec.Out)
	if out.GetOutcome() == nil {
		out.Outcome = &storagepb.Outcome{
			Stage: commonpb.AckStage_FAILED, Code: commonpb.ErrorCode_INTERNAL_ERROR, Note: notePayloadLost + ": what was sent of it is unknown",
			MessageId: lastAttempt(out).GetMessageId(), At: timestamppb.New(r.now),
		}
	}
	for _, a := range out.GetAttempts() {
		closeAttempt(a, out.GetOutcome())
	}
	r.last[2]++
	out.NextAttemptAt, out.Finished = nil, r.last[2]
	rec.Out = out
	return true
}

// mendFrames makes the stream of a record end before the first frame that is missing, and returns the size of the frames.
func (r *rebuilder) mendFrames(rec Record) (bytes int64, err error) {
	prefix, run, stored, ok, err := rec.frames(r.s)
	if err != nil {
		var damage *store.DamagedError
		if !errors.As(err, &damage) {
			return 0, err
		}
		r.say("the stream of %s is dropped: %v", rec.what(), damage.Err)
		r.batch.delete(damage.Key)
	}
	if err != nil || !ok {
		return 0, nil
	}
	n := uint64(0)
	for n < stored {
		value, err := r.s.Get(frameKey(prefix, rec.sequence(), run, n+1))
		if errors.Is(err, store.ErrNotFound) || err == nil && proto.Unmarshal(value, new(storagepb.Frame)) != nil {
			break
		}
		if err != nil {
			return 0, err
		}
		bytes += int64(len(value))
		n++
	}
	if n == stored {
		return bytes, nil
	}
	r.say("%s has %d of its %d frames: the others are lost", rec.what(), n, stored)
	return bytes, r.shorten(rec, n)
}

// shorten makes a stream end after its n-th frame.
func (r *rebuilder) shorten(rec Record, n uint64) error {
	var state proto.Message
	key := numberKey(keyOutStream, rec.sequence())
	if rec.Out != nil {
		s := rec.Out.GetStream()
		if !rec.Finished() {
			s = new(storagepb.OutStream)
		}
		if _, err := r.loadActive(rec, key, s); err != nil {
			return err
		}
		s.Stored = n
		if rec.Finished() {
			s.Lossy, rec.Out.HasReply = true, false
		}
		state = s
	} else {
		s := rec.In.GetStream()
		if !rec.Finished() {
			s = new(storagepb.InStream)
		}
		key = numberKey(keyInStream, rec.sequence())
		if _, err := r.loadActive(rec, key, s); err != nil {
			return err
		}
		s.Stored, s.Sent, s.Read = n, min(s.GetSent(), n), min(s.GetRead(), n)
		state = s
	}
	if rec.Finished() {
		return nil
	}
	value, err := encode(state)
	if err != nil {
		return err
	}
	return r.batch.set(key, value)
}

func (r *rebuilder) loadActive(rec Record, key []byte, into proto.Message) (bool, error) {
	if rec.Finished() {
		return true, nil
	}
	return loadFrom(r.s, key, into)
}

func (r *rebuilder) place(rec Record, end uint64) {
	if rec.Out != nil {
		rec.Out.Finished = end
		return
	}
	rec.In.Finished = end
}

// index writes what follows from a record.
func (r *rebuilder) index(rec Record, hasBody bool, bytes int64) error {
	for _, e := range rec.indexEntries() {
		if err := r.batch.set(e.key, e.value); err != nil {
			return err
		}
	}
	if !rec.Finished() {
		if rec.In == nil || len(rec.In.GetOwed()) == 0 {
			return nil
		}
		end, ok := r.owing[rec.sequence()]
		if !ok {
			r.last[2]++
			end = r.last[2]
		}
		return r.batch.set(numberKey(keyInOwing, end), encodeNumber(rec.sequence()))
	}
	if rec.Out != nil && !rec.Out.GetHandled() {
		r.meta.totals.add(outWaiting, 0)
	}
	at, ok := r.kept[rec.place()]
	if !ok || at.kept.seq != rec.sequence() || !rec.classAllowed(at.class) || rec.In != nil && hasBody != (at.class == inFull) {
		at.class, at.kept = rec.defaultKept(hasBody, bytes)
	}
	r.meta.totals.add(at.class, at.kept.bytes)
	return r.batch.set(keptKey(at.class, at.kept.end), at.kept.encode())
}

// orphans drops parts of records that are not there.
func (r *rebuilder) orphans(ctx context.Context) error {
	for _, prefix := range []string{keyOutBody, keyOutReply, keyOutStream, keyOutFrame, keyInBody, keyInReply, keyInStream, keyInFrame} {
		var rec Record
		known, dropped, first := false, 0, []byte(nil)
		err := scanPrefix(ctx, r.s, prefix, func(key, value []byte) error {
			ours, err := false, error(nil)
			if isPart(key) {
				if seq := binary.BigEndian.Uint64(key[2:]); !known || rec.sequence() != seq {
					c := checker{r: r.s}
					rec, known, err = c.load(prefix[0] == 'o', seq)
				}
				ours = known && r.belongs(key, value, rec)
			}
			if err == nil && !ours {
				if dropped++; first == nil {
					first = key
				}
				r.batch.delete(key)
			}
			return err
		})
		if err != nil {
			return err
		}
		if dropped > 0 {
			r.say("%d parts are dropped that do not decode, or belong to records that are lost: the first one is %s", dropped, DescribeKey(first))
		}
	}
	return nil
}

// belongs tells whether what lies under a key is a part of the record.
func (r *rebuilder) belongs(key, value []byte, rec Record) bool {
	switch string(key[:2]) {
	case keyOutReply, keyInReply:
		return rec.repliesWithBody()
	case keyOutStream, keyInStream:
		return !rec.Finished()
	case keyOutFrame, keyInFrame:
		_, run, _, ok, err := rec.frames(r.s)
		return err == nil && ok && bytes.Equal(key[10:18], encodeNumber(run)) &&
			proto.Unmarshal(value, new(storagepb.Frame)) == nil
	default:
		return true
	}
}

// data counts the agent's own data, and drops what no agent can have written.
func (r *rebuilder) data(ctx context.Context) error {
	return WalkData(ctx, r.s, func(key string, value []byte) error {
		if !dataKeyFits(key) || len(value) > MaxDataValue {
			r.say("data is dropped that has a key or a value that nobody could have written: its key has %d bytes, its value %d", len(key), len(value))
			r.batch.delete(dataKey(key))
			return nil
		}
		r.meta.totals.add(dataEntries, dataSize(key, value))
		return nil
	})
}

// finish writes counters and totals.
func (r *rebuilder) finish(context.Context) error {
	for i, n := range r.meta.numbers()[:3] {
		if err := r.batch.set([]byte(n.key), encodeNumber(r.last[i]+1)); err != nil {
			return err
		}
	}
	value, err := r.meta.totals.encode()
	if err != nil {
		return err
	}
	return r.batch.set([]byte(keyTotals), value)
}

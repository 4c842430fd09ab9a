package activity

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

const (
	dumpFormat  = "sw4rm-activity"
	dumpVersion = 2 // 1 had no data
	// maxLine bounds a line of an export, in bytes.
	maxLine = 256 << 20
)

// dumpLine is a line of an export: one of its fields is set, besides what belongs to a record.
type dumpLine struct {
	Head  *dumpHead  `json:"head,omitempty"`
	Frame *dumpFrame `json:"frame,omitempty"`
	Data  *dumpData  `json:"data,omitempty"`
	End   *dumpEnd   `json:"end,omitempty"`
	// Out and In are records, as JSON of their messages in sw4rm.storage.v1, as the rest is.
	Out    json.RawMessage `json:"out,omitempty"`
	In     json.RawMessage `json:"in,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
	Reply  json.RawMessage `json:"reply,omitempty"`
	Stream json.RawMessage `json:"stream,omitempty"`
	Kept   *dumpKept       `json:"kept,omitempty"`
	// Owing is the place of a received message that is active again and owes answers since an earlier end.
	Owing uint64 `json:"owing,omitempty"`
}

type dumpHead struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Store   string `json:"store"`
	Epoch   uint64 `json:"epoch"`
	// Counters are the buffer's, by their keys.
	Counters map[string]uint64 `json:"counters"`
}

// dumpKept tells why a finished record is kept, and how much of the bounds it uses.
type dumpKept struct {
	For   string `json:"for"`
	Bytes int64  `json:"bytes"`
	AtNs  int64  `json:"at_ns"`
}

// dumpFrame is a frame of the record in the last record's line.
type dumpFrame struct {
	Run    uint64          `json:"run"`
	Number uint64          `json:"number"`
	Frame  json.RawMessage `json:"frame"`
}

// dumpData is an entry of the agent's own data.
type dumpData struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

type dumpEnd struct {
	Out    int `json:"out"`
	In     int `json:"in"`
	Frames int `json:"frames"`
	Data   int `json:"data,omitempty"`
}

// Export writes the whole buffer in r, which nobody changes meanwhile, as lines of JSON: a head, each record with payload
// and reply, its frames behind it, the agent's own data, and an end with the counts. Import makes an equal buffer of them.
func Export(ctx context.Context, r store.Reader, w io.Writer) (Summary, error) {
	d := dumper{r: r, w: json.NewEncoder(w)}
	d.w.SetEscapeHTML(false)
	err := d.run(ctx)
	if err != nil {
		err = fmt.Errorf("export the activity buffer: %w", err)
	}
	return d.sum, err
}

type dumper struct {
	r     store.Reader
	w     *json.Encoder
	owing map[uint64]uint64
	sum   Summary
}

func (d *dumper) run(ctx context.Context) error {
	head := dumpHead{Format: dumpFormat, Version: dumpVersion, Store: d.r.Instance().ID, Epoch: d.r.Instance().Epoch, Counters: map[string]uint64{}}
	var m meta
	for _, n := range m.numbers() {
		value, err := d.r.Get([]byte(n.key))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if head.Counters[n.key], err = decodeNumber(value); err != nil {
			return damaged([]byte(n.key), err)
		}
	}
	if err := d.w.Encode(dumpLine{Head: &head}); err != nil {
		return err
	}
	d.owing = map[uint64]uint64{}
	err := scanPrefix(ctx, d.r, keyInOwing, func(key, value []byte) error {
		end, errEnd := lastNumber(key)
		seq, errSeq := decodeNumber(value)
		d.owing[seq] = end
		return errors.Join(errEnd, errSeq)
	})
	if err != nil {
		return err
	}
	err = Walk(ctx, d.r, func(rec Record) error { return d.record(ctx, rec) })
	if err != nil {
		return err
	}
	err = WalkData(ctx, d.r, func(key string, value []byte) error {
		d.sum.Data++
		return d.w.Encode(dumpLine{Data: &dumpData{key, value}})
	})
	if err != nil {
		return err
	}
	return d.w.Encode(dumpLine{End: d.sum.end()})
}

func (s Summary) end() *dumpEnd {
	return &dumpEnd{Out: s.Out, In: s.In, Frames: s.Frames, Data: s.Data}
}

func toJSON(m proto.Message) (json.RawMessage, error) {
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
}

func (d *dumper) record(ctx context.Context, rec Record) (err error) {
	var line dumpLine
	if rec.Out != nil {
		line.Out, err = toJSON(rec.Out)
		d.sum.Out++
	} else {
		line.In, err = toJSON(rec.In)
		d.sum.In++
	}
	if err != nil {
		return err
	}
	if rec.FailedUnhandled() {
		d.sum.Failed++
	}
	body, reply := rec.payloads()
	for _, part := range []struct {
		key []byte
		to  *json.RawMessage
		as  proto.Message
	}{
		{body, &line.Body, new(storagepb.Body)}, {reply, &line.Reply, new(storagepb.Body)},
		{rec.streamKey(), &line.Stream, rec.streamMessage()},
	} {
		ok, err := loadFrom(d.r, part.key, part.as)
		if err == nil && ok {
			*part.to, err = toJSON(part.as)
		}
		if err != nil {
			return err
		}
	}
	if rec.Finished() {
		if line.Kept, err = d.kept(rec); err != nil {
			return err
		}
	} else if rec.In != nil {
		d.sum.InOpen++
		line.Owing = d.owing[rec.sequence()]
	} else {
		d.sum.OutOpen++
	}
	if err := d.w.Encode(line); err != nil {
		return err
	}
	return d.frames(ctx, rec)
}

func (d *dumper) kept(rec Record) (*dumpKept, error) {
	for c := range outWaiting {
		if !rec.classAllowed(c) {
			continue
		}
		key := keptKey(c, rec.place())
		value, err := d.r.Get(key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		k, err := decodeKept(key, value)
		if err != nil {
			return nil, damaged(key, err)
		}
		return &dumpKept{For: classNames[c], Bytes: k.bytes, AtNs: k.at.UnixNano()}, nil
	}
	return nil, damaged(rec.key(), errors.New("the record is not in the order of endings"))
}

func (d *dumper) frames(ctx context.Context, rec Record) error {
	prefix := keyInFrame
	if rec.Out != nil {
		prefix = keyOutFrame
	}
	start := numberKey(prefix, rec.sequence())
	return scanRange(ctx, d.r, start, numberKey(prefix, rec.sequence()+1), func(key, value []byte) error {
		if len(key) != 26 {
			return damaged(key, errors.New("the key is none of a frame"))
		}
		var f storagepb.Frame
		if err := proto.Unmarshal(value, &f); err != nil {
			return damaged(key, err)
		}
		text, err := toJSON(&f)
		if err != nil {
			return err
		}
		d.sum.Frames++
		return d.w.Encode(dumpLine{Frame: &dumpFrame{
			Run: binary.BigEndian.Uint64(key[10:]), Number: binary.BigEndian.Uint64(key[18:]), Frame: text,
		}})
	})
}

// streamKey is where the state of an active record's stream lies.
func (r Record) streamKey() []byte {
	if r.Out != nil {
		return numberKey(keyOutStream, r.sequence())
	}
	return numberKey(keyInStream, r.sequence())
}

func (r Record) streamMessage() proto.Message {
	if r.Out != nil {
		return new(storagepb.OutStream)
	}
	return new(storagepb.InStream)
}

// Import fills the empty store s with an export. What of it contradicts itself is mended and told to report, as Rebuild
// does. Errors name the line. After an error s is to be thrown away.
func Import(ctx context.Context, s store.Store, from io.Reader, now time.Time, report func(string)) (Summary, error) {
	l := loader{ctx: ctx, batch: batcher{s: s}}
	err := s.Scan(nil, nil, func(_, _ []byte) error { return errors.New("the store is not empty") })
	if err == nil {
		err = l.run(from)
	}
	if err == nil {
		err = l.batch.flush()
	}
	if err == nil {
		err = Rebuild(ctx, s, now, report)
	}
	if err == nil {
		err = l.finish(s)
	}
	if err != nil {
		return l.sum, fmt.Errorf("import into the activity buffer: %w", err)
	}
	return l.sum, nil
}

type loader struct {
	ctx   context.Context
	batch batcher
	head  *dumpHead
	last  *Record
	ended bool
	sum   Summary
}

func (l *loader) run(from io.Reader) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if n++; len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := l.line(lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	if !l.ended {
		return fmt.Errorf("line %d: the export ends without its last line, so part of it is missing", n+1)
	}
	return nil
}

func (l *loader) line(text []byte) error {
	var line dumpLine
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&line); err != nil {
		return fmt.Errorf("it is no line of an export: %w", err)
	}
	switch {
	case l.ended:
		return errors.New("something follows the end of the export")
	case l.head == nil:
		if line.Head == nil || line.Head.Format != dumpFormat {
			return errors.New("the first line is no head of an export")
		}
		if line.Head.Version > dumpVersion {
			return fmt.Errorf("the export has version %d, and this version reads up to %d", line.Head.Version, dumpVersion)
		}
		l.head = line.Head
		return nil
	case line.End != nil:
		l.ended = true
		if have := l.sum.end(); *have != *line.End {
			return fmt.Errorf("the export says that it has %+v, and it has %+v", *line.End, *have)
		}
		return nil
	case line.Frame != nil:
		return l.frame(line.Frame)
	case line.Data != nil:
		return l.data(line.Data)
	case line.Out != nil && line.In == nil:
		return l.record(line, Record{Out: new(storagepb.OutRecord)}, line.Out)
	case line.In != nil && line.Out == nil:
		return l.record(line, Record{In: new(storagepb.InRecord)}, line.In)
	default:
		return errors.New("the line has neither a record nor a frame, or both")
	}
}

func (l *loader) put(key []byte, m proto.Message) error {
	value, err := encode(m)
	if err != nil {
		return err
	}
	return l.batch.set(key, value)
}

func (l *loader) record(line dumpLine, rec Record, text json.RawMessage) error {
	if err := protojson.Unmarshal(text, rec.message()); err != nil {
		return fmt.Errorf("the record does not decode: %w", err)
	}
	value, err := encode(rec.message())
	if err != nil {
		return err
	}
	if _, _, err := decodeRecord(rec.key(), value); err != nil {
		return fmt.Errorf("%s: %w", rec.what(), errors.Unwrap(err))
	}
	if rec.sequence() == 0 {
		return errors.New("the record has no sequence")
	}
	l.last = &rec
	if rec.Out != nil {
		l.sum.Out++
	} else {
		l.sum.In++
	}
	if err := l.batch.set(rec.key(), value); err != nil {
		return err
	}
	body, reply := rec.payloads()
	for _, part := range []struct {
		text json.RawMessage
		key  []byte
		as   proto.Message
	}{
		{line.Body, body, new(storagepb.Body)}, {line.Reply, reply, new(storagepb.Body)},
		{line.Stream, rec.streamKey(), rec.streamMessage()},
	} {
		if part.text == nil {
			continue
		}
		if err := protojson.Unmarshal(part.text, part.as); err != nil {
			return fmt.Errorf("a part of %s does not decode: %w", rec.what(), err)
		}
		if err := l.put(part.key, part.as); err != nil {
			return err
		}
	}
	if line.Owing != 0 {
		if err := l.batch.set(numberKey(keyInOwing, line.Owing), encodeNumber(rec.sequence())); err != nil {
			return err
		}
	}
	if line.Kept == nil || !rec.Finished() {
		return nil
	}
	c, err := rec.classNamed(line.Kept.For)
	if err != nil {
		return err
	}
	k := kept{end: rec.place(), seq: rec.sequence(), at: time.Unix(0, line.Kept.AtNs), bytes: line.Kept.Bytes}
	return l.batch.set(keptKey(c, k.end), k.encode())
}

func (l *loader) frame(f *dumpFrame) error {
	if l.last == nil {
		return errors.New("a frame stands in front of every record")
	}
	var m storagepb.Frame
	if err := protojson.Unmarshal(f.Frame, &m); err != nil {
		return fmt.Errorf("a frame of %s does not decode: %w", l.last.what(), err)
	}
	prefix := keyInFrame
	if l.last.Out != nil {
		prefix = keyOutFrame
	}
	l.sum.Frames++
	return l.put(frameKey(prefix, l.last.sequence(), f.Run, f.Number), &m)
}

func (l *loader) data(d *dumpData) error {
	if !dataKeyFits(d.Key) || len(d.Value) > MaxDataValue {
		return fmt.Errorf("data %.64q has a key or a value that no agent could have written", d.Key)
	}
	l.sum.Data++
	return l.batch.set(dataKey(d.Key), d.Value)
}

// finish sets counters and marks to what they were.
func (l *loader) finish(s store.Store) error {
	var m meta
	for i, n := range m.numbers() {
		v, ok := l.head.Counters[n.key]
		if !ok {
			continue
		}
		if i < 3 { // never below what Rebuild has found
			value, err := s.Get([]byte(n.key))
			if err != nil {
				return err
			}
			known, err := decodeNumber(value)
			if err != nil {
				return damaged([]byte(n.key), err)
			}
			v = max(v, known)
		}
		if err := l.batch.set([]byte(n.key), encodeNumber(v)); err != nil {
			return err
		}
	}
	return l.batch.sync(l.ctx)
}

package activity

import (
	"fmt"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// indexes are the prefixes of what follows from the records, besides counters.
var indexes = [...]string{
	keyOutMessage, keyOutToken, keyOutTalk, keyOutUnhandled, keyInDedup, keyInMessage, keyInOwing, keyKept,
}

// indexEntry is a key that follows from a record, with its value.
type indexEntry struct{ key, value []byte }

// indexEntries returns what follows from a finished record, but for its place in the order of endings.
func (r Record) indexEntries() []indexEntry {
	if !r.Finished() {
		return nil
	}
	number := encodeNumber(r.sequence())
	var list []indexEntry
	add := func(key, value []byte) { list = append(list, indexEntry{key, value}) }
	if rec := r.Out; rec != nil {
		for _, a := range rec.GetAttempts() {
			add(textKey(keyOutMessage, a.GetMessageId()), number)
		}
		add(textNumberKey(keyOutToken, rec.GetSequence(), rec.GetToken(), rec.GetTo()), nil)
		add(textNumberKey(keyOutTalk, rec.GetSequence(), rec.GetCorrelationId()), nil)
		if !rec.GetHandled() {
			add(textNumberKey(keyOutUnhandled, rec.GetFinished(), rec.GetExchange()), number)
		}
		return list
	}
	rec := r.In
	add([]byte(dedupKeyOf(rec)), number)
	for _, a := range rec.GetAliases() {
		add(textKey(keyInMessage, a.GetMessageId(), rec.GetFrom()), number)
	}
	if len(rec.GetOwed()) > 0 {
		add(numberKey(keyInOwing, rec.GetFinished()), number)
	}
	return list
}

// classNames are the classes' names in exports; their places have the classes' numbers.
var classNames = [classes]string{"handled", "unhandled", "keyed", "held", "full", "bare", "held", "waiting", "data"}

// classAllowed tells whether a finished record may be kept for this reason.
func (r Record) classAllowed(c class) bool {
	switch c {
	case outHandled, outUnhandled, outHeld:
		return r.Out != nil
	case outKeyed:
		return r.Out != nil && keyed(r.Out.GetKeyKind())
	case inFull, inBare, inHeld:
		return r.In != nil
	default:
		return false
	}
}

// classNamed is the class with a name that a record may be kept for.
func (r Record) classNamed(name string) (class, error) {
	for c := range classes {
		if classNames[c] == name && r.classAllowed(c) {
			return c, nil
		}
	}
	return 0, fmt.Errorf("%s is kept for %q, which is no reason to keep it", r.what(), name)
}

// defaultKept is the place of a finished record of which nothing is known but itself.
func (r Record) defaultKept(hasBody bool, bytes int64) (class, kept) {
	k := kept{end: r.place(), seq: r.sequence(), bytes: bytes}
	if r.Out != nil {
		k.at = r.Out.GetOutcome().GetAt().AsTime()
		return outClass(r.Out), k
	}
	k.at = r.In.GetOutcome().GetAt().AsTime()
	if hasBody {
		return inFull, k
	}
	return inBare, k
}

// payloads are the keys of what belongs to a record: payload and reply.
func (r Record) payloads() (body, reply []byte) {
	if r.Out != nil {
		return numberKey(keyOutBody, r.sequence()), numberKey(keyOutReply, r.sequence())
	}
	return numberKey(keyInBody, r.sequence()), numberKey(keyInReply, r.sequence())
}

// repliesWithBody tells whether a reply lies beside the record.
func (r Record) repliesWithBody() bool {
	if r.Out != nil {
		return r.Out.GetHasReply() && !r.Out.GetStreams()
	}
	return r.In.GetHasReply()
}

// frames returns where the frames of a record lie, and the state of its stream; nil when it has none.
func (r Record) frames(reader store.Reader) (prefix string, run, stored uint64, ok bool, err error) {
	if r.Out != nil {
		s := r.Out.GetStream()
		if !r.Finished() {
			s = new(storagepb.OutStream)
			ok, err = loadFrom(reader, numberKey(keyOutStream, r.sequence()), s)
		} else {
			ok = s != nil
		}
		return keyOutFrame, s.GetRun(), s.GetStored(), ok, err
	}
	s := r.In.GetStream()
	if !r.Finished() {
		s = new(storagepb.InStream)
		ok, err = loadFrom(reader, numberKey(keyInStream, r.sequence()), s)
	} else {
		ok = s != nil
	}
	return keyInFrame, s.GetRun(), s.GetStored(), ok, err
}

package kv

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

// The kinds of keys, behind the engine's prefix.
const (
	prefix = 'q'

	kindCounters = 'm'
	kindInstance = 'i'
	kindHead     = 'h'
	kindRow      = 'r'
	kindBody     = 'b'
	kindToken    = 't'
	kindID       = 'l'
	kindExpiry   = 'x'
	kindSequence = 's'
	kindMark     = 'p'
	kindDead     = 'd'
)

// tokenKey names a token entry. It is a hash so that a token of any length and bytes makes a key of one size.
type tokenKey [sha256.Size]byte

// newTokenKey names the operation of a producer at an address: by its token, or by its message id when it has none.
func newTokenKey(producer, to, token, messageID string) tokenKey {
	kind, name := byte('t'), token
	if token == "" {
		kind, name = 'm', messageID
	}
	b := make([]byte, 0, 192)
	b = append(b, kind)
	for _, part := range [...]string{producer, to, name} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
}

func newKey(kind byte, size int) []byte {
	b := make([]byte, 0, 2+size)
	return append(b, prefix, kind)
}

func countersKey() []byte { return newKey(kindCounters, 0) }

func instanceKey(agent string) []byte { return append(newKey(kindInstance, len(agent)), agent...) }

func tokenEntryKey(k tokenKey) []byte { return append(newKey(kindToken, len(k)), k[:]...) }

func idKey(messageID string) []byte { return append(newKey(kindID, len(messageID)), messageID...) }

func bodyKey(seq int64) []byte { return appendSeq(newKey(kindBody, 8), seq) }

// queueKey names the rows of one class at one address. Addresses hold no byte below '-', so that 0 ends them.
type queueKey struct {
	class   transportpb.Class
	address string
}

func (k queueKey) headKey() []byte {
	b := append(newKey(kindHead, 1+len(k.address)), byte(k.class))
	return append(b, k.address...)
}

func parseHeadKey(b []byte) (queueKey, bool) {
	if len(b) < 4 {
		return queueKey{}, false
	}
	return queueKey{transportpb.Class(b[2]), string(b[3:])}, true
}

func (k queueKey) rowKey(seq int64) []byte {
	b := append(newKey(kindRow, 10+len(k.address)), byte(k.class))
	b = append(b, k.address...)
	return appendSeq(append(b, 0), seq)
}

// rowsEnd is behind the last row's key.
func (k queueKey) rowsEnd() []byte {
	b := append(newKey(kindRow, 2+len(k.address)), byte(k.class))
	b = append(b, k.address...)
	return append(b, 1)
}

// An expiry key orders what may be forgotten by time. Its tail says what: a token's key, a message id, or an agent.
func expiryKey(ms int64, kind byte, name string) []byte {
	b := appendSeq(newKey(kindExpiry, 9+len(name)), max(ms, 0))
	return append(append(b, kind), name...)
}

func expiryFrom(ms int64) []byte { return appendSeq(newKey(kindExpiry, 8), max(ms, 0)) }

func parseExpiryKey(b []byte) (ms int64, kind byte, name string, ok bool) {
	if len(b) < 11 {
		return 0, 0, "", false
	}
	return int64(binary.BigEndian.Uint64(b[2:])), b[10], string(b[11:]), true
}

// producerKey is one store of one producer: another one counts from the start again.
type producerKey struct{ producer, store string }

func (k producerKey) append(b []byte) []byte {
	b = append(append(b, k.producer...), 0)
	return append(append(b, k.store...), 0)
}

func (k producerKey) markKey() []byte {
	return k.append(newKey(kindMark, len(k.producer)+len(k.store)+2))
}

func parseMarkKey(b []byte) (producerKey, bool) {
	producer, rest, ok := strings.Cut(string(b[2:]), "\x00")
	name, _, ended := strings.Cut(rest, "\x00")
	return producerKey{producer, name}, ok && ended
}

func (k producerKey) sequenceKey(sequence uint64, token tokenKey) []byte {
	return append(k.sequenceFrom(sequence), token[:]...)
}

func (k producerKey) sequenceFrom(sequence uint64) []byte {
	b := k.append(newKey(kindSequence, len(k.producer)+len(k.store)+10+len(tokenKey{})))
	return binary.BigEndian.AppendUint64(b, sequence)
}

// Dead letters lie in the order in which they died.
func deadKey(died time.Time, seq int64) []byte { return appendSeq(deadFrom(died), seq) }

func deadFrom(died time.Time) []byte { return appendSeq(newKey(kindDead, 16), max(died.UnixNano(), 0)) }

func appendSeq(b []byte, seq int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(seq)) }

// kindRange is the range of all keys of a kind.
func kindRange(kind byte) (start, end []byte) { return []byte{prefix, kind}, []byte{prefix, kind + 1} }

func deadSeq(key []byte) (int64, bool) {
	if len(key) != 18 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(key[10:])), true
}

// sequenceOf returns the sequence in a key of sequenceKey.
func sequenceOf(key []byte) uint64 {
	return binary.BigEndian.Uint64(key[len(key)-len(tokenKey{})-8:])
}

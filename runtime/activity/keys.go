package activity

import (
	"encoding/binary"
	"fmt"
)

// The store's keys. Numbers are big-endian, so that keys sort by them; strings are preceded by their length, so that no
// two different sets of parts give one key.
const (
	keyOutActive    = "oa" // number → OutRecord
	keyOutDone      = "od" // number → OutRecord
	keyOutBody      = "ob" // number → Body
	keyOutReply     = "or" // number → Body
	keyOutMessage   = "om" // attempt's message id → number, of finished operations
	keyOutToken     = "ot" // token, address, number; of finished operations
	keyOutTalk      = "oc" // correlation id, number; of finished operations
	keyOutUnhandled = "ou" // exchange, place of ending → number
	keyOutFrame     = "of" // number, run, frame → Frame
	keyOutStream    = "os" // number → OutStream, of active operations
	keyInActive     = "ia" // number → InRecord
	keyInDone       = "id" // number → InRecord
	keyInBody       = "ib" // number → Body
	keyInReply      = "ir" // number → Body
	keyInFrame      = "if" // number, run, frame → Frame
	keyInStream     = "is" // number → InStream, of active messages
	keyInDedup      = "it" // what identifies a message → number, of finished messages
	keyInMessage    = "im" // message id, producer → number, of finished messages
	keyInOwing      = "io" // place of ending → number
	keyKept         = "k"  // class, place of ending → kept
	keyData         = "d"  // a handler's key → its value

	keyNextOut  = "mo" // first number that is not reserved
	keyNextIn   = "mi"
	keyNextEnd  = "me"
	keyTotals   = "mt"
	keyLowOut   = "lo" // no active operation has a lower number
	keyLowIn    = "li"
	keyLowOwing = "lw"
)

func numberKey(prefix string, n uint64) []byte {
	return appendNumberKey(make([]byte, 0, len(prefix)+8), prefix, n)
}

func appendNumberKey(to []byte, prefix string, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(to, prefix...), n)
}

func textKey(prefix string, parts ...string) []byte {
	size := len(prefix) + 8
	for _, p := range parts {
		size += len(p) + 2
	}
	b := append(make([]byte, 0, size), prefix...)
	for _, p := range parts {
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	return b
}

func textNumberKey(prefix string, n uint64, parts ...string) []byte {
	return binary.BigEndian.AppendUint64(textKey(prefix, parts...), n)
}

func keptKey(c class, end uint64) []byte {
	return numberKey(keyKept+string([]byte{byte(c)}), end)
}

// after returns the end of the range of all keys that begin with prefix and a number.
func after(prefix []byte) []byte {
	b := append(make([]byte, 0, len(prefix)+9), prefix...)
	return append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
}

// lastNumber returns the number at the end of a key.
func lastNumber(key []byte) (uint64, error) {
	if len(key) < 8 {
		return 0, fmt.Errorf("the key %q has no number", key)
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), nil
}

func encodeNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeNumber(value []byte) (uint64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("a number has %d bytes", len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

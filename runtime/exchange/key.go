package exchange

import (
	"encoding/binary"
	"strconv"
)

// Key collects what makes two calls the same operation. Generated code writes the chosen fields in the schema's order;
// each call writes a field's number with its value, so that no two different sets of values look alike.
type Key struct{ b []byte }

// String writes a string field.
func (k *Key) String(field int, v string) { k.write(field, 's', []byte(v)) }

// Bytes writes a bytes field.
func (k *Key) Bytes(field int, v []byte) { k.write(field, 'b', v) }

// Int writes a signed integer or an enum's number.
func (k *Key) Int(field int, v int64) { k.write(field, 'i', strconv.AppendInt(nil, v, 10)) }

// Uint writes an unsigned integer.
func (k *Key) Uint(field int, v uint64) { k.write(field, 'u', strconv.AppendUint(nil, v, 10)) }

// Bool writes a bool field.
func (k *Key) Bool(field int, v bool) { k.write(field, 't', strconv.AppendBool(nil, v)) }

// Encoding returns what was written, in a form that is the same in every process.
func (k *Key) Encoding() []byte { return k.b }

func (k *Key) write(field int, kind byte, v []byte) {
	k.b = binary.AppendUvarint(k.b, uint64(field))
	k.b = append(k.b, kind)
	k.b = binary.AppendUvarint(k.b, uint64(len(v)))
	k.b = append(k.b, v...)
}

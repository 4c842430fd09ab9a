// Package payload makes messages of any type, the same ones from the same seed.
package payload

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Bounds of a message.
const (
	// maxDepth is how deep messages that need not be there are nested.
	maxDepth = 4
	// maxNested is how deep required ones may be.
	maxNested = 32
	// maxFields is about how many values a message has in all its parts.
	maxFields = 200
	// maxElements is how many a list or map has.
	maxElements = 3
)

// RecursionError says that a message can never be complete.
type RecursionError struct{ Message string }

// Error implements error.
func (e *RecursionError) Error() string {
	return fmt.Sprintf("no message %s can be made: it requires itself", e.Message)
}

// New makes a message. It has all required fields, enum values that have a name, and valid well-known types; text is
// UTF-8. The error is a *RecursionError.
func New(rng *rand.Rand, md protoreflect.MessageDescriptor) (proto.Message, error) {
	m := &maker{rng: rng, left: maxFields}
	msg := dynamicpb.NewMessage(md)
	if err := m.fill(msg, 0); err != nil {
		return nil, err
	}
	return msg, nil
}

type maker struct {
	rng  *rand.Rand
	left int // values that may still be made
}

// one tells true once in n.
func (m *maker) one(n int) bool { return m.rng.IntN(n) == 0 }

func (m *maker) fill(msg protoreflect.Message, depth int) error {
	md := msg.Descriptor()
	if depth > maxNested {
		return &RecursionError{Message: string(md.FullName())}
	}
	if m.wellKnown(msg, depth) {
		return nil
	}
	for i := range md.Oneofs().Len() {
		o := md.Oneofs().Get(i)
		if o.IsSynthetic() {
			continue // a single field, which the loop below fills
		}
		if n := m.rng.IntN(o.Fields().Len() + 1); n < o.Fields().Len() {
			if err := m.set(msg, o.Fields().Get(n), depth); err != nil {
				return err
			}
		}
	}
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			continue
		}
		if f.Cardinality() != protoreflect.Required && (m.left <= 0 || m.one(8)) {
			continue
		}
		if err := m.set(msg, f, depth); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) set(msg protoreflect.Message, f protoreflect.FieldDescriptor, depth int) error {
	if f.Message() != nil && !f.IsMap() && depth >= maxDepth && f.Cardinality() != protoreflect.Required {
		return nil
	}
	switch {
	case f.IsMap():
		if f.MapValue().Message() != nil && depth >= maxDepth {
			return nil
		}
		for range m.rng.IntN(maxElements + 1) {
			v, err := m.value(f.MapValue(), msg.Mutable(f).Map().NewValue, depth)
			if err != nil {
				return err
			}
			k, err := m.value(f.MapKey(), nil, depth)
			if err != nil {
				return err
			}
			msg.Mutable(f).Map().Set(k.MapKey(), v)
		}
	case f.IsList():
		for range m.rng.IntN(maxElements + 1) {
			v, err := m.value(f, msg.Mutable(f).List().NewElement, depth)
			if err != nil {
				return err
			}
			msg.Mutable(f).List().Append(v)
		}
	default:
		v, err := m.value(f, func() protoreflect.Value { return msg.NewField(f) }, depth)
		if err != nil {
			return err
		}
		msg.Set(f, v)
	}
	return nil
}

// value makes one value; empty makes an empty message of a field that has messages.
func (m *maker) value(f protoreflect.FieldDescriptor, empty func() protoreflect.Value, depth int) (protoreflect.Value, error) {
	m.left--
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		v := empty()
		return v, m.fill(v.Message(), depth+1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(m.member(f.Enum().Values())), nil
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(m.one(2)), nil
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(m.text()), nil
	case protoreflect.BytesKind:
		b := make([]byte, m.rng.IntN(48))
		for i := range b {
			b[i] = byte(m.rng.Uint32())
		}
		return protoreflect.ValueOfBytes(b), nil
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(m.real())), nil
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(m.real()), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(m.integer(math.MaxInt32))), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(max(0, m.integer(math.MaxInt32)))), nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(max(0, m.integer(math.MaxInt64)))), nil
	default: // the signed integers of 64 bits
		return protoreflect.ValueOfInt64(m.integer(math.MaxInt64)), nil
	}
}

// member chooses a value. The number 0 mostly stands for none, and comes seldom.
func (m *maker) member(values protoreflect.EnumValueDescriptors) protoreflect.EnumNumber {
	n := values.Get(m.rng.IntN(values.Len())).Number()
	for range values.Len() {
		if n != 0 || m.one(10) {
			break
		}
		n = values.Get(m.rng.IntN(values.Len())).Number()
	}
	return n
}

// integer makes mostly small numbers, and now and then one at a bound.
func (m *maker) integer(most int64) int64 {
	switch m.rng.IntN(10) {
	case 0:
		return []int64{0, 1, -1, most, -most - 1}[m.rng.IntN(5)]
	case 1:
		return m.rng.Int64N(most)
	default:
		return m.rng.Int64N(1000)
	}
}

// real makes finite numbers: what is none equals nothing, not even itself.
func (m *maker) real() float64 {
	if m.one(10) {
		return []float64{0, math.Copysign(0, -1), math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32}[m.rng.IntN(5)]
	}
	return math.Round((m.rng.Float64()-0.5)*2e6) / 1e3
}

var words = strings.Fields("a be see road apple ledger window naïve über straße 你好 😀 O'Neil \"quoted\" <tag> ../path 100% \\n")

func (m *maker) text() string {
	if m.one(12) {
		return ""
	}
	parts := make([]string, 1+m.rng.IntN(4))
	for i := range parts {
		parts[i] = words[m.rng.IntN(len(words))]
	}
	return strings.Join(append(parts, fmt.Sprintf("%05d", m.rng.IntN(100_000))), " ")
}

package payload_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// maker makes random messages that have a JSON form.
type maker struct {
	t *testing.T
	r *rand.Rand
	// noAny leaves each Any empty: what one may hold depends on its type, which a schema does not know.
	noAny bool
}

// message returns a random message; one that is nested depth deep has no messages in it but those that are required.
func (g maker) message(d protoreflect.MessageDescriptor, depth int) protoreflect.Message {
	if m := g.wellKnown(d); m != nil {
		// Through the encoding, since fields of dynamic messages hold dynamic messages.
		b, err := proto.Marshal(m)
		require.NoError(g.t, err)
		dynamic := dynamicpb.NewMessage(d)
		require.NoError(g.t, proto.Unmarshal(b, dynamic))
		return dynamic
	}
	m := dynamicpb.NewMessage(d)
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		required := f.Cardinality() == protoreflect.Required
		if !required && (g.r.IntN(3) == 0 || depth <= 0 && f.Message() != nil) {
			continue
		}
		switch {
		case f.IsList():
			list := m.Mutable(f).List()
			for range g.r.IntN(3) {
				list.Append(g.value(f, depth-1))
			}
		case f.IsMap():
			entries := m.Mutable(f).Map()
			for range g.r.IntN(3) {
				entries.Set(g.value(f.MapKey(), 0).MapKey(), g.value(f.MapValue(), depth-1))
			}
		default:
			m.Set(f, g.value(f, depth-1))
		}
	}
	return m
}

func (g maker) value(f protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return protoreflect.ValueOfMessage(g.message(f.Message(), depth))
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		if !f.Enum().IsClosed() && g.r.IntN(4) == 0 {
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(g.r.Int32()))
		}
		return protoreflect.ValueOfEnum(values.Get(g.r.IntN(values.Len())).Number())
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(g.r.IntN(2) == 0)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(pick(g.r, 0, -1, math.MinInt32, math.MaxInt32, int32(g.r.Uint32())))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(pick(g.r, 0, -1, math.MinInt64, math.MaxInt64, int64(g.r.Uint64())))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(pick(g.r, 0, math.MaxUint32, g.r.Uint32()))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(pick(g.r, 0, math.MaxUint64, g.r.Uint64()))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(g.float()))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(g.float())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(g.text()))
	default:
		return protoreflect.ValueOfString(g.text())
	}
}

func (g maker) float() float64 {
	return pick(g.r, 0, -1.5, 1e300, math.NaN(), math.Inf(1), math.Inf(-1), g.r.Float64())
}

func (g maker) text() string {
	return pick(g.r, "", "a", "\"\\\n\x00", "<script>", "ä€😀", strings.Repeat("x", g.r.IntN(20)))
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// wellKnown returns a message of those that protobuf writes in a way of its own, nil for others.
func (g maker) wellKnown(d protoreflect.MessageDescriptor) proto.Message {
	sign := int64(g.r.IntN(2)*2 - 1)
	switch d.FullName() {
	case "google.protobuf.Any":
		if g.noAny || g.r.IntN(3) == 0 {
			return &anypb.Any{}
		}
		packed, err := anypb.New(pick[proto.Message](g.r, &timestamppb.Timestamp{Seconds: 1}, wrapperspb.String("x"), &fieldmaskpb.FieldMask{}))
		require.NoError(g.t, err)
		return packed
	case "google.protobuf.Timestamp":
		return &timestamppb.Timestamp{
			Seconds: g.r.Int64N(253402300799+62135596800) - 62135596800,
			Nanos:   pick[int32](g.r, 0, 1, 500_000_000, 999_999_000),
		}
	case "google.protobuf.Duration":
		return &durationpb.Duration{Seconds: sign * g.r.Int64N(315_576_000_000), Nanos: int32(sign) * pick[int32](g.r, 0, 1, 500_000_000, 999_999_999)}
	case "google.protobuf.FieldMask":
		return &fieldmaskpb.FieldMask{Paths: pick(g.r, nil, []string{"a"}, []string{"a_b.c", "d_e"})}
	case "google.protobuf.Struct":
		return &structpb.Struct{Fields: map[string]*structpb.Value{g.text(): g.json(2)}}
	case "google.protobuf.ListValue":
		return &structpb.ListValue{Values: []*structpb.Value{g.json(2), g.json(0)}}
	case "google.protobuf.Value":
		return g.json(2)
	default:
		return nil
	}
}

func (g maker) json(depth int) *structpb.Value {
	n := 4
	if depth > 0 {
		n = 6
	}
	switch g.r.IntN(n) {
	case 0:
		return structpb.NewNullValue()
	case 1:
		return structpb.NewBoolValue(true)
	case 2:
		return structpb.NewNumberValue(g.r.NormFloat64())
	case 3:
		return structpb.NewStringValue(g.text())
	case 4:
		return structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{g.json(depth - 1)}})
	default:
		return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"x": g.json(depth - 1)}})
	}
}

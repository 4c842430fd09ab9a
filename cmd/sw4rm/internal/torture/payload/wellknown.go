package payload

import (
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// wellKnown fills messages whose values have rules that their fields do not tell. It is false for others.
func (m *maker) wellKnown(msg protoreflect.Message, depth int) bool {
	var made proto.Message
	switch msg.Descriptor().FullName() {
	case "google.protobuf.Timestamp":
		made = timestamppb.New(time.Unix(m.rng.Int64N(4_000_000_000), m.rng.Int64N(1_000_000_000)))
	case "google.protobuf.Duration":
		made = durationpb.New(time.Duration(m.rng.Int64N(int64(48*time.Hour))) - 24*time.Hour)
	case "google.protobuf.FieldMask":
		made = &fieldmaskpb.FieldMask{Paths: []string{"name", "parent.child_name"}[:m.rng.IntN(3)]}
	case "google.protobuf.Struct":
		made = object(m.rng, depth)
	case "google.protobuf.ListValue":
		made = list(m.rng, depth)
	case "google.protobuf.Value":
		made = jsonValue(m.rng, depth)
	case "google.protobuf.Any":
		value, err := anypb.New(wrapperspb.String(m.text()))
		if err != nil { // text always encodes
			return true
		}
		made = value
	default:
		return false
	}
	// The descriptor may be another copy than the linked one; the encoding is the same.
	b, err := proto.Marshal(made)
	if err == nil {
		err = proto.Unmarshal(b, msg.Interface())
	}
	return err == nil
}

func object(rng *rand.Rand, depth int) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for range rng.IntN(maxElements + 1) {
		s.Fields[words[rng.IntN(len(words))]] = jsonValue(rng, depth+1)
	}
	return s
}

func list(rng *rand.Rand, depth int) *structpb.ListValue {
	l := &structpb.ListValue{}
	for range rng.IntN(maxElements + 1) {
		l.Values = append(l.Values, jsonValue(rng, depth+1))
	}
	return l
}

func jsonValue(rng *rand.Rand, depth int) *structpb.Value {
	kinds := 6
	if depth >= maxDepth {
		kinds = 4
	}
	switch rng.IntN(kinds) {
	case 0:
		return structpb.NewNullValue()
	case 1:
		return structpb.NewBoolValue(rng.IntN(2) == 0)
	case 2:
		return structpb.NewNumberValue(float64(rng.IntN(1000)))
	case 3:
		return structpb.NewStringValue(words[rng.IntN(len(words))])
	case 4:
		return structpb.NewStructValue(object(rng, depth))
	default:
		return structpb.NewListValue(list(rng, depth))
	}
}

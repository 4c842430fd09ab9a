package payload

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sw4rm/sw4rm-go/golden/proto2"
	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func descriptor(m proto.Message) protoreflect.MessageDescriptor { return m.ProtoReflect().Descriptor() }

// TestMessages makes messages of many kinds: each is complete, small, the same from the same seed, and goes through both
// formats.
func TestMessages(t *testing.T) {
	for _, m := range []proto.Message{
		&timestamppb.Timestamp{}, &durationpb.Duration{}, &fieldmaskpb.FieldMask{}, &structpb.Struct{}, &structpb.Value{}, &structpb.ListValue{},
		&anypb.Any{}, &storagepb.OutRecord{}, &storagepb.InRecord{}, &registrypb.HeartbeatRequest{}, &optionspb.ExchangeOptions{},
		&descriptorpb.FileDescriptorProto{}, &descriptorpb.FeatureSet{},
	} {
		md := descriptor(m)
		different := map[string]bool{}
		for seed := range uint64(100) {
			made, err := New(rand.New(rand.NewPCG(seed, 1)), md)
			require.NoError(t, err)
			again, err := New(rand.New(rand.NewPCG(seed, 1)), md)
			require.NoError(t, err)
			require.True(t, proto.Equal(made, again), md.FullName())
			require.NoError(t, proto.CheckInitialized(made), md.FullName())
			b, err := proto.Marshal(made)
			require.NoError(t, err)
			require.Less(t, len(b), 64<<10)
			different[string(b)] = true
			text, err := protojson.Marshal(made)
			require.NoError(t, err, "%s: %v", md.FullName(), made)
			back := made.ProtoReflect().New().Interface()
			require.NoError(t, protojson.Unmarshal(text, back), "%s", text)
			linked := m.ProtoReflect().New().Interface()
			require.NoError(t, proto.Unmarshal(b, linked))
		}
		require.Greater(t, len(different), 1, md.FullName())
	}
}

func TestRequiredFields(t *testing.T) {
	file := proto2.File_proto2_proto2_proto
	for i := range file.Messages().Len() {
		for seed := range uint64(50) {
			made, err := New(rand.New(rand.NewPCG(seed, 2)), file.Messages().Get(i))
			require.NoError(t, err)
			require.NoError(t, proto.CheckInitialized(made))
		}
	}
}

func TestMessageThatRequiresItself(t *testing.T) {
	label, kind := descriptorpb.FieldDescriptorProto_LABEL_REQUIRED, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("a.proto"), Package: proto.String("a"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M"), Field: []*descriptorpb.FieldDescriptorProto{
			{Name: proto.String("m"), Number: proto.Int32(1), Label: &label, Type: &kind, TypeName: proto.String(".a.M")},
		}}},
	}, nil)
	require.NoError(t, err)
	_, err = New(rand.New(rand.NewPCG(1, 1)), file.Messages().Get(0))
	var recursion *RecursionError
	require.ErrorAs(t, err, &recursion)
	require.Equal(t, "a.M", recursion.Message)
}

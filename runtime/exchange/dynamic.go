package exchange

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// NewDynamic describes an exchange whose messages become known only while the program runs, as from a file of descriptors.
// reply is the type of the reply or of a stream's frames, nil for a one-way exchange. A Sender sends what it describes as
// an Outgoing.
func NewDynamic(name string, kind Kind, request, reply protoreflect.MessageType, opts ...Option) *Descriptor {
	var newReply func() proto.Message
	if reply != nil {
		newReply = func() proto.Message { return reply.New().Interface() }
	}
	return newDescriptor(name, kind, func() proto.Message { return request.New().Interface() }, newReply, opts)
}

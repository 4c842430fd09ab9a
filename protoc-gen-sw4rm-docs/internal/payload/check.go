package payload

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// Check reports messages that have no JSON form.
func Check(messages []protoreflect.MessageDescriptor) schema.Findings {
	var findings schema.Findings
	for _, m := range messages {
		if o, ok := m.Options().(*descriptorpb.MessageOptions); ok && o.GetMessageSetWireFormat() {
			findings = append(findings, schema.Finding{
				Position: tree.Position(m),
				Message:  fmt.Sprintf("message %s has message_set_wire_format, for which there is no JSON", m.FullName()),
				Fix:      "use a message without it in payloads",
			})
		}
		first := make(map[string]protoreflect.FieldDescriptor, m.Fields().Len())
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if other, ok := first[f.JSONName()]; ok {
				findings = append(findings, schema.Finding{
					Position: tree.Position(f),
					Message: fmt.Sprintf("fields %s and %s of %s have the same name in JSON, %q (the first at %v)",
						other.Name(), f.Name(), m.FullName(), f.JSONName(), tree.Position(other)),
					Fix: "rename one of them, or set its json_name",
				})
				continue
			}
			first[f.JSONName()] = f
		}
	}
	return findings
}

package payload

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// Check reports messages that have no JSON form because two fields have the same name in it.
func Check(messages []protoreflect.MessageDescriptor) schema.Findings {
	var findings schema.Findings
	for _, m := range messages {
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

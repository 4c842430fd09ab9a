package rules

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

func streamContentKey(e *exchange) []remark {
	return one(e.kind == schema.Stream && e.identity() != "each_call", func() remark {
		return remark{
			at: e.option("idempotency"),
			text: fmt.Sprintf("%s makes a repeated call of a streamed reply the same operation, of which one outcome is recorded for both callers, not a stream of frames for each",
				e.value("idempotency", e.identity())),
			fix: "leave idempotency out, or return one reply",
		}
	})
}

func wholePayloadEmpty(e *exchange) []remark {
	return one(e.settings.WholePayload && len(e.request.Fields) == 0, func() remark {
		return remark{
			at: e.option("idempotency"),
			text: fmt.Sprintf("%s of %s, which has no fields, makes all calls to an address the same operation",
				e.value("idempotency", e.identity()), e.request.Desc.FullName()),
			fix: "leave idempotency out, or give the message a field that tells calls apart",
		}
	})
}

func wholePayloadStable(e *exchange) []remark {
	if !e.settings.WholePayload {
		return nil
	}
	path, why := unstable(e.request)
	return one(path != "", func() remark {
		return remark{
			at: e.option("idempotency"),
			text: fmt.Sprintf("%s takes the encoding of %s for the key, but %s is %s",
				e.value("idempotency", e.identity()), e.request.Desc.FullName(), path, why),
			fix: "name the fields that tell operations apart: idempotency: {fields: {path: [...]}}",
		}
	})
}

// unstable returns the path of the first field in m, or in a message inside it, for which equal values can have several
// encodings.
func unstable(m *protogen.Message) (path, why string) {
	type step struct {
		m    *protogen.Message
		path []string
	}
	seen := map[*protogen.Message]bool{m: true}
	for queue := []step{{m: m}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for _, f := range at.m.Fields {
			path := append(slices.Clone(at.path), string(f.Desc.Name()))
			if why := unstableField(f); why != "" {
				return strings.Join(path, "."), why
			}
			if f.Message != nil && !seen[f.Message] {
				seen[f.Message] = true
				queue = append(queue, step{m: f.Message, path: path})
			}
		}
	}
	return "", ""
}

func unstableField(f *protogen.Field) string {
	switch {
	case f.Desc.IsMap():
		return "a map, whose entries have no order that all versions and languages share"
	case f.Desc.Kind() == protoreflect.FloatKind, f.Desc.Kind() == protoreflect.DoubleKind:
		return "a " + f.Desc.Kind().String() + ", whose equal values, such as 0 and -0, can have several encodings"
	case f.Message != nil && f.Message.Desc.FullName() == "google.protobuf.Any":
		return "a google.protobuf.Any, whose content is encoded by whoever packed it"
	default:
		return ""
	}
}

// coarse are the values that a key can have at most for it to look like a mistake.
const coarse = 1000

func keyFieldsCoarse(e *exchange) []remark {
	if e.identity() != "fields" {
		return nil
	}
	operations := 1
	var names []string
	for _, k := range e.settings.Keys {
		n := values(k.Field())
		if n == 0 {
			return nil
		}
		if operations *= n; operations > coarse {
			return nil
		}
		names = append(names, fieldPath(k))
	}
	return []remark{{
		at: e.option("idempotency"),
		text: fmt.Sprintf("the key of %s can tell only %d operations apart; all other calls to an address get the outcome of an earlier one",
			strings.Join(names, ", "), operations),
		fix: "name a field that differs from operation to operation too",
	}}
}

// values counts the values that a field is meant to have, 0 for many.
func values(f *protogen.Field) int {
	switch {
	case f.Desc.Kind() == protoreflect.BoolKind:
		return 2
	case f.Enum != nil:
		return len(f.Enum.Values)
	default:
		return 0
	}
}

func fieldPath(k schema.Key) string {
	names := make([]string, len(k.Path))
	for i, f := range k.Path {
		names[i] = string(f.Desc.Name())
	}
	return strings.Join(names, ".")
}

func capabilityUnique(s *snapshot, report func(finding)) {
	first := make(map[string]*service)
	for _, svc := range s.services {
		other, ok := first[svc.address()]
		if !ok {
			first[svc.address()] = svc
			continue
		}
		report(finding{
			subject: svc.Name,
			at:      svc.capability(),
			text: fmt.Sprintf("capability %q is that of %s too, so that messages reach agents that handle only the other service. Fix: give each service a capability of its own, or make them one service",
				svc.address(), other.Name),
		})
	}
}

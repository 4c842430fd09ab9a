package payload

import (
	"math"

	"github.com/google/jsonschema-go/jsonschema"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// How the mapping writes what JSON has no type for.
const (
	signed   = `^(0|-?[1-9][0-9]{0,18})$`
	unsigned = `^(0|[1-9][0-9]{0,19})$`
	base64   = `^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`
	instant  = `^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?` +
		`(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	span = `^-?[0-9]{1,12}(\.[0-9]{1,9})?s$`
	mask = `^([A-Za-z0-9.]+(,[A-Za-z0-9.]+)*)?$`
)

// scalar returns the schema of a value that is neither message nor enum.
func scalar(k protoreflect.Kind) *jsonschema.Schema {
	switch k {
	case protoreflect.BoolKind:
		return &jsonschema.Schema{Type: "boolean"}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return integer(math.MinInt32, math.MaxInt32)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return integer(0, math.MaxUint32)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return &jsonschema.Schema{Type: "string", Format: "int64", Pattern: signed}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return &jsonschema.Schema{Type: "string", Format: "uint64", Pattern: unsigned}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "number"}, {Enum: []any{"NaN", "Infinity", "-Infinity"}}}}
	case protoreflect.BytesKind:
		return &jsonschema.Schema{Type: "string", ContentEncoding: "base64", Pattern: base64}
	default:
		return &jsonschema.Schema{Type: "string"}
	}
}

func integer(from, to float64) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "integer", Minimum: &from, Maximum: &to}
}

// wellKnown returns the schema of a message that the mapping writes in a way of its own.
func wellKnown(m protoreflect.MessageDescriptor) (*jsonschema.Schema, bool) {
	if m.FullName().Parent() != "google.protobuf" {
		return nil, false
	}
	switch m.Name() {
	case "Any":
		// Without a type the mapping writes {}.
		none := 0
		return &jsonschema.Schema{
			Type:       "object",
			Properties: map[string]*jsonschema.Schema{"@type": {Type: "string"}},
			AnyOf:      []*jsonschema.Schema{{Required: []string{"@type"}}, {MaxProperties: &none}},
		}, true
	case "Timestamp":
		return &jsonschema.Schema{Type: "string", Format: "date-time", Pattern: instant}, true
	case "Duration":
		return &jsonschema.Schema{Type: "string", Pattern: span}, true
	case "FieldMask":
		return &jsonschema.Schema{Type: "string", Pattern: mask}, true
	case "Struct":
		return &jsonschema.Schema{Type: "object"}, true
	case "ListValue":
		return &jsonschema.Schema{Type: "array"}, true
	case "Value":
		return &jsonschema.Schema{}, true
	case "Empty":
		return &jsonschema.Schema{Type: "object", AdditionalProperties: nothing()}, true
	case "DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value", "UInt32Value", "BoolValue", "StringValue", "BytesValue":
		if f := m.Fields().ByNumber(1); f != nil {
			return scalar(f.Kind()), true
		}
	}
	return nil, false
}

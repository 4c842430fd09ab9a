// Package schema reads the services and payload messages of .proto files, with the options that say how their messages
// travel between agents, into a checked model. Checking finds all mistakes, each with its place in the source and its
// remedy.
package schema

import (
	"time"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// Model is what a request asks to be generated.
type Model struct {
	// Files are sorted by path. Files without a service or payload to generate are left out.
	Files []*File
	// Warnings are what may surprise, but does not keep code from being generated. They are sorted.
	Warnings Findings
}

// File is a schema with at least one service or payload to generate.
type File struct {
	Proto    *protogen.File
	Services []*Service
	// Payloads are the messages that are sent by themselves, in the schema's order, nested ones after their parents.
	Payloads []*Payload
	// Package is where the generated code belongs: the messages' package, or the one below it that Options ask for.
	Package Package
	// PackageNames are the names of the Go packages in the request.
	PackageNames map[protogen.GoImportPath]protogen.GoPackageName
}

// Package is the Go package of generated code.
type Package struct {
	Path protogen.GoImportPath
	Name protogen.GoPackageName
	// FilePrefix is the generated file's name in the output folder without its suffix.
	FilePrefix string
}

// Service is a service whose RPCs are exchanges between agents.
type Service struct {
	Proto *protogen.Service
	// Name is the full name.
	Name string
	// Go has the names of what is generated.
	Go Names
	// Capability is what the schema says; empty for the service's full name.
	Capability string
	// Deprecated tells that the service or its file is.
	Deprecated bool
	// Exchanges are in the schema's order, without skipped RPCs.
	Exchanges []*Exchange
	Position  Position
}

// Kind is the shape of an exchange.
type Kind int

// The shapes.
const (
	// OneWay has a message and an outcome.
	OneWay Kind = iota + 1
	// Call has a request and one reply.
	Call
	// Stream has a request and any number of ordered replies, its frames.
	Stream
)

// String returns the shape in words.
func (k Kind) String() string {
	switch k {
	case OneWay:
		return "one-way message"
	case Call:
		return "call"
	case Stream:
		return "stream"
	default:
		return "unknown kind"
	}
}

// Exchange is an RPC between agents.
type Exchange struct {
	Proto *protogen.Method
	// Name is the exchange's name on the wire, "package.Service/Method".
	Name string
	Kind Kind
	// Reply is google.protobuf.Empty in a one-way exchange, and the frames' message in a stream.
	Request, Reply *protogen.Message
	Settings       Settings
	// Idempotency is what the RPC's standard option idempotency_level says.
	Idempotency descriptorpb.MethodOptions_IdempotencyLevel
	Deprecated  bool
	Position    Position
}

// Payload is a message that is sent by itself, one way.
type Payload struct {
	Proto *protogen.Message
	// Name is the message's full name, which names the exchange on the wire.
	Name string
	// Go has the names of what is generated.
	Go       PayloadNames
	Settings Settings
	// Deprecated tells that the message or its file is.
	Deprecated bool
	Position   Position
}

// Settings are what the schema says of an exchange, with the defaults of service and file. What is nil, zero or empty
// is left to the runtime, except that a duration of 0 is an explicit "no limit".
type Settings struct {
	Type                                                    optionspb.ExchangeOptions_Type
	Order                                                   optionspb.ExchangeOptions_Order
	Resume                                                  optionspb.ExchangeOptions_Resume
	AckTimeout, ReplyTimeout, Deadline, TTL, HandlerTimeout *time.Duration
	MaxAttempts                                             *int
	InitialBackoff, MaxBackoff                              *time.Duration
	Multiplier                                              *float64
	// RetryOn are the codes that are worth another attempt.
	RetryOn []ack.Code
	// WholePayload makes calls with equal payloads the same operation.
	WholePayload bool
	// Keys make calls that agree in them the same operation. They are sorted by field numbers.
	Keys []Key
	// ContentType is what messages carry instead of ours, for foreign peers.
	ContentType string
	// Origins tell where the settings were written, in the order of the options' numbers.
	Origins []Origin
}

// Origin tells where a setting was written.
type Origin struct {
	// Option is its name, after a dot inside another one: "ttl", "retry.max_attempts", "idempotency".
	Option   string
	Position Position
	// Path is the option's place in the descriptor of Position.File.
	Path protoreflect.SourcePath
	// Default is empty for an option of the RPC or message itself, else it says whose default it is.
	Default string
}

// Origin returns where the option was written, false when nobody wrote it.
func (s Settings) Origin(option string) (Origin, bool) {
	for _, o := range s.Origins {
		if o.Option == option {
			return o, true
		}
	}
	return Origin{}, false
}

// Key is a field of a request, or of a message inside it.
type Key struct {
	// Path leads from the request to the field.
	Path []*protogen.Field
}

// Field returns the field itself.
func (k Key) Field() *protogen.Field { return k.Path[len(k.Path)-1] }

// Side is what of an exchange is generated.
type Side int

// The sides. Descriptors of exchanges belong to both.
const (
	// Both is what sends and what handles.
	Both Side = iota
	// Send is callers and senders.
	Send
	// Handle is handlers and their registration.
	Handle
)

// Sends tells whether callers and senders are generated.
func (s Side) Sends() bool { return s != Handle }

// Handles tells whether handlers are generated.
func (s Side) Handles() bool { return s != Send }

// Names are the Go names of what is generated for a service. Those of a side that is not generated are empty.
type Names struct {
	Exchanges, Caller, NewCaller, Sender, NewSender, Handler, Handle, Unimplemented string
}

// namesOf returns the names for the service with the given Go name.
func namesOf(service string, side Side) Names {
	n := Names{Exchanges: service + "Exchanges"}
	if side.Sends() {
		n.Caller, n.NewCaller = service+"Caller", "New"+service+"Caller"
		n.Sender, n.NewSender = service+"Sender", "New"+service+"Sender"
	}
	if side.Handles() {
		n.Handler, n.Handle, n.Unimplemented = service+"Handler", "Handle"+service, "Unimplemented"+service+"Handler"
	}
	return n
}

// All returns the names in the order of the declarations.
func (n Names) All() []string {
	return written(n.Exchanges, n.Caller, n.NewCaller, n.Sender, n.NewSender, n.Handler, n.Handle, n.Unimplemented)
}

// PayloadNames are the Go names of what is generated for a payload message. Those of a side that is not generated are
// empty.
type PayloadNames struct{ Exchange, Send, Handle string }

// payloadNamesOf returns the names for the message with the given Go name.
func payloadNamesOf(message string, side Side) PayloadNames {
	n := PayloadNames{Exchange: message + "Exchange"}
	if side.Sends() {
		n.Send = "Send" + message
	}
	if side.Handles() {
		n.Handle = "Handle" + message
	}
	return n
}

// All returns the names in the order of the declarations.
func (n PayloadNames) All() []string { return written(n.Exchange, n.Send, n.Handle) }

// written returns the names that are not empty.
func written(names ...string) []string {
	kept := names[:0]
	for _, n := range names {
		if n != "" {
			kept = append(kept, n)
		}
	}
	return kept
}

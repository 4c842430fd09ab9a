// Package schema reads the services of .proto files, with the options that say how their messages travel between
// agents, into a checked model. Checking finds all mistakes, each with its place in the source and its remedy.
package schema

import (
	"time"

	"google.golang.org/protobuf/compiler/protogen"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// Model is what a request asks to be generated.
type Model struct {
	// Files are sorted by path. Files without a service to generate are left out.
	Files []*File
}

// File is a schema with at least one service to generate.
type File struct {
	Proto    *protogen.File
	Services []*Service
	// PackageNames are the names of the Go packages in the request.
	PackageNames map[protogen.GoImportPath]protogen.GoPackageName
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

// Exchange is an RPC between agents.
type Exchange struct {
	Proto *protogen.Method
	// Name is the exchange's name on the wire, "package.Service/Method".
	Name string
	// OneWay tells that there is no reply. Reply is then google.protobuf.Empty.
	OneWay         bool
	Request, Reply *protogen.Message
	Settings       Settings
	Deprecated     bool
	Position       Position
}

// Settings are what the schema says of an exchange, with the defaults of service and file. What is nil, zero or empty
// is left to the runtime, except that a duration of 0 is an explicit "no limit".
type Settings struct {
	Type                                                    optionspb.ExchangeOptions_Type
	Order                                                   optionspb.ExchangeOptions_Order
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
}

// Key is a field of a request, or of a message inside it.
type Key struct {
	// Path leads from the request to the field.
	Path []*protogen.Field
}

// Field returns the field itself.
func (k Key) Field() *protogen.Field { return k.Path[len(k.Path)-1] }

// Names are the Go names of what is generated for a service.
type Names struct {
	Exchanges, Caller, NewCaller, Sender, NewSender, Handler, Handle, Unimplemented string
}

// namesOf returns the names for the service with the given Go name.
func namesOf(service string) Names {
	return Names{
		Exchanges:     service + "Exchanges",
		Caller:        service + "Caller",
		NewCaller:     "New" + service + "Caller",
		Sender:        service + "Sender",
		NewSender:     "New" + service + "Sender",
		Handler:       service + "Handler",
		Handle:        "Handle" + service,
		Unimplemented: "Unimplemented" + service + "Handler",
	}
}

// All returns the names in the order of the declarations.
func (n Names) All() []string {
	return []string{n.Exchanges, n.Caller, n.NewCaller, n.Sender, n.NewSender, n.Handler, n.Handle, n.Unimplemented}
}

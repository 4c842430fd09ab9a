// Package address names the recipients of messages: one agent, or whichever agent offers a capability.
package address

import (
	"fmt"
	"strings"
)

// MaxNameLength is the largest length of an agent id or a capability name in bytes.
const MaxNameLength = 128

// RouterID is the producer id of the router's own envelopes. No agent may have it.
const RouterID = "sw4rm-router"

// Kind tells agents from capabilities.
type Kind int

// The kinds of addresses. The zero Kind is no address.
const (
	KindAgent Kind = iota + 1
	KindCapability
)

// Address is an agent or a capability. The zero Address is none. Addresses are comparable.
type Address struct {
	kind Kind
	name string
}

// Agent addresses the agent with this id.
func Agent(id string) Address { return Address{kind: KindAgent, name: id} }

// Capability addresses any agent that offers the capability.
func Capability(name string) Address { return Address{kind: KindCapability, name: name} }

// Kind returns the kind, 0 for the zero Address.
func (a Address) Kind() Kind { return a.kind }

// Name returns the agent id or the capability's name.
func (a Address) Name() string { return a.name }

// IsZero tells whether a is no address.
func (a Address) IsZero() bool { return a == Address{} }

// String returns agent:ID or capability:NAME, and "" for the zero Address. Parse reads it.
func (a Address) String() string {
	switch a.kind {
	case KindAgent:
		return "agent:" + a.name
	case KindCapability:
		return "capability:" + a.name
	default:
		return ""
	}
}

// Validate returns an *Error unless a names an agent or a capability in the permitted characters.
func (a Address) Validate() error {
	switch a.kind {
	case KindAgent:
		return CheckName("agent id", a.name)
	case KindCapability:
		return CheckName("capability", a.name)
	default:
		return &Error{What: "address", Problem: "is empty", Fix: `use address.Agent("ID") or address.Capability("NAME")`}
	}
}

// Parse reads agent:ID or capability:NAME. What it returns is valid.
func Parse(s string) (Address, error) {
	kind, name, ok := strings.Cut(s, ":")
	var a Address
	switch {
	case ok && kind == "agent":
		a = Agent(name)
	case ok && kind == "capability":
		a = Capability(name)
	default:
		return Address{}, &Error{What: "address", Name: s, Problem: "has no kind", Fix: "write agent:ID or capability:NAME"}
	}
	if err := a.Validate(); err != nil {
		return Address{}, err
	}
	return a, nil
}

// CheckName returns an *Error unless name has 1 to MaxNameLength of the characters A-Z a-z 0-9 . _ : - and begins with a
// letter or digit. what names the thing in the error.
func CheckName(what, name string) error {
	if name == "" {
		return &Error{What: what, Problem: "is empty", Fix: "give it a name"}
	}
	if len(name) > MaxNameLength {
		return &Error{What: what, Name: name[:32] + "…", Problem: fmt.Sprintf("has %d bytes", len(name)), Fix: fmt.Sprintf("use at most %d", MaxNameLength)}
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == ':' || c == '-'):
		default:
			return &Error{
				What: what, Name: name,
				Problem: fmt.Sprintf("has %q at byte %d", c, i+1),
				Fix:     "use letters, digits and . _ : -, and begin with a letter or digit",
			}
		}
	}
	return nil
}

// Error tells what is wrong with an address or a name.
type Error struct {
	// What is the thing, such as "agent id".
	What string
	// Name is the offending name, shortened when it is very long.
	Name string
	// Problem and Fix say what is wrong and what to do.
	Problem, Fix string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("%s %s. Fix: %s", e.What, e.Problem, e.Fix)
	}
	return fmt.Sprintf("%s %q %s. Fix: %s", e.What, e.Name, e.Problem, e.Fix)
}

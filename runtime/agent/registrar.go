package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// registry is what an agent handles. It is filled before the agent starts and only read afterwards.
type registry struct {
	mu       sync.Mutex
	frozen   bool
	services map[string]exchange.Service
	handlers map[string]*handler
	replies  map[string]exchange.ReplyHandler
	// known has every descriptor that was used to handle or to send, for decoding what is read from the buffer.
	known    map[string]*exchange.Descriptor
	mistakes []error
}

// handler is the handler of one exchange.
type handler struct {
	d  *exchange.Descriptor
	fn exchange.HandleFunc
	// policy is the exchange's, for one message with what its sender overrides.
	policy exchange.Policy
}

func newRegistry() *registry {
	return &registry{
		services: map[string]exchange.Service{},
		handlers: map[string]*handler{},
		replies:  map[string]exchange.ReplyHandler{},
		known:    map[string]*exchange.Descriptor{},
	}
}

// Service announces a service that the agent handles.
func (a *Agent) Service(s exchange.Service) {
	if a == nil {
		return
	}
	r := a.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Capability == "" {
		s.Capability = s.Name
	}
	switch _, twice := r.services[s.Name]; {
	case r.late(s.Name):
	case twice:
		r.mistake(s.Name, "the service is registered twice", "register each service once for an agent")
	default:
		for _, name := range []string{s.Capability, s.Name} {
			if err := address.CheckName("capability", name); err != nil {
				r.mistakes = append(r.mistakes, fmt.Errorf("register %s: %w", s.Name, err))
				return
			}
		}
		r.services[s.Name] = s
	}
}

// Handle registers the handler of one exchange.
func (a *Agent) Handle(d *exchange.Descriptor, fn exchange.Handler) {
	if a == nil {
		return
	}
	r := a.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.admit(d, "handler", fn == nil, func(name string) bool { return r.handlers[name] != nil }) {
		return
	}
	h := exchange.HandleFunc(func(ctx context.Context, in *exchange.Incoming) (proto.Message, error) { return fn(ctx, in.Message) })
	for _, i := range slices.Backward(a.cfg.Interceptors) {
		if i != nil {
			h = i.WrapHandle(h)
		}
	}
	r.handlers[d.Name()] = &handler{d: d, fn: h, policy: d.Policy()}
	r.known[d.Name()] = d
}

// HandleReply registers what gets the results of an exchange that no call waits for.
func (a *Agent) HandleReply(d *exchange.Descriptor, fn exchange.ReplyHandler) {
	if a == nil {
		return
	}
	r := a.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.admit(d, "reply handler", fn == nil, func(name string) bool { return r.replies[name] != nil }) {
		return
	}
	r.replies[d.Name()] = fn
	r.known[d.Name()] = d
}

// admit tells whether a handler of the kind what may be registered for d, and records the mistake when not.
func (r *registry) admit(d *exchange.Descriptor, what string, missing bool, taken func(name string) bool) bool {
	if err := d.Validate(); err != nil {
		r.mistakes = append(r.mistakes, err)
		return false
	}
	switch {
	case r.late(d.Name()):
	case missing:
		r.mistake(d.Name(), "the "+what+" is nil", "pass a function")
	case taken(d.Name()):
		r.mistake(d.Name(), "the exchange has a "+what+" already", "register each "+what+" once for an agent")
	default:
		return true
	}
	return false
}

// Mistake records a wrong registration, for Start to return.
func (a *Agent) Mistake(err error) {
	if a == nil || err == nil {
		return
	}
	a.reg.mu.Lock()
	defer a.reg.mu.Unlock()
	a.reg.mistakes = append(a.reg.mistakes, err)
}

func (r *registry) late(name string) bool {
	if r.frozen {
		r.mistake(name, "the agent has started", "register before Start")
	}
	return r.frozen
}

func (r *registry) mistake(name, problem, fix string) {
	r.mistakes = append(r.mistakes, &exchange.RegistrationError{Exchange: name, Problem: problem, Fix: fix})
}

// freeze ends registration and returns every mistake made so far.
func (r *registry) freeze() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
	return errors.Join(r.mistakes...)
}

// capabilities returns the capabilities and the names of the handled services, sorted.
func (r *registry) capabilities() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, s := range r.services {
		names = append(names, s.Capability, s.Name)
	}
	sort.Strings(names)
	return slices.Compact(names)
}

// learn keeps the descriptor of an exchange that is sent.
func (r *registry) learn(d *exchange.Descriptor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[d.Name()]; !ok {
		r.known[d.Name()] = d
	}
}

func (r *registry) descriptor(name string) *exchange.Descriptor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[name]
}

func (r *registry) replyHandler(name string) exchange.ReplyHandler {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replies[name]
}

func (r *registry) handler(name string) *handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.handlers[name]
}

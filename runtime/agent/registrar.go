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
	// refused are the services that were registered a second time, or too late.
	refused  map[string]bool
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
		refused:  map[string]bool{},
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
	a.Mistake(a.reg.announce(s))
}

// Handle registers the handler of one exchange.
func (a *Agent) Handle(d *exchange.Descriptor, fn exchange.Handler) {
	if a == nil {
		return
	}
	a.Mistake(a.reg.handle(d, fn, a.cfg.Interceptors))
}

// HandleReply registers what gets the results of an exchange that no call waits for.
func (a *Agent) HandleReply(d *exchange.Descriptor, fn exchange.ReplyHandler) {
	if a == nil {
		return
	}
	a.Mistake(a.reg.handleReply(d, fn))
}

// Mistake records a wrong registration, for Start to return. After Start it is an error in the log.
func (a *Agent) Mistake(err error) {
	if a == nil || err == nil {
		return
	}
	if !a.reg.record(err) {
		a.log.Error("a registration after Start changes nothing. Fix: register before Start", "error", err)
	}
}

func (r *registry) announce(s exchange.Service) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Capability == "" {
		s.Capability = s.Name
	}
	_, twice := r.services[s.Name]
	switch {
	case r.frozen:
		r.refused[s.Name] = true
		return late(s.Name)
	case twice:
		r.refused[s.Name] = true
		return mistake(s.Name, "the service is registered twice", "register each service once for an agent")
	}
	for _, name := range []string{s.Capability, s.Name} {
		if err := address.CheckName("capability", name); err != nil {
			return fmt.Errorf("register %s: %w", s.Name, err)
		}
	}
	r.services[s.Name] = s
	return nil
}

func (r *registry) handle(d *exchange.Descriptor, fn exchange.Handler, interceptors []exchange.Interceptor) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ok, err := r.admit(d, "handler", fn == nil, func(name string) bool { return r.handlers[name] != nil }); !ok {
		return err
	}
	h := exchange.HandleFunc(func(ctx context.Context, in *exchange.Incoming) (proto.Message, error) { return fn(ctx, in.Message) })
	for _, i := range slices.Backward(interceptors) {
		if i != nil {
			h = i.WrapHandle(h)
		}
	}
	r.handlers[d.Name()] = &handler{d: d, fn: h, policy: d.Policy()}
	r.known[d.Name()] = d
	return nil
}

func (r *registry) handleReply(d *exchange.Descriptor, fn exchange.ReplyHandler) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ok, err := r.admit(d, "reply handler", fn == nil, func(name string) bool { return r.replies[name] != nil }); !ok {
		return err
	}
	r.replies[d.Name()] = fn
	r.known[d.Name()] = d
	return nil
}

// admit tells whether a handler of the kind what may be registered for d, and the mistake when not. There is none for the
// handlers of a service that was refused: the service's says it all.
func (r *registry) admit(d *exchange.Descriptor, what string, missing bool, taken func(name string) bool) (bool, error) {
	if err := d.Validate(); err != nil {
		return false, err
	}
	name, twice := d.Name(), taken(d.Name())
	switch {
	case (r.frozen || twice) && what == "handler" && r.refused[d.Service()]:
		return false, nil
	case r.frozen:
		return false, late(name)
	case missing:
		return false, mistake(name, "the "+what+" is nil", "pass a function")
	case twice:
		return false, mistake(name, "the exchange has a "+what+" already", "register each "+what+" once for an agent")
	}
	return true, nil
}

func late(name string) error { return mistake(name, "the agent has started", "register before Start") }

func mistake(name, problem, fix string) error {
	return &exchange.RegistrationError{Exchange: name, Problem: problem, Fix: fix}
}

// record keeps a mistake for Start, and tells whether that is still to come.
func (r *registry) record(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.frozen {
		r.mistakes = append(r.mistakes, err)
	}
	return !r.frozen
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

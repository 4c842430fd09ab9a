package router

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// mediaSchedulerCommand is the protocol's command to an agent, which names the agent in its payload.
const mediaSchedulerCommand = "application/vnd.sw4rm.scheduler.command+json"

// letter is an envelope whose recipient is wanted.
type letter struct {
	envelope    *commonpb.Envelope
	contentType envelope.ContentType
	class       transportpb.Class
	// named are the recipients that the sender gave beside the envelope; empty ones do not count.
	named []string
	// acked is what the router knows of the message that a signal acknowledges, and known whether it knows it.
	acked queue.Origin
	known bool
}

// recipient finds out where a message goes. The error is an *ack.Error.
func (r *Router) recipient(l letter) (address.Address, error) {
	to, err := explicit(append(l.named, l.contentType.To)...)
	if err != nil {
		return address.Address{}, err
	}
	if to.IsZero() {
		to, err = r.implied(l)
		if err != nil {
			return address.Address{}, err
		}
	}
	if to == address.Agent(address.RouterID) {
		return address.Address{}, noRoute("the router takes no messages of its own")
	}
	return to, nil
}

// explicit returns the recipient that all names agree on, the zero Address when there is none.
func explicit(names ...string) (address.Address, error) {
	var to address.Address
	for _, name := range names {
		if name == "" {
			continue
		}
		a, err := address.Parse(name)
		if err != nil {
			return address.Address{}, ack.Rejectf(ack.ValidationError, "%v", err)
		}
		if !to.IsZero() && to != a {
			return address.Address{}, ack.Rejectf(ack.ValidationError, "the recipients %s and %s disagree", to, a)
		}
		to = a
	}
	return to, nil
}

// implied returns the recipient of an envelope that names none.
func (r *Router) implied(l letter) (address.Address, error) {
	switch l.class {
	case transportpb.Class_CLASS_SIGNAL:
		if !l.known {
			return address.Address{}, noRoute("it acknowledges no message that the router knows, and names no recipient")
		}
		return address.Agent(l.acked.Producer), nil
	case transportpb.Class_CLASS_ANSWER:
		return address.Address{}, noRoute("a reply must name its recipient")
	}
	if l.contentType.Media == mediaSchedulerCommand {
		return commanded(l.envelope.GetPayload())
	}
	if l.contentType.Method != "" {
		service, _, ok := strings.Cut(l.contentType.Method, "/")
		to := address.Capability(service)
		if err := to.Validate(); err != nil || !ok {
			return address.Address{}, ack.Rejectf(ack.ValidationError, "method %q is not SERVICE/METHOD", l.contentType.Method)
		}
		return to, nil
	}
	agent, capabilities, ok := r.members.single(l.envelope.GetProducerId())
	switch {
	case !ok:
		return address.Address{}, noRoute("it names no recipient, and there is not exactly one agent that could take it")
	case len(capabilities) == 1:
		if to := address.Capability(capabilities[0]); to.Validate() == nil {
			return to, nil
		}
	}
	return address.Agent(agent), nil
}

// commanded reads the recipient out of a scheduler's command.
func commanded(payload []byte) (address.Address, error) {
	var command struct {
		To string `json:"to"`
	}
	if err := json.Unmarshal(payload, &command); err != nil {
		return address.Address{}, ack.Rejectf(ack.ValidationError, "the scheduler command is not JSON: %v", err)
	}
	if command.To == "" {
		return address.Address{}, noRoute("the scheduler command names no recipient")
	}
	to := address.Agent(command.To)
	if err := to.Validate(); err != nil {
		return address.Address{}, ack.Rejectf(ack.ValidationError, "%v", err)
	}
	return to, nil
}

func noRoute(text string) error { return ack.Rejectf(ack.NoRoute, "%s", text) }

// acknowledged looks up what a signal acknowledges. Refusals are an *ack.Error.
func (r *Router) acknowledged(ctx context.Context, e *commonpb.Envelope) (ack.Ack, queue.Origin, bool, error) {
	a, err := ack.Parse(e.GetContentType(), e.GetPayload())
	if err != nil {
		return ack.Ack{}, queue.Origin{}, false, ack.Rejectf(ack.ValidationError, "%v", err)
	}
	if err := envelope.CheckID("ack_for_message_id", a.ForMessageID); err != nil {
		return ack.Ack{}, queue.Origin{}, false, ack.Rejectf(ack.ValidationError, "%v", err)
	}
	origin, known, err := r.engine.Lookup(ctx, a.ForMessageID)
	if err != nil {
		return ack.Ack{}, queue.Origin{}, false, fmt.Errorf("look up %s: %w", a.ForMessageID, err)
	}
	return a, origin, known, nil
}

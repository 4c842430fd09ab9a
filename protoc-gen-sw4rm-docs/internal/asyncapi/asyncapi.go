package asyncapi

import (
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/markdown"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/payload"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

const (
	schemas = "#/components/schemas/"

	// agents is the channel to one agent by its id, replies the one back to who asked.
	// With a hyphen, neither can be the name of a service.
	agents  = "one-agent"
	replies = "back-to-sender"
)

const about = "Agents reach each other through a router, by the address of a channel. A message is an envelope: its " +
	"headers are the envelope's fields, its payload is protobuf or protobuf's JSON mapping, as the content type says. " +
	"Schemas describe the JSON. Every request gets an outcome as an acknowledgement besides the replies shown here."

// Document returns the document as JSON. AsyncAPI takes descriptions for Markdown, so comments are written as such.
func Document(t *tree.Tree) ([]byte, error) {
	w := &writer{
		tree: t,
		doc: document{
			AsyncAPI:           "3.0.0",
			Info:               info{Title: "Agents and their messages", Version: t.Version, Description: about},
			DefaultContentType: envelope.MediaProtobuf,
			Channels:           make(map[string]channel),
			Operations:         make(map[string]operation),
			Components:         components{Messages: make(map[string]message)},
		},
	}
	w.channels()
	for _, a := range t.Agents {
		for _, e := range a.Exchanges {
			w.exchange(e, a.Name)
		}
	}
	for _, e := range t.Standalone {
		w.exchange(e, agents)
	}
	w.components()
	return json.MarshalIndent(w.doc, "", "  ")
}

type writer struct {
	tree *tree.Tree
	doc  document
}

// channels adds one channel for each capability, one for agents by their id, and one for replies.
func (w *writer) channels() {
	address := "agent:{id}"
	w.doc.Channels[agents] = channel{
		Address:     &address,
		Title:       "One agent",
		Description: "An agent by its id takes the messages of the services that it handles.",
		Parameters:  map[string]parameter{"id": {Description: "The agent's id."}},
		Messages:    make(map[string]reference),
	}
	w.doc.Channels[replies] = channel{
		Title:       "Back to who asked",
		Description: "Replies go to the agent that sent the request.",
		Messages:    make(map[string]reference),
	}
	for _, a := range w.tree.Agents {
		address := a.Address()
		w.doc.Channels[a.Name] = channel{
			Address:     &address,
			Title:       string(a.Desc.Name()),
			Description: tree.Note(markdown.Prose(a.Comment), a.Deprecated),
			Messages:    make(map[string]reference),
		}
	}
}

// exchange adds the exchange's messages, and its operations on the named channel.
func (w *writer) exchange(e *tree.Exchange, on string) {
	op := operation{
		Channel:     reference{"#/channels/" + on},
		Description: tree.Note(markdown.Prose(e.Comment), e.Deprecated),
		Tags:        []tag{{Name: e.Type.String()}},
		Messages:    w.part(e, tree.Request, on),
	}
	if on != agents {
		w.part(e, tree.Request, agents)
	}
	if part, ok := e.Answer(); ok {
		op.Reply = &reply{
			Address:  replyAddress{Location: "$message.header#/producer_id", Description: "agent: and the id of the agent that asked."},
			Channel:  reference{"#/channels/" + replies},
			Messages: append(w.part(e, part, replies), w.failure(e)...),
		}
	}
	for _, side := range []struct{ action, title string }{{"receive", "Handle "}, {"send", "Send "}} {
		op.Action, op.Title = side.action, side.title+e.Name
		w.doc.Operations[e.Full()+"."+side.action] = op
	}
}

// part adds the messages in which a part of the exchange travels to a channel, and returns references to them there.
func (w *writer) part(e *tree.Exchange, p tree.Part, on string) []reference {
	carried, name, messageType := e.Request, "request", e.Type.String()
	if p != tree.Request {
		carried, name, messageType = e.Reply, string(p), e.ReplyType().String()
	}
	return w.messages(e, name, on, e.ContentTypes(p), message{
		Description: tree.Note(markdown.Prose(tree.Comment(carried)), tree.Deprecated(carried)),
		Headers:     headers(messageType),
		Payload:     reference{schemas + string(carried.FullName())},
	})
}

// failure adds the messages in which a tool's failure travels, and returns references to them.
func (w *writer) failure(e *tree.Exchange) []reference {
	if !e.Tool() {
		return nil
	}
	return w.messages(e, "error", replies, e.FailureTypes(), message{
		Description: "What the tool has failed of, beside the acknowledgement. More parameters of the content type may follow.",
		Headers:     headers(commonpb.MessageType_TOOL_ERROR.String()),
		Payload:     reference{schemas + failureSchema},
	})
}

// messages adds a message of the exchange for each content type, and returns references to them on a channel.
func (w *writer) messages(e *tree.Exchange, name, on string, contentTypes []string, m message) []reference {
	m.Title = fmt.Sprintf("%s of %s", name, e.Name)
	m.CorrelationID = correlationID{Location: "$message.header#/correlation_id"}
	var refs []reference
	for i, ct := range contentTypes {
		m.Name, m.ContentType = e.Full()+"."+name, ct
		if i > 0 {
			m.Name += ".json"
		}
		w.doc.Components.Messages[m.Name] = m
		w.doc.Channels[on].Messages[m.Name] = reference{"#/components/messages/" + m.Name}
		refs = append(refs, reference{fmt.Sprintf("#/channels/%s/messages/%s", on, m.Name)})
	}
	return refs
}

// Schemas of the protocol's own. No message can have these names.
const (
	envelopeSchema = "sw4rm-envelope"
	failureSchema  = "sw4rm-tool-error"
)

// components adds the schemas that messages refer to.
func (w *writer) components() {
	all := payload.Components(schemas, markdown.Prose, w.tree.Payloads)
	all[envelopeSchema] = texts("Fields of the envelope", []property{
		{"message_id", "UUIDv4, new for every transmission attempt."},
		{"idempotency_token", "Names the operation; the same for all of its attempts."},
		{"producer_id", "The id of the agent that sends."},
		{"correlation_id", "UUIDv4 of the conversation; replies echo it."},
		{"message_type", "What the envelope is for."},
		{"content_type", "The media type of the payload."},
	})
	all[failureSchema] = texts(tree.ToolError, []property{
		{"call_id", "The message_id of the request."},
		{"error_code", "The protocol's name of the error."},
		{"message", "What has failed, for people."},
	})
	w.doc.Components.Schemas = all
}

type property struct{ name, text string }

// texts describes an object whose properties are all texts.
func texts(title string, properties []property) *jsonschema.Schema {
	s := &jsonschema.Schema{Title: title, Type: "object", Properties: make(map[string]*jsonschema.Schema)}
	for _, p := range properties {
		s.Properties[p.name] = &jsonschema.Schema{Type: "string", Description: p.text}
		s.PropertyOrder = append(s.PropertyOrder, p.name)
	}
	return s
}

// headers returns the fields of the envelope in which a message travels.
func headers(messageType string) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type:  "object",
		AllOf: []*jsonschema.Schema{{Ref: schemas + envelopeSchema}},
		Properties: map[string]*jsonschema.Schema{
			"message_type": {Enum: []any{messageType}},
		},
	}
}

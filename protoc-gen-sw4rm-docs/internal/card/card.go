// Package card writes a service as an agent card of the Agent2Agent protocol.
package card

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/tree"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

// Binding is the protocol by which the agent of a card is reached. Agent2Agent leaves bindings other than its own to those
// who define them; a gateway that speaks one of its own writes its interface in place of ours.
const Binding a2a.TransportProtocol = "SW4RM"

// Document returns the card of an agent that handles the service.
func Document(a *tree.Agent, version string) ([]byte, error) {
	card := a2a.AgentCard{
		Name:        tree.Words(a.Desc.Name()),
		Description: tree.Note(cmp.Or(a.Comment, a.Name), a.Deprecated),
		Version:     version,
		SupportedInterfaces: []*a2a.AgentInterface{
			{URL: a.Address(), ProtocolBinding: Binding, ProtocolVersion: a2a.Version},
		},
		DefaultInputModes:  []string{envelope.MediaJSON, envelope.MediaProtobuf},
		DefaultOutputModes: []string{envelope.MediaJSON, envelope.MediaProtobuf},
		Skills:             []a2a.AgentSkill{},
	}
	for _, e := range a.Exchanges {
		card.Capabilities.Streaming = card.Capabilities.Streaming || e.Kind == schema.Stream
		card.Skills = append(card.Skills, skill(e))
	}
	return json.MarshalIndent(card, "", "  ")
}

func skill(e *tree.Exchange) a2a.AgentSkill {
	s := a2a.AgentSkill{
		ID:          e.Name,
		Name:        tree.Words(e.Desc.Name()),
		Description: tree.Note(cmp.Or(e.Comment, e.Name), e.Deprecated),
		Tags:        []string{strings.ToLower(e.Type.String()), e.Kind.String()},
		InputModes:  modes(e, tree.Request),
	}
	if part, ok := e.Answer(); ok {
		s.OutputModes = modes(e, part)
	}
	return s
}

// modes returns the media types of a part of an exchange, nil when they are the card's.
func modes(e *tree.Exchange, p tree.Part) []string {
	types := e.ContentTypes(p)
	if len(types) > 1 {
		return nil
	}
	return slices.Clone(types)
}

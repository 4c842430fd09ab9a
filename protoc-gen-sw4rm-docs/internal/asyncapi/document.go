// Package asyncapi writes the exchanges of agents as an AsyncAPI 3.0 document: the addresses are its channels, and each
// exchange is an operation of the agent that handles it and one of the agent that sends it.
package asyncapi

import "github.com/google/jsonschema-go/jsonschema"

// The objects of the AsyncAPI specification 3.0.0, as far as they are used here.
type document struct {
	AsyncAPI           string               `json:"asyncapi"`
	Info               info                 `json:"info"`
	DefaultContentType string               `json:"defaultContentType"`
	Channels           map[string]channel   `json:"channels"`
	Operations         map[string]operation `json:"operations"`
	Components         components           `json:"components"`
}

type info struct {
	Title       string `json:"title"`
	Version     string `json:"version"`
	Description string `json:"description,omitempty"`
}

type channel struct {
	// Address is null for one that is known only at run time.
	Address     *string              `json:"address"`
	Title       string               `json:"title,omitempty"`
	Description string               `json:"description,omitempty"`
	Parameters  map[string]parameter `json:"parameters,omitempty"`
	Messages    map[string]reference `json:"messages"`
}

type parameter struct {
	Description string `json:"description"`
}

type operation struct {
	Action      string      `json:"action"`
	Channel     reference   `json:"channel"`
	Title       string      `json:"title"`
	Summary     string      `json:"summary,omitempty"`
	Description string      `json:"description,omitempty"`
	Tags        []tag       `json:"tags,omitempty"`
	Messages    []reference `json:"messages"`
	Reply       *reply      `json:"reply,omitempty"`
}

type tag struct {
	Name string `json:"name"`
}

type reply struct {
	Address  replyAddress `json:"address"`
	Channel  reference    `json:"channel"`
	Messages []reference  `json:"messages"`
}

type replyAddress struct {
	Location    string `json:"location"`
	Description string `json:"description"`
}

type components struct {
	Messages map[string]message            `json:"messages,omitempty"`
	Schemas  map[string]*jsonschema.Schema `json:"schemas,omitempty"`
}

type message struct {
	Name          string        `json:"name"`
	Title         string        `json:"title"`
	Description   string        `json:"description,omitempty"`
	ContentType   string        `json:"contentType"`
	Headers       any           `json:"headers"`
	Payload       reference     `json:"payload"`
	CorrelationID correlationID `json:"correlationId"`
}

type correlationID struct {
	Location string `json:"location"`
}

type reference struct {
	Ref string `json:"$ref"`
}

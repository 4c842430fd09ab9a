// Package storagecheck checks what a data directory holds after a fault against what its users were told before. It
// knows neither the format nor the code that writes it: a driver tells it what was called and returned, how the things in
// the directory looked then, and what was found afterwards. The package uses the standard library only, so that a checker
// never shares a mistake with what it checks.
package storagecheck

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Kind is what an event says about its call.
type Kind string

// The kinds of events.
const (
	// Call is the begin of a call: it may take effect from now on.
	Call Kind = "call"
	// Return is its end, with a known result.
	Return Kind = "return"
	// Unknown is its end without one: it may or may not have taken effect.
	Unknown Kind = "unknown"
)

// Event is one line of a history. Its place in the history is its time.
type Event struct {
	Actor string `json:"actor,omitempty"`
	Op    string `json:"op"`
	Kind  Kind   `json:"kind"`
	// Began is the place of the call that a Return or Unknown ends.
	Began int `json:"began,omitempty"`
	// Object is what the call is about; empty when it is about several.
	Object string `json:"object,omitempty"`
	// Durable tells of a Return that what it said, and everything that was written before its call, is on the disk.
	Durable bool `json:"durable,omitempty"`
	// Answer is what a Return said of Object, where the same was asked before; it is to be that of Object's state.
	Answer string `json:"answer,omitempty"`
	// Given are the numbers that a Return told.
	Given []Given `json:"given,omitempty"`
	// Saw are the objects that a Return has changed, as they are now.
	Saw []Version `json:"saw,omitempty"`
}

// Given is a number that is given once.
type Given struct {
	Space  string `json:"space"`
	Number uint64 `json:"number"`
	// To is who has it.
	To string `json:"to"`
}

// Version is an object as it is at one time.
type Version struct {
	Object string `json:"object"`
	State  State  `json:"state"`
	// Again tells that a further attempt has begun, so that an earlier one's failure may be gone.
	Again bool `json:"again,omitempty"`
}

// State is how an object looks. The zero State is that of one that is not there.
type State struct {
	// Number is the object's own, and stays.
	Number uint64 `json:"number,omitempty"`
	// Stage only moves forward: see rank.
	Stage    string    `json:"stage,omitempty"`
	Attempts []Attempt `json:"attempts,omitempty"`
	// Outcome is set once.
	Outcome string `json:"outcome,omitempty"`
	// Late is what came after the outcome. Nothing of it goes.
	Late  []string `json:"late,omitempty"`
	Body  string   `json:"body,omitempty"`
	Reply string   `json:"reply,omitempty"`
	// Runs only grows.
	Runs uint32   `json:"runs,omitempty"`
	Owed []string `json:"owed,omitempty"`
	// More is whatever else must be kept.
	More []string `json:"more,omitempty"`
	// Answer is what whoever asks for the object again is to be told.
	Answer string `json:"answer,omitempty"`
}

// Attempt is one transmission. Its stage only moves forward, and its id stays.
type Attempt struct {
	ID    string `json:"id"`
	Stage string `json:"stage,omitempty"`
}

func (s State) gone() bool { return s.print() == "{}" }

// print stands for the state, to be compared.
func (s State) print() string {
	b, err := json.Marshal(s)
	if err != nil { // cannot happen: strings and numbers only
		return err.Error()
	}
	return string(b)
}

// Dump is what a directory holds after a fault.
type Dump struct {
	Objects map[string]State `json:"objects"`
	// Probes are what asking for objects again has said.
	Probes []Probe `json:"probes,omitempty"`
	// Given are numbers that were given to newcomers.
	Given []Given `json:"given,omitempty"`
	// Totals are counts that are to agree.
	Totals []Total `json:"totals,omitempty"`
	// Problems are what the driver could not read, and contradictions inside the directory.
	Problems []string `json:"problems,omitempty"`
}

// Probe is an answer to who asks for an object again.
type Probe struct {
	Object string `json:"object"`
	Answer string `json:"answer"`
}

// Total is a count as it is stored or told, and as counting gives it.
type Total struct {
	Name string `json:"name"`
	Told int64  `json:"told"`
	Is   int64  `json:"is"`
}

// Write writes events as lines of JSON.
func Write(w io.Writer, events []Event) error {
	buffered := bufio.NewWriter(w)
	encoder := json.NewEncoder(buffered)
	for i, e := range events {
		if err := encoder.Encode(e); err != nil {
			return fmt.Errorf("write event %d: %w", i, err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

// Read reads what Write has written.
func Read(r io.Reader) ([]Event, error) {
	var events []Event
	decoder := json.NewDecoder(r)
	for {
		var e Event
		err := decoder.Decode(&e)
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read event %d: %w", len(events), err)
		}
		events = append(events, e)
	}
}

// Package history holds what several processes saw happen to messages, and checks it against what a messaging system
// promises. Each process appends to a file of its own; the files are merged afterwards. The package uses the standard
// library only, so that a checker never shares a mistake with what it checks.
package history

import "fmt"

// Kind is what an event says about its operation.
type Kind string

// The kinds of events.
const (
	// Call is the begin of something: it may take effect from now on.
	Call Kind = "call"
	// Return is its end, with a known result.
	Return Kind = "return"
	// Unknown is its end without a known result: it may or may not have taken effect, or may still.
	Unknown Kind = "unknown"
	// Info is an observation that begins and ends nothing.
	Info Kind = "info"
)

// Op is what an event is about.
type Op string

// The operations.
const (
	// Send is a sender's handing over of an operation: Call before, Return once it was accepted, Unknown when the sender
	// cannot find out.
	Send Op = "send"
	// Finish is the operation's outcome as its sender was told, once or several times. Kind is Return.
	Finish Op = "finish"
	// Stage is the stage of one attempt as its sender saw it. Kind is Info.
	Stage Op = "stage"
	// Handle is one run of a handler: Call when it begins, Return when it ends.
	Handle Op = "handle"
	// Record is an outcome as a receiver has recorded it. Kind is Info.
	Record Op = "record"
	// Up is the begin of the process that Actor names, noted before it can do anything. Kind is Info.
	Up Op = "up"
	// Kill is its sudden end, noted when it is certainly dead. Kind is Info.
	Kill Op = "kill"
	// Down is its end as it was asked to. Kind is Info.
	Down Op = "down"
	// Fault is any other fault, that Note names. Kind is Info.
	Fault Op = "fault"
	// Accept is the router's taking of one attempt, as it was told to the sender. Kind is Info.
	Accept Op = "accept"
	// Custody is an agent's being answerable for one attempt: Call when the router has agreed to it, Return when the
	// agent begins to tell the outcome, or has certainly lost its store.
	Custody Op = "custody"
	// Hold is a message that is found somewhere while somebody looks through all places, after the run has settled or while
	// nothing runs in the middle of it. It says nothing any more once a process has begun. Kind is Info.
	Hold Op = "hold"
	// Examined says that all places were looked through, and what was not found is nowhere. Kind is Info.
	Examined Op = "examined"
	// Memory is how much a process uses. Kind is Info.
	Memory Op = "memory"
)

// Place is where a message is found.
type Place string

// The places. What is in the outbox is still its sender's. So is what was taken, only that the router has told its sender
// that it has it, too. What was answered has ended where it is found: at a receiver,
// or at a router from which its sender has taken it back.
const (
	InOutbox  Place = "outbox"
	Taken     Place = "taken"
	InQueue   Place = "queue"
	InCustody Place = "custody"
	Dead      Place = "dead"
	Answered  Place = "answered"
)

// Cause is why a message that has not ended does not move.
type Cause string

// The causes that are a system's right. Each is checked against the rest of the history.
const (
	// Absent says that the agent that To names, which has it or to which it was sent, does not run.
	Absent Cause = "absent"
	// Running says that a handler works on it.
	Running Cause = "running"
	// Behind says that one before it in its lane has not ended.
	Behind Cause = "behind"
)

// ReaderSilent is the note of a handler that its closing agent has interrupted because the reader of its frames, for which it
// waited, was silent. It is run again.
const ReaderSilent = "the reader was silent"

// Event is one line of a history.
type Event struct {
	// T is when it happened: nanoseconds on a clock that all processes share and that only moves forward.
	T int64 `json:"t"`
	// Actor is one process: a restarted one is another actor.
	Actor string `json:"actor"`
	Op    Op     `json:"op"`
	Kind  Kind   `json:"kind"`
	// Key is the name that the sender's program gave the operation.
	Key string `json:"key,omitempty"`
	// Token names the operation in the system.
	Token string `json:"token,omitempty"`
	// Message is the id of one attempt, and Attempt its number from 1.
	Message string `json:"message,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	// Run counts the runs of a handler for one message.
	Run int `json:"run,omitempty"`
	// Writes names what a handler writes and others write too: a run that met another one there is void, and is repeated.
	Writes string `json:"writes,omitempty"`
	// Stage and Code are the protocol's names.
	Stage string `json:"stage,omitempty"`
	Code  string `json:"code,omitempty"`
	// To is the address that a message was sent to; Store the instance of an agent that has it in custody.
	To    string `json:"to,omitempty"`
	Store string `json:"store,omitempty"`
	// Lane names those operations whose order counts, and N is the place in it, from 1, in the order of sending.
	Lane string `json:"lane,omitempty"`
	N    int    `json:"n,omitempty"`
	// TTL is for how many nanoseconds the operation may begin to be handled.
	TTL int64 `json:"ttl,omitempty"`
	// Place and Cause tell of a Hold where the message is, and why.
	Place Place `json:"place,omitempty"`
	Cause Cause `json:"cause,omitempty"`
	// Bytes is the resident memory of a process.
	Bytes int64 `json:"bytes,omitempty"`
	// Ref is the sender's own reference to the operation.
	Ref string `json:"ref,omitempty"`
	// Note is for people; that of a Finish is what the outcome says.
	Note string `json:"note,omitempty"`
}

// String tells the event in one line, for reports.
func (e Event) String() string {
	text := fmt.Sprintf("%.3fs %s %s/%s", float64(e.T)/1e9, e.Actor, e.Op, e.Kind)
	if e.Run > 0 {
		text += fmt.Sprintf(" attempt=%d run=%d", e.Attempt, e.Run)
	}
	for _, f := range []struct{ name, value string }{
		{"key", e.Key}, {"token", e.Token}, {"message", e.Message}, {"to", e.To}, {"store", e.Store}, {"place", string(e.Place)}, {"cause", string(e.Cause)}, {"stage", e.Stage}, {"code", e.Code}, {"note", e.Note},
	} {
		if f.value != "" {
			text += " " + f.name + "=" + f.value
		}
	}
	return text
}

// The protocol's stages, in order of progress; all of the last four are final.
const (
	none      = "NONE"
	received  = "RECEIVED"
	read      = "READ"
	fulfilled = "FULFILLED"
)

// rank is how far a stage has come, false for what is no stage.
func rank(stage string) (int, bool) {
	switch stage {
	case "", none:
		return 0, true
	case received:
		return 1, true
	case read:
		return 2, true
	case fulfilled, "REJECTED", "FAILED", "TIMED_OUT":
		return finalRank, true
	default:
		return 0, false
	}
}

// finalRank is the rank of every final stage.
const finalRank = 3

// Package ack has the protocol's acknowledgement stages and error codes, the errors that carry them, and the payload of
// ACKNOWLEDGEMENT envelopes.
package ack

import (
	"fmt"
	"strings"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
)

// Stage is how far a message has come at its receiver. The zero Stage is "none yet".
type Stage int32

// The stages of the protocol, with its numbers.
const (
	None      Stage = 0
	Received  Stage = 1
	Read      Stage = 2
	Fulfilled Stage = 3
	Rejected  Stage = 4
	Failed    Stage = 5
	TimedOut  Stage = 6
)

// Terminal tells whether nothing follows the stage.
func (s Stage) Terminal() bool { return s >= Fulfilled && s <= TimedOut }

// String returns the protocol's name, NONE for the zero Stage.
func (s Stage) String() string {
	if s == None {
		return "NONE"
	}
	if name, ok := commonpb.AckStage_name[int32(s)]; ok {
		return name
	}
	return fmt.Sprintf("STAGE_%d", int32(s))
}

// Advance returns the stage after to arrives at from, and whether that is a step forward. Stages only move
// NONE → RECEIVED → READ → one terminal stage; steps may be left out, a terminal stage is never left.
func Advance(from, to Stage) (Stage, bool) {
	if from.Terminal() || to <= from || to > TimedOut {
		return from, false
	}
	return to, true
}

// Code says why a message was refused or failed. The enumeration is open.
type Code int32

// The error codes of the protocol, with its numbers.
const (
	NoCode                 Code = 0
	BufferFull             Code = 1
	NoRoute                Code = 2
	AckTimeout             Code = 3
	AgentUnavailable       Code = 4
	AgentShutdown          Code = 5
	ValidationError        Code = 6
	PermissionDenied       Code = 7
	UnsupportedMessageType Code = 8
	OversizePayload        Code = 9
	ToolTimeout            Code = 10
	PartialDelivery        Code = 11
	ForcedPreemption       Code = 12
	TTLExpired             Code = 13
	DuplicateDetected      Code = 14
	AlreadyInProgress      Code = 15
	Overloaded             Code = 16
	Redirect               Code = 20
	InternalError          Code = 99
)

// String returns the protocol's name, CODE_n for a number that has none.
func (c Code) String() string {
	if c == NoCode {
		return "NO_ERROR"
	}
	if name, ok := commonpb.ErrorCode_name[int32(c)]; ok {
		return name
	}
	return fmt.Sprintf("CODE_%d", int32(c))
}

// CodeByName returns the code with the protocol's name, in any case.
func CodeByName(name string) (Code, bool) {
	n, ok := commonpb.ErrorCode_value[strings.ToUpper(name)]
	return Code(n), ok && n != 0
}

// Temporary tells whether a message that was refused with this code may be taken later, as it is.
func (c Code) Temporary() bool {
	switch c {
	case BufferFull, NoRoute, Overloaded, AgentUnavailable, AgentShutdown:
		return true
	default:
		return false
	}
}

// RetryableByDefault tells whether a failure with this code is worth another attempt unless an exchange says otherwise.
func (c Code) RetryableByDefault() bool {
	switch c {
	case BufferFull, AgentUnavailable, AgentShutdown, Overloaded, ForcedPreemption, InternalError:
		return true
	default:
		return false
	}
}

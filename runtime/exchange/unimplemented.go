package exchange

import "github.com/sw4rm/sw4rm-go/runtime/ack"

// Unimplemented refuses a message of the named exchange, for which there is no handler, with UNSUPPORTED_MESSAGE_TYPE.
// Generated code calls it.
func Unimplemented(name string) error {
	return ack.Rejectf(ack.UnsupportedMessageType, "%s is not implemented by this agent. Fix: implement it there, or address another agent", name)
}

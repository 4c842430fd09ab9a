// Package activity is an agent's persistent activity buffer (SW4RM spec 10): a record of every operation that the agent
// sends and every message that it receives, with the frames of streams on either side, and the state machines that bring
// each to one outcome. It knows nothing of transports and starts no goroutines.
//
// A method that takes a context waits until what it wrote is durable, and until what it answers from is. Methods without
// one write what may be repeated after a crash, or read; call Settle before acting on what a reading method returned.
// When a method returns an error together with a record, the change was made and only waiting for the disk was cut short
// by the context: the change becomes durable later, or the store fails.
//
// Records that are returned are snapshots: nobody changes them afterwards, and callers must not either.
package activity

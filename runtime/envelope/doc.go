// Package envelope makes and reads the parts of SW4RM envelopes: ids, idempotency tokens, clock values, content types and
// payloads. It checks whole envelopes before they are stored or sent.
//
// Only Clock has state; its methods and every function of the package may be called from any goroutine.
package envelope

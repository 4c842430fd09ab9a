// Package exchange is what generated code is made of: typed descriptors of exchanges between agents, the handles of what
// was sent, and the small interfaces behind which a runtime such as package agent does the work. It links protobuf and
// the standard library only.
//
// A descriptor such as Call is immutable and may be used from any goroutine.
package exchange

// IsAtLeastV0_1 exists from version 0.1 of the runtime on. Generated code refers to it, so that code that needs a newer
// runtime than the linked one does not build.
const IsAtLeastV0_1 = true

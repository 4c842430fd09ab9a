//go:build !linux

package history

import "time"

// Now is the time of an event. The wall clock is the only one that processes share by the standard library here.
func Now() int64 { return time.Now().UnixNano() }

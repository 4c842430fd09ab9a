package history

import (
	"syscall"
	"time"
	"unsafe"
)

// clockMonotonic is CLOCK_MONOTONIC, which counts from the machine's start and so is the same in all its processes.
const clockMonotonic = 1

// Now is the time of an event.
func Now() int64 {
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return time.Now().UnixNano()
	}
	return t.Nano()
}

//go:build unix

package process

import (
	"os/exec"
	"syscall"
	"time"
)

// What is done to processes.
const (
	killed = syscall.SIGKILL
	asked  = syscall.SIGTERM
	frozen = syscall.SIGSTOP
	thawed = syscall.SIGCONT
)

// Signals tells whether processes can be frozen on this system.
const Signals = true

// lead lets the process lead a group of its own.
func lead(cmd *exec.Cmd) bool {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return true
}

// signal does nothing to a process that has ended.
func (p *Process) signal(s syscall.Signal) {
	if !p.group {
		_ = p.cmd.Process.Signal(s) // an error says that it has ended
		return
	}
	select {
	case <-p.done: // the number of the group may be another's by now
	default:
		_ = syscall.Kill(-p.PID(), s)
	}
}

// endGroup kills what the process has left behind, and waits until that is gone, but not for ever: where nobody collects
// orphans, they stay in the group.
func (p *Process) endGroup() {
	const steps = 100
	for range steps {
		if syscall.Kill(-p.PID(), killed) != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

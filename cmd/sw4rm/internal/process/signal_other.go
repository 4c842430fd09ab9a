//go:build !unix

package process

import (
	"os"
	"os/exec"
)

// What is done to processes.
const (
	killed = iota
	asked
	frozen
	thawed
)

// Signals tells whether processes can be frozen on this system.
const Signals = false

func lead(*exec.Cmd) bool { return false }

func (p *Process) signal(s int) {
	switch s {
	case killed:
		_ = p.cmd.Process.Kill() // an error says that it has ended
	case asked:
		_ = p.cmd.Process.Signal(os.Interrupt)
	}
}

func (p *Process) endGroup() {}

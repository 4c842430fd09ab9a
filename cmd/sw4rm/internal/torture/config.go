// Package torture runs a user's agent against a router of its own, does to both what machines and networks do, and tells
// which of the promises held.
package torture

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/catalog"
)

// Defaults of Config.
const (
	DefaultOperations    = 200
	DefaultFaults        = 12
	DefaultLease         = time.Second
	DefaultStartTimeout  = time.Minute
	DefaultAnswerTimeout = 15 * time.Second
)

// Config says what is done to which agent.
type Config struct {
	// Command is the agent's program with its arguments.
	Command []string
	// Services is the program of sw4rm, whose command up is started.
	Services string
	Schema   catalog.Source
	// Payloads is a folder with the user's own payloads, as catalog.ReadSamples reads it; empty for generated ones only.
	Payloads string
	// Only are services, exchanges or methods that are tried; all that the agent handles without any.
	Only []string
	// Seed chooses payloads and faults.
	Seed uint64
	// Operations and Faults are how many.
	Operations, Faults int
	// Duration ends sending and faults early; 0 does not.
	Duration time.Duration
	// Lease is that of the router. Faults that last do so for two of it.
	Lease time.Duration
	// Listen is the address at which the agent finds its router; empty for a free one.
	Listen string
	// Data is the directory for logs and data; empty for one that is removed when everything held.
	Data string
	// Effects is a file with a line for each side effect, EffectsCommand a command that prints them.
	Effects, EffectsCommand string
	// AnyReply allows an operation that is handled twice to get two different replies.
	AnyReply bool
	// StartTimeout is how long the agent may take to connect.
	StartTimeout time.Duration
	// AnswerTimeout is how long messages may take while nothing is done to anybody. Exchanges that take longer are left out.
	AnswerTimeout time.Duration
	// Environ is the agent's environment, to which the addresses and the data directory are added.
	Environ []string
	// Log gets a line for whatever is done.
	Log io.Writer
}

// UsageError is a mistake in what the user asked for.
type UsageError struct{ Problem, Fix string }

// Error implements error.
func (e *UsageError) Error() string { return e.Problem + ". Fix: " + e.Fix }

// AgentError says what the agent did that ended the run.
type AgentError struct {
	Problem, Fix string
	// Log is the end of what the agent printed.
	Log string
}

// Error implements error.
func (e *AgentError) Error() string {
	said := "it printed nothing"
	if e.Log != "" {
		said = "the last that it printed: " + e.Log
	}
	return fmt.Sprintf("%s; %s. Fix: %s", e.Problem, said, e.Fix)
}

// VacuousError says that too little has happened for the promises to be judged.
type VacuousError struct{ Problem, Fix string }

// Error implements error.
func (e *VacuousError) Error() string { return e.Problem + ". Fix: " + e.Fix }

// check finds mistakes before anything is started, and fills in defaults.
func (c *Config) check() error {
	if len(c.Command) == 0 {
		return &UsageError{"there is no agent to start", "write its command after --, as in: sw4rm torture --schema proto -- ./my-agent"}
	}
	path, err := exec.LookPath(c.Command[0])
	if errors.Is(err, exec.ErrDot) {
		err = fmt.Errorf("it is in the current folder. Write ./%s", c.Command[0])
	}
	if err != nil {
		return &UsageError{fmt.Sprintf("the agent's command %q cannot be started: %v", c.Command[0], err), "name a program that is there and may be executed"}
	}
	c.Command = append([]string{path}, c.Command[1:]...)
	for _, n := range []struct {
		name string
		n    int
		min  int
	}{{"--ops", c.Operations, 1}, {"--faults", c.Faults, 0}} {
		if n.n < n.min {
			return &UsageError{fmt.Sprintf("%s is %d", n.name, n.n), fmt.Sprintf("use at least %d", n.min)}
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
		min  time.Duration
	}{{"--lease", c.Lease, 100 * time.Millisecond}, {"--start-timeout", c.StartTimeout, time.Millisecond}, {"--answer-timeout", c.AnswerTimeout, time.Millisecond}, {"--duration", c.Duration, 0}} {
		if d.d < d.min {
			return &UsageError{fmt.Sprintf("%s is %v", d.name, d.d), fmt.Sprintf("use at least %v", d.min)}
		}
	}
	if c.Effects != "" && c.EffectsCommand != "" {
		return &UsageError{"--effects and --effects-command are both given", "use one of them"}
	}
	return nil
}

// say writes a line to the log.
func (c *Config) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.Log, "torture: "+format+"\n", args...) // a log that cannot be written is none
}

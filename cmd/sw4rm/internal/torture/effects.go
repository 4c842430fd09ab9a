package torture

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// effects are the agent's side effects, as the user lets them be seen: lines that begin with the key of an effect. A key
// is the token of the operation that had the effect, with a # and the user's own text after it where an operation has
// several.
type effects struct {
	file, command string
	// before counts the lines that were there before the run.
	before map[string]int
}

// EffectsError says why side effects cannot be read.
type EffectsError struct{ Problem, Fix string }

// Error implements error.
func (e *EffectsError) Error() string { return e.Problem + ". Fix: " + e.Fix }

// asked tells whether the user lets effects be seen.
func (e *effects) asked() bool { return e.file != "" || e.command != "" }

// begin remembers what is there before the run. A file need not be there yet.
func (e *effects) begin(ctx context.Context) error {
	if !e.asked() {
		return nil
	}
	var err error
	if e.before, err = e.read(ctx); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// read counts the keys that there are.
func (e *effects) read(ctx context.Context) (map[string]int, error) {
	var data []byte
	var err error
	if e.file != "" {
		if data, err = os.ReadFile(e.file); err != nil {
			return nil, fmt.Errorf("effects: %w. Fix: name the file that the agent writes with --effects", err)
		}
	} else {
		cmd := exec.CommandContext(ctx, "sh", "-c", e.command)
		var said bytes.Buffer
		cmd.Stderr = &said
		if data, err = cmd.Output(); err != nil {
			return nil, &EffectsError{
				fmt.Sprintf("the command of --effects-command failed: %v: %s", err, strings.TrimSpace(said.String())), "give one that prints a line for each side effect",
			}
		}
	}
	count := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if key := keyOf(lines.Text()); key != "" {
			count[key]++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, &EffectsError{fmt.Sprintf("the effects cannot be read: %v", err), "write one line, of less than a MiB, for each side effect"}
	}
	return count, nil
}

// keyOf returns the first word of a line.
func keyOf(line string) string {
	key, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	key, _, _ = strings.Cut(key, "\t")
	key, _, _ = strings.Cut(key, ",")
	return strings.Trim(key, `"'`)
}

// since returns how often each key came during the run.
func (e *effects) since(ctx context.Context) (map[string]int, error) {
	now, err := e.read(ctx)
	if err != nil {
		return nil, err
	}
	for key, n := range e.before {
		if now[key] -= n; now[key] <= 0 {
			delete(now, key)
		}
	}
	return now, nil
}

// tokenOf returns the operation's token in a key.
func tokenOf(key string) string {
	token, _, _ := strings.Cut(key, "#")
	return token
}

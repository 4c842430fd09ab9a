// Package ledger keeps a line for every run of the reviewer's handler, in a file that survives the process. It is how
// the demo knows, without asking the messaging itself, what really ran.
package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Entry is one line: the start or the end of a run.
type Entry struct {
	// Ended is false where the run starts.
	Ended bool      `json:"ended"`
	At    time.Time `json:"at"`
	// RunID is different for every run, in every process.
	RunID string `json:"run_id"`
	PID   int    `json:"pid"`
	// Token names the operation, Path the file.
	Token string `json:"token"`
	Path  string `json:"path"`
	// Run and Attempt are what the handler was told.
	Run     int `json:"run"`
	Attempt int `json:"attempt"`
}

// Ledger is an open file of entries. A nil Ledger keeps nothing. It may be used from any goroutine.
type Ledger struct {
	mu sync.Mutex
	f  *os.File
}

// Open opens the file for appending. A line that a killed process left unfinished is closed, so that it harms no other.
func Open(name string) (*Ledger, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	if err := closeLine(f); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ledger: %w", err), f.Close())
	}
	return &Ledger{f: f}, nil
}

func closeLine(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	_, err = f.Write([]byte("\n"))
	return err
}

// Append writes one entry; it is on disk when Append returns.
func (l *Ledger) Append(e Entry) error {
	if l == nil {
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}

// Close closes the file.
func (l *Ledger) Close() error {
	if l == nil {
		return nil
	}
	return l.f.Close()
}

// Read returns the entries of a ledger in the order in which they were written, without unfinished lines.
func Read(name string) ([]Entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	defer f.Close()
	return parse(f)
}

func parse(r io.Reader) ([]Entry, error) {
	var entries []Entry
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[len(line)-1] != '}' {
			continue
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		entries = append(entries, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return entries, nil
}

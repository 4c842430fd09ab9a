package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// ext is the end of a history file's name.
const ext = ".jsonl"

// Writer appends the events of one process to its file. Its methods may be called from any goroutine.
type Writer struct {
	actor string

	mu   sync.Mutex
	file *os.File
	err  error
}

// Create opens the actor's file in dir for appending. No other process may write to it.
func Create(dir, actor string) (*Writer, error) {
	f, err := os.OpenFile(filepath.Join(dir, actor+ext), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", actor, err)
	}
	return &Writer{actor: actor, file: f}, nil
}

// Add appends e, with the time where it has none and the writer's actor where it names none. One event is one write, so
// the sudden end of the process tears no line but the last. The first error is kept for Close.
func (w *Writer) Add(e Event) {
	if e.Actor == "" {
		e.Actor = w.actor
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.T == 0 {
		e.T = Now()
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = w.file.Write(append(line, '\n'))
	}
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("history of %s: %w", w.actor, err)
	}
}

// Close closes the file and returns the first error that any Add met.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.err, w.file.Close())
}

// Read merges the files in dir whose actors begin with prefix, by time. The last line of a file may be torn, since its
// process may have been killed; any other broken line is an error.
func Read(dir, prefix string) ([]Event, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+ext))
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	var all []Event
	for _, path := range paths {
		if !strings.HasPrefix(filepath.Base(path), prefix) {
			continue
		}
		events, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		all = append(all, events...)
	}
	slices.SortStableFunc(all, inTime)
	return all, nil
}

func readFile(path string) ([]Event, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var events []Event
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		if !whole {
			return events, nil
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		events = append(events, e)
		data = rest
	}
}

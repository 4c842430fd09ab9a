package ledger

import (
	"os"
	"path/filepath"
	"testing"
)

// TestKilled reads what a process wrote that was killed in the middle of a line, and what the next one added.
func TestKilled(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "ledger")
	appendTo(t, name, Entry{Path: "a.go", Run: 1})
	half, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.WriteString(`{"path":"b`); err != nil {
		t.Fatal(err)
	}
	if err := half.Close(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, name, Entry{Path: "c.go", Run: 2, Ended: true})
	got, err := Read(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Path != "a.go" || got[1].Path != "c.go" || !got[1].Ended || got[1].Run != 2 {
		t.Errorf("read %+v", got)
	}
}

func TestNoLedger(t *testing.T) {
	t.Parallel()
	var l *Ledger
	if err := l.Append(Entry{}); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing ledger was read")
	}
}

func appendTo(t *testing.T, name string, e Entry) {
	t.Helper()
	l, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(e); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

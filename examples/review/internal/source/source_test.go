package source

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"b.go", "a/a.go", "a/a.txt", "a/.git/c.go", "_x/d.go", "vendor/e.go", ".hidden/f.go", "a/dir.go/g.go"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("package a\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Files(".", "./b.go", ".hidden")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.FromSlash(".hidden/f.go"), filepath.FromSlash("a/a.go"), filepath.FromSlash("a/dir.go/g.go"), "b.go"}
	if !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if _, err := Files("none"); err == nil {
		t.Error("a missing path was found")
	}
}

// Command checkgenerated tells whether committed generated code is what buf generate writes now. It generates into a
// temporary folder and compares, so that the work tree stays as it is.
//
//	checkgenerated [-buf COMMAND] DIR…
//
// COMMAND is buf with the words before it, such as "go tool buf". Each DIR has a buf.gen.yaml. The differences are listed, one a line, and the exit status is 1 when there are any.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	buf := flag.String("buf", "buf", "the command that runs buf")
	flag.Parse()
	if err := run(strings.Fields(*buf), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "checkgenerated:", err)
		os.Exit(1)
	}
}

func run(buf, dirs []string) error {
	if len(dirs) == 0 || len(buf) == 0 {
		return errors.New("no folder is named. Fix: name the folders that have a buf.gen.yaml")
	}
	stale := 0
	for _, dir := range dirs {
		problems, total, err := check(buf, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		for _, p := range problems {
			fmt.Println(p)
		}
		if len(problems) == 0 {
			fmt.Printf("%s: the %d committed files are what buf generate writes\n", dir, total)
		}
		stale += len(problems)
	}
	if stale > 0 {
		return fmt.Errorf("%d files are not current. Fix: make generate", stale)
	}
	return nil
}

// check compares one folder. It returns what is wrong, and how many files buf generate writes.
func check(buf []string, dir string) (problems []string, total int, err error) {
	tmp, err := os.MkdirTemp("", "checkgenerated-")
	if err != nil {
		return nil, 0, err
	}
	defer os.RemoveAll(tmp)
	want, err := generate(buf, dir, tmp)
	if err != nil {
		return nil, 0, err
	}
	for _, f := range want {
		problem, err := compare(filepath.Join(tmp, f), filepath.Join(dir, f))
		if err != nil {
			return nil, 0, err
		}
		if problem != "" {
			problems = append(problems, filepath.Join(dir, f)+" "+problem)
		}
	}
	for _, out := range outputs(want) {
		have, err := generated(dir, out)
		if err != nil {
			return nil, 0, err
		}
		for _, f := range have {
			if !slices.Contains(want, f) {
				problems = append(problems, filepath.Join(dir, f)+" comes from no schema any more")
			}
		}
	}
	return problems, len(want), nil
}

// generate runs buf generate in dir, and returns what it wrote, relative to out.
func generate(buf []string, dir, out string) ([]string, error) {
	cmd := exec.Command(buf[0], append(buf[1:len(buf):len(buf)], "generate", "-o", out)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("buf generate: %w", err)
	}
	files, err := generated(out, ".")
	if err == nil && len(files) == 0 {
		err = errors.New("buf generate wrote nothing")
	}
	return files, err
}

// generated lists the generated Go files below root/dir, relative to root.
func generated(root, dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".pb.go") {
			return err
		}
		rel, err := filepath.Rel(root, p)
		files = append(files, rel)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return files, err
}

// outputs returns the folders into which the files were written: the first part of each path.
func outputs(files []string) []string {
	var dirs []string
	for _, f := range files {
		first, _, _ := strings.Cut(filepath.ToSlash(f), "/")
		dirs = append(dirs, first)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func compare(want, have string) (string, error) {
	w, err := os.ReadFile(want)
	if err != nil {
		return "", err
	}
	h, err := os.ReadFile(have)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is missing", nil
	case err != nil:
		return "", err
	case !bytes.Equal(w, h):
		return "differs from what buf generate writes", nil
	}
	return "", nil
}

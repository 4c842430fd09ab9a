package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// published is the work tree as a version of its module.
type published struct {
	module.Version
	// dir is a folder that GOPROXY may name.
	dir string
}

// publish writes the work tree below root into dir as a version whose name comes from its content.
func publish(root, dir string) (published, error) {
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return published{}, err
	}
	name := modfile.ModulePath(gomod)
	files, err := workTree(root)
	if err != nil {
		return published{}, err
	}
	// The version is part of each name in the archive, so the content is hashed under a version that is always the same.
	draft := module.Version{Path: name, Version: "v0.1.0-tree"}
	var archive bytes.Buffer
	if err := zip.Create(&archive, draft, files); err != nil {
		return published{}, fmt.Errorf("pack the work tree: %w", err)
	}
	p := published{Version: draft, dir: dir}
	p.Version.Version = fmt.Sprintf("%s.h%.6x", draft.Version, sha256.Sum256(archive.Bytes()))
	archive.Reset()
	if err := zip.Create(&archive, p.Version, files); err != nil {
		return published{}, fmt.Errorf("pack the work tree: %w", err)
	}
	return p, p.write(gomod, archive.Bytes())
}

// write lays out the files that the go command asks a proxy for.
func (p published) write(gomod, archive []byte) error {
	escaped, err := module.EscapePath(p.Path)
	if err != nil {
		return err
	}
	at := filepath.Join(p.dir, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	v := p.Version.Version
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{v, time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"list": []byte(v + "\n"), v + ".info": info, v + ".mod": gomod, v + ".zip": archive} {
		if err := os.WriteFile(filepath.Join(at, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// forget removes the version from the module cache, where nobody will ask for it again.
func (p published) forget(cache string) error {
	escaped, err := module.EscapePath(p.Path)
	if err != nil {
		return err
	}
	dir := filepath.Join(cache, filepath.FromSlash(escaped)+"@"+p.Version.Version)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(name, 0o755) // the cache is read-only
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	errs := []error{os.RemoveAll(dir)}
	downloads, err := filepath.Glob(filepath.Join(cache, "cache", "download", filepath.FromSlash(escaped), "@v", p.Version.Version+".*"))
	errs = append(errs, err)
	for _, name := range downloads {
		errs = append(errs, os.Remove(name))
	}
	return errors.Join(errs...)
}

// workTree lists the files of the root module as they are on disk: those that git knows, and new ones that it does not
// ignore.
func workTree(root string) ([]zip.File, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the work tree: %w", err)
	}
	names := strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	nested := map[string]bool{}
	for _, name := range names {
		if dir, base := path.Split(name); base == "go.mod" && dir != "" {
			nested[dir] = true
		}
	}
	var files []zip.File
	seen := map[string]bool{}
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil || !info.Mode().IsRegular() || seen[name] || inside(nested, name) {
			continue // deleted, a link, or of another module
		}
		seen[name] = true
		files = append(files, treeFile{root: root, name: name})
	}
	return files, nil
}

func inside(dirs map[string]bool, name string) bool {
	for dir := range dirs {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// treeFile is a zip.File.
type treeFile struct{ root, name string }

// Path implements zip.File.
func (f treeFile) Path() string { return f.name }

// Lstat implements zip.File.
func (f treeFile) Lstat() (fs.FileInfo, error) { return os.Lstat(filepath.Join(f.root, f.name)) }

// Open implements zip.File.
func (f treeFile) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(f.root, f.name)) }

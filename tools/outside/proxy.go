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
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// published are modules of the work tree as versions that a folder offers.
type published struct {
	versions []module.Version
	// dir is a folder that GOPROXY may name.
	dir string
}

// publish writes modules of the work tree below root, "." and folders of others, into dir, as versions whose names come
// from their content.
func publish(root, dir string, folders ...string) (published, error) {
	p := published{dir: dir}
	names, err := workTree(root)
	if err != nil {
		return p, err
	}
	for _, folder := range folders {
		v, err := p.add(filepath.Join(root, folder), moduleFiles(root, folder, names))
		if err != nil {
			return p, fmt.Errorf("pack the module in %s: %w", folder, err)
		}
		p.versions = append(p.versions, v)
	}
	return p, nil
}

// add writes the module in dir.
func (p published) add(dir string, files []zip.File) (module.Version, error) {
	gomod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return module.Version{}, err
	}
	// The version is part of each name in the archive, so the content is hashed under a version that is always the same.
	v := module.Version{Path: modfile.ModulePath(gomod), Version: "v0.1.0-tree"}
	var archive bytes.Buffer
	if err := zip.Create(&archive, v, files); err != nil {
		return v, err
	}
	v.Version += fmt.Sprintf(".h%.6x", sha256.Sum256(archive.Bytes()))
	archive.Reset()
	if err := zip.Create(&archive, v, files); err != nil {
		return v, err
	}
	return v, p.write(v, gomod, archive.Bytes())
}

// write lays out the files that the go command asks a proxy for.
func (p published) write(version module.Version, gomod, archive []byte) error {
	escaped, err := module.EscapePath(version.Path)
	if err != nil {
		return err
	}
	at := filepath.Join(p.dir, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	v := version.Version
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

// forget removes the versions from the module cache, where nobody will ask for them again.
func (p published) forget(cache string) error {
	var errs []error
	for _, v := range p.versions {
		errs = append(errs, forget(cache, v))
	}
	return errors.Join(errs...)
}

func forget(cache string, v module.Version) error {
	escaped, err := module.EscapePath(v.Path)
	if err != nil {
		return err
	}
	dir := filepath.Join(cache, filepath.FromSlash(escaped)+"@"+v.Version)
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
	downloads, err := filepath.Glob(filepath.Join(cache, "cache", "download", filepath.FromSlash(escaped), "@v", v.Version+".*"))
	errs = append(errs, err)
	for _, name := range downloads {
		errs = append(errs, os.Remove(name))
	}
	return errors.Join(errs...)
}

// workTree lists the regular files below root as they are on disk: those that git knows, and new ones that it does not
// ignore.
func workTree(root string) ([]string, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the work tree: %w", err)
	}
	names := strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		info, err := os.Lstat(filepath.Join(root, name))
		return err != nil || !info.Mode().IsRegular() // deleted, or a link
	}), nil
}

// moduleFiles returns those of the files below root that are of the module in folder, and of no module inside of it.
func moduleFiles(root, folder string, names []string) []zip.File {
	in := ""
	if folder != "." {
		in = folder + "/"
	}
	nested := map[string]bool{}
	for _, name := range names {
		if dir, base := path.Split(name); base == "go.mod" && len(dir) > len(in) {
			nested[dir] = true
		}
	}
	var files []zip.File
	for _, name := range names {
		if rel, ok := strings.CutPrefix(name, in); ok && !inside(nested, name) {
			files = append(files, treeFile{root: filepath.Join(root, folder), name: rel})
		}
	}
	return files
}

func inside(dirs map[string]bool, name string) bool {
	for dir := range dirs {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// treeFile is a zip.File whose name is relative to the folder of its module, root.
type treeFile struct{ root, name string }

// Path implements zip.File.
func (f treeFile) Path() string { return f.name }

// Lstat implements zip.File.
func (f treeFile) Lstat() (fs.FileInfo, error) { return os.Lstat(filepath.Join(f.root, f.name)) }

// Open implements zip.File.
func (f treeFile) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(f.root, f.name)) }

// Command outside does what README.md says in a module outside of the repository, as a newcomer would: it gets the work
// tree as versions of its modules, writes the README's files, and runs its commands, once without and once with buf's
// managed mode. In the module that came of it without, it goes on with the READMEs of the plugins in modules of their own.
//
//	outside -buf PATH ROOT
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	buf := flag.String("buf", "buf", "the buf command")
	keep := flag.Bool("keep", false, "keep the modules that were made")
	timeout := flag.Duration("timeout", 25*time.Minute, "when to give up")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if err := run(ctx, *buf, flag.Arg(0), *keep); err != nil {
		fmt.Fprintln(os.Stderr, "outside:", err)
		os.Exit(1)
	}
}

// plugins are the folders of modules that users add to what README.md makes, in the order in which they are tried.
var plugins = [...]string{"protoc-gen-sw4rm-docs", "buf-plugin-sw4rm"}

func run(ctx context.Context, buf, root string, keep bool) (err error) {
	if root == "" {
		return errors.New("the repository is not named. Fix: outside -buf PATH ROOT")
	}
	first, err := read(root, "README.md")
	if err != nil {
		return err
	}
	documents := []document{first}
	for _, folder := range plugins {
		d, err := read(root, folder+"/README.md")
		if err != nil {
			return err
		}
		documents = append(documents, d)
	}
	tmp, err := os.MkdirTemp("", "outside-")
	if err != nil {
		return err
	}
	defer func() {
		if keep {
			fmt.Println("kept in", tmp)
			return
		}
		err = errors.Join(err, os.RemoveAll(tmp))
	}()
	modules, err := publish(root, filepath.Join(tmp, "proxy"), append([]string{"."}, plugins[:]...)...)
	if err != nil {
		return err
	}
	e, err := newEnvironment(ctx, modules, buf, tmp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, modules.forget(e.modCache)) }()
	if err := e.follow(ctx, "plain", documents, false); err != nil {
		return err
	}
	return e.follow(ctx, "managed", documents[:1], true)
}

// environment is what the README's commands find.
type environment struct {
	tmp, modCache string
	vars          []string
}

// newEnvironment takes the Go settings of this machine, and puts the published versions before its proxy.
func newEnvironment(ctx context.Context, v published, buf, tmp string) (*environment, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOPROXY", "GONOSUMDB", "GOMODCACHE").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	settings := strings.Split(string(out), "\n")
	if len(settings) < 3 {
		return nil, fmt.Errorf("go env printed %q", out)
	}
	bin := filepath.Join(tmp, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	if buf, err = exec.LookPath(buf); err != nil {
		return nil, err
	}
	if buf, err = filepath.Abs(buf); err != nil {
		return nil, err
	}
	if err := os.Symlink(buf, filepath.Join(bin, "buf")); err != nil {
		return nil, err
	}
	return &environment{tmp: tmp, modCache: settings[2], vars: append(os.Environ(),
		"GOPROXY=file://"+filepath.ToSlash(v.dir)+","+settings[0],
		"GONOSUMDB="+strings.Trim(v.versions[0].Path+","+settings[1], ","), // and what is below it
		"GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -mod=mod"),
		"GOWORK=off",
		"PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"),
	)}, nil
}

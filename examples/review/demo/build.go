package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// program is what the demo builds.
type program struct {
	name, what string
	// dir is where go build runs, relative to the repository; args name the package.
	dir  string
	args []string
}

func programs() []program {
	return []program{
		{name: "sw4rm", what: "router and registry with their storage", args: []string{"./cmd/sw4rm"}},
		{name: "reviewer", what: "the agent that reviews", args: []string{"./examples/review/reviewer"}},
		{name: "client", what: "the agent that sends the files", args: []string{"./examples/review/client"}},
		{name: "protoc-gen-go", what: "plugin: messages", args: []string{"google.golang.org/protobuf/cmd/protoc-gen-go"}},
		{name: "protoc-gen-sw4rm", what: "plugin: callers, senders and handlers", args: []string{"./protoc-gen-sw4rm"}},
		{name: "buf", what: "compiles schemas and runs the plugins", args: []string{"-modfile=tools/go.mod", "github.com/bufbuild/buf/cmd/buf"}},
		{name: "checkgenerated", what: "compares generated code", dir: "tools", args: []string{"./checkgenerated"}},
	}
}

// build builds the programs and says how long each took.
func (d *demo) build(ctx context.Context) error {
	fmt.Fprintf(d.out, "Building %d programs into %s. Where nothing was built before, the modules are downloaded and this\n"+
		"takes about three minutes on two cores; later it takes seconds.\n", len(programs()), rel(d.root, d.bin))
	start := time.Now()
	for _, p := range programs() {
		fmt.Fprintf(d.out, "  %-17s %-40s", p.name, p.what)
		began := time.Now()
		args := append([]string{"build", "-o", filepath.Join(d.bin, p.name)}, p.args...)
		cmd := exec.CommandContext(ctx, "go", args...)
		var errors bytes.Buffer
		cmd.Dir, cmd.Stderr = filepath.Join(d.root, p.dir), &errors
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(d.out)
			return fmt.Errorf("build %s: %w\n%s", p.name, err, errors.Bytes())
		}
		fmt.Fprintf(d.out, " %6.1f s\n", time.Since(began).Seconds())
	}
	fmt.Fprintf(d.out, "  %-58s %6.1f s\n\n", "in all", time.Since(start).Seconds())
	return nil
}

// rel shortens a path for people.
func rel(root, path string) string {
	if short, err := filepath.Rel(root, path); err == nil {
		return short
	}
	return path
}

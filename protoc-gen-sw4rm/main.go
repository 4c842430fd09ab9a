// Command protoc-gen-sw4rm is a plugin of buf and protoc. It writes typed callers, senders and handlers for the
// services and messages of payload schemas.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin"
)

const usage = `protoc-gen-sw4rm is a plugin of buf and protoc. It writes FILE_sw4rm.pb.go beside FILE.pb.go, with
callers, senders and handlers for the services of FILE.proto, and for the messages in it that are sent by themselves.

In buf.gen.yaml:

  plugins:
    - local: [go, tool, protoc-gen-sw4rm]
      out: gen
      opt: paths=source_relative

Parameters (opt):
%s
Commands:
  protoc-gen-sw4rm proto DIR  write sw4rm/options/v1/options.proto below DIR
  protoc-gen-sw4rm --version
  protoc-gen-sw4rm --help

In a package with a component sw4rm, write options with a leading dot: option (.sw4rm.options.v1.agent).
`

// parameters lists the plugin's parameters for people.
func parameters() string {
	var b strings.Builder
	for _, p := range plugin.Parameters() {
		_, _ = fmt.Fprintf(&b, "  %s=%s", p.Name, strings.ReplaceAll(p.Values, ", ", "|"))
		if p.Default != "" {
			_, _ = fmt.Fprintf(&b, " (default %s)", p.Default)
		}
		_, _ = fmt.Fprintf(&b, "\n      %s\n", p.Meaning)
	}
	return b.String()
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, in *os.File, out, log io.Writer) int {
	switch {
	case len(args) == 1 && (args[0] == "--version" || args[0] == "-version"):
		return status(log, printed(fmt.Fprintln(out, "protoc-gen-sw4rm", version())))
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-help" || args[0] == "-h"):
		return status(log, printed(fmt.Fprintf(out, usage, parameters())))
	case len(args) == 2 && args[0] == "proto":
		return status(log, writeOptions(args[1], out))
	case len(args) > 0 && args[0] == "proto":
		return misuse(log, "proto takes one folder")
	case len(args) > 0:
		return misuse(log, fmt.Sprintf("unknown arguments %q", args))
	}
	if info, err := in.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return misuse(log, "there is no request on standard input: buf or protoc runs this program")
	}
	// Hardly anything becomes garbage until the schemas are checked, so that collecting less until then takes less time and
	// no more memory.
	percent := debug.SetGCPercent(400)
	return status(log, plugin.Run(in, out, log, func() { debug.SetGCPercent(percent) }))
}

func printed(_ int, err error) error { return err }

func status(log io.Writer, err error) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(log, "protoc-gen-sw4rm:", err)
	return 1
}

func misuse(log io.Writer, problem string) int {
	_, _ = fmt.Fprintf(log, "protoc-gen-sw4rm: %s. Fix: see protoc-gen-sw4rm --help\n", problem)
	return 2
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// writeOptions writes the schema of our options, so that users need no registry.
func writeOptions(dir string, out io.Writer) error {
	name := filepath.Join(dir, "sw4rm", "options", "v1", "options.proto")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("create the folder: %w. Fix: use a folder that you can write", err)
	}
	if err := os.WriteFile(name, []byte(optionspb.Source), 0o644); err != nil {
		return fmt.Errorf("write the options: %w. Fix: use a folder that you can write", err)
	}
	return printed(fmt.Fprintln(out, name))
}

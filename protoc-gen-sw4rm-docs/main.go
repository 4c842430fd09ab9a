// Command protoc-gen-sw4rm-docs is a plugin of buf and protoc. It writes documents about the agents of payload schemas
// and their messages.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs/internal/plugin"
)

const usage = `protoc-gen-sw4rm-docs is a plugin of buf and protoc. It writes documents about the agents of payload
schemas and their messages.

To install it in a Go module:

  go get github.com/sw4rm/sw4rm-go@latest
  go get -tool github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm-docs

In buf.gen.yaml:

  plugins:
    - local: [go, tool, protoc-gen-sw4rm-docs]
      out: docs
      strategy: all
      opt: formats=markdown+mcp

Parameters (opt):
  formats=markdown    agents.md, for people
  formats=jsonschema  jsonschema/MESSAGE.schema.json for each payload
  formats=asyncapi    asyncapi.json
  formats=mcp         mcp/SERVICE.tools.json for each service with an exchange of type TOOL_CALL
  formats=a2a         a2a/SERVICE.agent-card.json for each service
                      Several with a plus between them; all by default.
  services=annotated  services that have our option, or an RPC that does (the default)
  services=all        every service
  version=VERSION     the version of the schemas, for documents that have one (0.0.0 by default)

Commands:
  protoc-gen-sw4rm-docs --version
  protoc-gen-sw4rm-docs --help
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, in *os.File, out, log io.Writer) int {
	switch {
	case len(args) == 1 && (args[0] == "--version" || args[0] == "-version"):
		return status(log, printed(fmt.Fprintln(out, "protoc-gen-sw4rm-docs", version())))
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-help" || args[0] == "-h"):
		return status(log, printed(io.WriteString(out, usage)))
	case len(args) > 0:
		return misuse(log, fmt.Sprintf("unknown arguments %q", args))
	}
	if info, err := in.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return misuse(log, "there is no request on standard input: buf or protoc runs this program")
	}
	return status(log, plugin.Run(in, out))
}

func printed(_ int, err error) error { return err }

func status(log io.Writer, err error) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(log, "protoc-gen-sw4rm-docs:", err)
	return 1
}

func misuse(log io.Writer, problem string) int {
	_, _ = fmt.Fprintf(log, "protoc-gen-sw4rm-docs: %s. Fix: see protoc-gen-sw4rm-docs --help\n", problem)
	return 2
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// Command buf-plugin-sw4rm checks SW4RM payload schemas as a plugin of buf: "buf lint" with rules about the options of
// exchanges, "buf breaking" with rules about what running agents and stored messages rely on. README.md lists the rules.
package main

import (
	"pluginrpc.com/pluginrpc"

	"github.com/sw4rm/sw4rm-go/buf-plugin-sw4rm/internal/serve"
)

func main() { pluginrpc.Main(serve.New) }

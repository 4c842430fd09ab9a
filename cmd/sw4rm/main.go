// Command sw4rm runs and operates the services of a SW4RM installation.
package main

import (
	"os"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

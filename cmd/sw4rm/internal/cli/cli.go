// Package cli is the command line of sw4rm: flags, environment, errors and exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/offline"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/catalog"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/up"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/server"
)

// Exit codes. Scripts know them by number: none may ever change.
const (
	ExitOK      = 0
	ExitError   = 1
	ExitUsage   = 2
	ExitAddress = 3
	ExitData    = 4
	ExitDamaged = 5
	ExitFailed  = 6
	ExitBroken  = 7

	exits = ExitBroken + 1 // how many there are
)

const exitCodes = `Exit codes:
  0  stopped as asked
  1  another error
  2  wrong flags, arguments or environment
  3  an address cannot be used
  4  the data directory cannot be used
  5  the data directory is damaged
  6  reading or writing the data directory failed while the services ran`

// allExits is for sw4rm as a whole: what only one of its commands returns comes last.
const allExits = exitCodes + `
  7  torture: a promise was broken`

// usageError is a mistake in what the user typed or set.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// Main runs the command with args and returns its exit code. It stops on SIGINT and SIGTERM; a second one of them ends
// the process at once.
func Main(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return Run(ctx, args, getenv, stdout, stderr)
}

// Run is Main until ctx ends.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	root := newRoot(getenv)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintf(stderr, "sw4rm: %s\n", line(err, cmd.CommandPath()))
	return exitCode(err)
}

func newRoot(getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use:           "sw4rm",
		Short:         "Run and operate SW4RM services",
		Long:          "sw4rm runs and operates the services that SW4RM agents talk to.\n\n" + allExits,
		Version:       version(),
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w. Fix: see %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(newUp(getenv), newBuffer(), newTorture(), newVersion())
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%q is no command of %s. Fix: see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())}
}

// line puts an error of a command on one line that ends with a remedy.
func line(err error, command string) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if !strings.Contains(text, "Fix: ") {
		text = strings.TrimSuffix(text, ".") + ". Fix: see " + command + " --help, and what is printed above"
	}
	return text
}

func exitCode(err error) int {
	var (
		usage   usageError
		address *server.AddressError
		damaged *store.DamagedError
		damage  *offline.DamageError
		backup  *offline.BackupError
		asked   *torture.UsageError
		schema  *catalog.Error
		broken  brokenError
	)
	switch {
	case errors.As(err, &usage), errors.As(err, &asked), errors.As(err, &schema):
		return ExitUsage
	case errors.As(err, &broken):
		return ExitBroken
	case errors.As(err, &address):
		return ExitAddress
	case errors.As(err, &damaged), errors.As(err, &damage), errors.As(err, &backup):
		return ExitDamaged
	case unusable(err):
		return ExitData
	case errors.Is(err, store.ErrFailed):
		return ExitFailed
	default:
		return ExitError
	}
}

// unusable tells whether a directory or file cannot be used.
func unusable(err error) bool {
	var (
		data    *up.DataError
		inUse   *store.InUseError
		version *store.VersionError
		refused *store.PermissionError
		target  *offline.TargetError
		kind    *offline.WrongKindError
	)
	return errors.As(err, &data) || errors.As(err, &inUse) || errors.As(err, &version) || errors.As(err, &refused) ||
		errors.As(err, &target) || errors.As(err, &kind)
}

package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/offline"
)

func newBufferRequeue() *cobra.Command {
	return tool("requeue DIR NUMBER...", "Let dead letters wait again",
		`requeue lets dead letters of a services' directory wait again at their address, under new numbers, with their whole time to
live and delivery budget. Their senders were told that they have failed; what becomes of them now the senders keep beside that
outcome. One whose sender has tried again since, or that was fulfilled after all, is refused.`,
		`  sw4rm buffer ls --failed ./sw4rm-data/_up
  sw4rm buffer requeue ./sw4rm-data/_up 17 23`,
		[]string{"DIR", "NUMBER…"}, func(cmd *cobra.Command, args []string) error {
			numbers, err := numbersOf(args[1:])
			if err != nil {
				return err
			}
			return offline.Requeue(cmd.Context(), args[0], numbers, cmd.OutOrStdout())
		})
}

func newBufferDrop() *cobra.Command {
	return tool("drop DIR NUMBER...", "Remove dead letters",
		`drop removes dead letters of a services' directory for good. The router removes them by itself after seven days, and the
oldest ones beyond 10,000 or 256 MiB.`,
		`  sw4rm buffer drop ./sw4rm-data/_up 17`,
		[]string{"DIR", "NUMBER…"}, func(cmd *cobra.Command, args []string) error {
			numbers, err := numbersOf(args[1:])
			if err != nil {
				return err
			}
			return offline.DropDead(cmd.Context(), args[0], numbers, cmd.OutOrStdout())
		})
}

func numbersOf(args []string) ([]int64, error) {
	var numbers []int64
	for _, a := range args {
		n, err := strconv.ParseInt(a, 10, 64)
		if err != nil || n <= 0 {
			return nil, usageError{fmt.Errorf("%q is no number of a dead letter. Fix: use what sw4rm buffer ls --failed shows as NUMBER", a)}
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

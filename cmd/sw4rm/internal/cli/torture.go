package cli

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture"
)

const tortureHelp = `torture starts a router of its own and the agent after --, and sends it generated messages of the exchanges that it handles.
Meanwhile it kills, stops and pauses agent and router, and drops, duplicates, delays and tears off what they say to each
other. At the end it tells of each promise whether it held.

The agent finds the router, the registry and its data by SW4RM_ROUTER_ADDR, SW4RM_REGISTRY_ADDR and SW4RM_DATA_DIR, as agents
do whose configuration does not say otherwise. It is started again whenever it was killed, so its command must do everything
that it needs.

Handlers run again when their process dies before their outcome is recorded. torture brings that about: it lets handlers run,
ends the agent, and puts its data back to what they were before. A handler whose answer differs the second time breaks H2. To
have side effects checked too (H1), let them be seen by --effects FILE or --effects-command CMD: one line for each, that
begins with the token of the operation (exchange.InfoFrom(ctx).Token). Nothing may be there twice, nothing be missing. An
operation with several effects puts # and a name behind the token.

`

const tortureExits = `Exit codes:
  0  every promise held that was put to the test
  1  another error: the agent does not start, connect or answer, or too little has happened
  2  wrong flags, arguments or schema
  3  an address cannot be used
  7  a promise was broken`

func newTorture() *cobra.Command {
	c := torture.Config{}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "torture [flags] -- COMMAND [ARGUMENTS]",
		Short: "Put an agent to the test with faults",
		Long:  tortureHelp + tortureExits,
		Example: `  sw4rm torture --schema proto -- ./my-agent
  sw4rm torture --schema schema.binpb --effects ledger.txt -- ./my-agent -ledger ledger.txt
  sw4rm torture --schema proto --only Ledger/Book --ops 2000 --faults 60 --seed 7 -- ./my-agent`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n > 0 || n < 0 && len(args) > 0 {
				return usageError{fmt.Errorf("%q stands before --. Fix: write the agent's command after --, as in: sw4rm torture --schema proto -- ./my-agent", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Command, c.Environ, c.Log = args, os.Environ(), cmd.ErrOrStderr()
			if !cmd.Flags().Changed("seed") {
				c.Seed = rand.Uint64N(1_000_000)
			}
			var err error
			if c.Services, err = os.Executable(); err != nil {
				return err
			}
			report, err := torture.Run(cmd.Context(), c)
			if report == nil {
				return err
			}
			report.Repeat = repetition(cmd, c)
			write := report.WriteText
			if asJSON {
				write = report.WriteJSON
			}
			if err := errors.Join(err, write(cmd.OutOrStdout())); err != nil {
				return err
			}
			if !report.Held() {
				return brokenError{c.Seed}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&c.Schema.Paths, "schema", nil, "folder with .proto files, one such file, or what buf build -o has written; may be repeated")
	f.StringArrayVar(&c.Schema.Imports, "import", nil, "folder below which imported files are; may be repeated")
	f.BoolVar(&c.Schema.AllServices, "all-services", false, "take services without an option of sw4rm too, as the generator does with services=all")
	f.StringVar(&c.Payloads, "payloads", "", "folder with payloads of your own as JSON, any number a file, in METHOD.json or package.Service.METHOD.json")
	f.StringSliceVar(&c.Only, "only", nil, "services, methods or Service/Method to try (default: all that the agent handles)")
	f.Uint64Var(&c.Seed, "seed", 0, "chooses payloads and faults (default: a new one each time)")
	f.IntVar(&c.Operations, "ops", torture.DefaultOperations, "how many messages are sent under faults")
	f.IntVar(&c.Faults, "faults", torture.DefaultFaults, "how many faults there are")
	f.DurationVar(&c.Duration, "duration", 0, "after which no more is begun (default: no limit)")
	f.DurationVar(&c.Lease, "lease", torture.DefaultLease, "the router's lease; pauses and silences are longer")
	f.StringVar(&c.Listen, "listen", "", "address at which the agent finds its router (default: a free one of this machine)")
	f.StringVar(&c.Data, "data", "", "new directory for logs and data, which is kept (default: one that is kept if a promise is broken)")
	f.StringVar(&c.Effects, "effects", "", "file with a line for each side effect")
	f.StringVar(&c.EffectsCommand, "effects-command", "", "command that prints a line for each side effect")
	f.BoolVar(&c.AnyReply, "any-reply", false, "allow another answer when a handler runs again for the same operation")
	f.DurationVar(&c.StartTimeout, "start-timeout", torture.DefaultStartTimeout, "how long the agent may take to connect")
	f.DurationVar(&c.AnswerTimeout, "answer-timeout", torture.DefaultAnswerTimeout, "how long an answer may take without faults; exchanges that take longer are left out")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// brokenError says that the agent was put to the test and a promise was broken.
type brokenError struct{ seed uint64 }

func (e brokenError) Error() string {
	return fmt.Sprintf("a promise was broken with seed %d. Fix: see what is printed above", e.seed)
}

// repetition is the command that does the same again.
func repetition(cmd *cobra.Command, c torture.Config) string {
	words := []string{"sw4rm", "torture", fmt.Sprintf("--seed=%d", c.Seed)}
	for _, list := range []struct {
		name   string
		values []string
	}{{"schema", c.Schema.Paths}, {"import", c.Schema.Imports}, {"only", c.Only}} {
		for _, v := range list.values {
			words = append(words, quoted("--"+list.name+"="+v))
		}
	}
	for _, name := range []string{
		"all-services", "payloads", "ops", "faults", "duration", "lease", "listen", "effects", "effects-command", "any-reply", "start-timeout", "answer-timeout", "json",
	} {
		if cmd.Flags().Changed(name) {
			words = append(words, quoted("--"+name+"="+cmd.Flags().Lookup(name).Value.String()))
		}
	}
	words = append(words, "--")
	for _, a := range c.Command {
		words = append(words, quoted(a))
	}
	return strings.Join(words, " ")
}

// quoted writes a word so that a shell reads it as it is.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=./:,@%+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/offline"
	"github.com/sw4rm/sw4rm-go/runtime/address"
)

const bufferHelp = `buffer works on a data directory that nobody has open: that of an agent (./sw4rm-data/ID unless it was told otherwise) or
that of the services (./sw4rm-data/_up). Nothing but upgrade, requeue and drop changes the directory that it reads; what is made
is there as a whole or not at all.

`

const bufferExits = `Exit codes:
  0  done
  1  another error
  2  wrong flags or arguments
  4  the directory cannot be used: it is in use, of another version, or no data directory; or the target cannot be made
  5  the directory or backup is damaged`

func newBuffer() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "buffer",
		Short: "List, check, save and mend data directories",
		Long:  bufferHelp + bufferExits,
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBufferLs(), newBufferData(), newBufferVerify(), newBufferSalvage(), newBufferExport(), newBufferImport(), newBufferBackup(),
		newBufferRestore(), newBufferUpgrade(), newBufferRequeue(), newBufferDrop())
	return cmd
}

// tool is a command of buffer. names are its arguments, of which the first may be given by --data instead.
func tool(use, short, long, example string, names []string, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long + "\n\n" + bufferExits,
		Example: example,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if data != "" {
				args = append([]string{data}, args...)
			}
			for i, a := range args {
				if a == "" {
					return usageError{fmt.Errorf("argument %d is empty. Fix: see %s --help", i+1, cmd.CommandPath())}
				}
			}
			if several := strings.HasSuffix(names[len(names)-1], "…"); len(args) != len(names) && !(several && len(args) > len(names)) {
				return usageError{fmt.Errorf("%s needs %s, and %d arguments are given. Fix: see %s --help",
					cmd.CommandPath(), strings.Join(names, " and "), len(args), cmd.CommandPath())}
			}
			return run(cmd, args)
		},
	}
	if names[0] != "BACKUP" {
		cmd.Flags().StringVar(&data, "data", "", "the directory, in place of the first argument")
	}
	return cmd
}

func newBufferLs() *cobra.Command {
	var l offline.Listing
	cmd := tool("ls DIR", "List operations and messages",
		`ls lists what an agent has sent and received: number, stage, code, how often it was tried, when, with whom, which exchange,
token and note. STAGE is the outcome, or how far an open one has come: STORED here, ACCEPTED by the router, RECEIVED, READ.
Of a services' directory it lists the messages that wait and the dead letters. Times are in UTC.

With --failed it lists the operations that ended without what they were to bring and of whose end neither a waiting call nor
a reply handler was told, and the dead letters with the reason. --json writes one object a line, with every attempt and its
times; of dead letters also the classification (retryable, permanent, expired, unanswerable), every delivery with its agent,
times and end, sizes, content type, and the beginning of the payload.`,
		`  sw4rm buffer ls ./sw4rm-data/client-1
  sw4rm buffer ls --failed ./sw4rm-data/_up
  sw4rm buffer ls --json --open ./sw4rm-data/client-1 | jq -r .token`,
		[]string{"DIR"}, func(cmd *cobra.Command, args []string) error {
			if l.Limit < 0 {
				return usageError{fmt.Errorf("--limit is %d. Fix: use a positive number, or 0 for no limit", l.Limit)}
			}
			return offline.List(cmd.Context(), args[0], l, cmd.OutOrStdout())
		})
	cmd.Flags().BoolVar(&l.Failed, "failed", false, "failures that nobody has handled, and dead letters")
	cmd.Flags().BoolVar(&l.Open, "open", false, "what has not ended")
	cmd.Flags().BoolVar(&l.JSON, "json", false, "one JSON object a line")
	cmd.Flags().IntVar(&l.Limit, "limit", 0, "the last so many only; 0 is no limit")
	return cmd
}

func newBufferData() *cobra.Command {
	var asJSON bool
	cmd := tool("data DIR", "List what an agent's handlers have stored",
		`data lists what an agent's handlers have stored of their own: key, size, and the beginning of the value. --json writes one
object a line, with whole values in base64.`,
		`  sw4rm buffer data ./sw4rm-data/server-1
  sw4rm buffer data --json ./sw4rm-data/server-1 | jq -r '.value | @base64d'`,
		[]string{"DIR"}, func(cmd *cobra.Command, args []string) error {
			return offline.ListData(cmd.Context(), args[0], asJSON, cmd.OutOrStdout())
		})
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func newBufferVerify() *cobra.Command {
	return tool("verify DIR", "Read everything and check it",
		`verify reads every file from end to end and checks it: checksums of files, blocks and records, that every record decodes, and
that what follows from the records, such as indexes and totals, is what is stored. Each damage is a line with the file, the
place or the record, and the cause.`,
		`  sw4rm buffer verify ./sw4rm-data/client-1`,
		[]string{"DIR"}, func(cmd *cobra.Command, args []string) error {
			return offline.Verify(cmd.Context(), args[0], cmd.OutOrStdout())
		})
}

func newBufferSalvage() *cobra.Command {
	return tool("salvage DIR NEW-DIR", "Copy what is whole of a damaged directory",
		`salvage copies everything outside of damaged blocks and damaged parts of logs into a new directory, makes indexes and totals
anew, and lists what is missing. The damaged directory stays as it is.

An operation whose payload is lost ends as FAILED with the note payload_lost. A received message whose payload is lost is
dropped. Where what is lost said that something was deleted, it may be back. The copy is a store of its own: the router gives
up what was in the custody of the old one, and senders are told receiver_lost_state and try again.`,
		`  sw4rm buffer salvage ./sw4rm-data/client-1 ./sw4rm-data/client-1.salvaged`,
		[]string{"DIR", "NEW-DIR"}, func(cmd *cobra.Command, args []string) error {
			return offline.Salvage(cmd.Context(), args[0], args[1], cmd.OutOrStdout())
		})
}

const formats = `The format jsonl has a line for each record and frame, and is complete: an import makes an equal buffer. The format sdk-json is
the activity buffer of the SDKs in other languages (sw4rm_activity.json); what it has no place for is written to standard
error.`

// format is a flag of export and import.
type format struct{ name, agent string }

func (f *format) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "format", "jsonl", "jsonl or sdk-json")
	cmd.Flags().StringVar(&f.agent, "agent", "", "with sdk-json: the agent's id (default: the directory's name)")
}

func (f *format) sdk(dir string) (bool, error) {
	switch f.name {
	case "jsonl":
		if f.agent != "" {
			return false, usageError{errors.New("--agent is for --format=sdk-json. Fix: leave one of them out or give both")}
		}
		return false, nil
	case "sdk-json":
		if f.agent == "" {
			f.agent = strings.ReplaceAll(filepath.Base(filepath.Clean(dir)), "%3A", ":")
		}
		return true, nil
	default:
		return false, usageError{fmt.Errorf("the format %q is unknown. Fix: use --format=jsonl or --format=sdk-json", f.name)}
	}
}

// identified says of an error about an agent's id where that came from.
func (f *format) identified(err error) error {
	var id *address.Error
	if errors.As(err, &id) {
		return usageError{fmt.Errorf("the agent id %q %s. Fix: give the agent's id with --agent; without it the directory's name is used", f.agent, id.Problem)}
	}
	return err
}

func newBufferExport() *cobra.Command {
	var f format
	cmd := tool("export DIR", "Write an agent's buffer as text",
		"export writes an agent's buffer to standard output.\n\n"+formats,
		`  sw4rm buffer export ./sw4rm-data/client-1 > client-1.jsonl
  sw4rm buffer export --format=sdk-json ./sw4rm-data/client-1 > sw4rm_activity.json`,
		[]string{"DIR"}, func(cmd *cobra.Command, args []string) error {
			sdk, err := f.sdk(args[0])
			switch {
			case err != nil:
				return err
			case sdk:
				return f.identified(offline.ExportSDK(cmd.Context(), args[0], f.agent, cmd.OutOrStdout(), cmd.ErrOrStderr()))
			default:
				return offline.Export(cmd.Context(), args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
		})
	f.flags(cmd)
	return cmd
}

func newBufferImport() *cobra.Command {
	var f format
	var to string
	cmd := tool("import NEW-DIR FILE", "Make an agent's buffer of text",
		`import makes a new directory of what export has written, read from FILE, or from standard input when that is "-". The new
directory is a store of its own.

`+formats+`
An operation of sdk-json without an outcome ends as TIMED_OUT with the note outcome_unknown, for the format does not say where
it was sent to; with --to it stays open and is sent on. A received message without an outcome ends as FAILED with that note,
for the format does not say whether it was handled; it runs when its sender tries again.`,
		`  sw4rm buffer import ./sw4rm-data/client-2 client-1.jsonl
  sw4rm buffer import --format=sdk-json --to=capability:text.count ./sw4rm-data/client-3 sw4rm_activity.json`,
		[]string{"NEW-DIR", "FILE"}, func(cmd *cobra.Command, args []string) error {
			sdk, err := f.sdk(args[0])
			if err != nil {
				return err
			}
			if to != "" {
				if _, err := address.Parse(to); err != nil || !sdk {
					return usageError{fmt.Errorf("--to=%s cannot be used. Fix: use agent:ID or capability:NAME, with --format=sdk-json", to)}
				}
			}
			return withInput(cmd.InOrStdin(), args[1], func(in io.Reader) error {
				if sdk {
					return f.identified(offline.ImportSDK(cmd.Context(), args[0], in, offline.SDKImport{Agent: f.agent, To: to}, cmd.ErrOrStderr()))
				}
				return offline.Import(cmd.Context(), args[0], in, cmd.ErrOrStderr())
			})
		})
	f.flags(cmd)
	cmd.Flags().StringVar(&to, "to", "", "with sdk-json: where open operations are sent on to, agent:ID or capability:NAME")
	return cmd
}

func withInput(stdin io.Reader, name string, fn func(io.Reader) error) error {
	if name == "-" {
		return fn(stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return &offline.TargetError{Path: name, Problem: fmt.Sprintf("it cannot be read: %v", err), Fix: "name a file that you can read"}
	}
	return errors.Join(fn(f), f.Close())
}

func newBufferBackup() *cobra.Command {
	return tool("backup DIR TARGET", "Copy a directory",
		`backup copies a directory to a new file, if TARGET ends with .tar, else to a new directory. It checks everything before, and
keeps others from opening the directory meanwhile: an agent has to be stopped for its backup.`,
		`  sw4rm buffer backup ./sw4rm-data/client-1 client-1.tar
  sw4rm buffer backup ./sw4rm-data/_up /backups/up-monday`,
		[]string{"DIR", "TARGET"}, func(cmd *cobra.Command, args []string) error {
			return offline.Backup(cmd.Context(), args[0], args[1], cmd.OutOrStdout())
		})
}

func newBufferRestore() *cobra.Command {
	var fresh bool
	cmd := tool("restore BACKUP NEW-DIR", "Make a directory of a backup",
		`restore makes a new directory of a backup and checks everything in it. The new one takes the place of the one that was copied.
When that was opened since, what it did then is missing in the backup, and the router refuses the restored agent, whose Run
ends with "the data directory is older than one that the router has seen" (agent.ErrStoreRolledBack). Restored with --new-instance it is a store of its own, and admitted as soon as the old one is
gone for one lease (30 s): the router gives up what was in the custody of the old one, and senders are told
receiver_lost_state and try again. What the old one had sent and recorded since the backup is then unknown to the agent.`,
		`  sw4rm buffer restore client-1.tar ./sw4rm-data/client-1
  sw4rm buffer restore --new-instance client-1.tar ./sw4rm-data/client-1`,
		[]string{"BACKUP", "NEW-DIR"}, func(cmd *cobra.Command, args []string) error {
			return offline.Restore(cmd.Context(), args[0], args[1], fresh, cmd.OutOrStdout())
		})
	cmd.Flags().BoolVar(&fresh, "new-instance", false, "make it a store of its own")
	return cmd
}

func newBufferUpgrade() *cobra.Command {
	return tool("upgrade DIR", "Raise a directory to the newest format",
		`upgrade changes a directory of an earlier format into one of the newest, which earlier versions do not read any more. Make a
backup before. Nothing else raises a directory's format.`,
		`  sw4rm buffer upgrade ./sw4rm-data/client-1`,
		[]string{"DIR"}, func(cmd *cobra.Command, args []string) error {
			return offline.Upgrade(cmd.Context(), args[0], cmd.OutOrStdout())
		})
}

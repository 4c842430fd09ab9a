package cli

import (
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/up"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// The environment that up reads.
const (
	envRouter   = "SW4RM_ROUTER_ADDR"
	envRegistry = "SW4RM_REGISTRY_ADDR"
	envData     = "SW4RM_UP_DATA"
	envLease    = "SW4RM_DELIVERY_LEASE_SECONDS"
	envMinFree  = "SW4RM_UP_MIN_FREE_DISK"
	envLogLevel = "SW4RM_LOG_LEVEL"
)

// minProcs is how many threads run Go code at least: while some wait for the disk, others serve.
const minProcs = 4

const upHelp = `up runs the router and the registry in one process, over one data directory, until it gets SIGINT or SIGTERM. It
then ends the agents' streams, finishes what is in flight, and stops.

It listens on addresses of this machine only, for there is no authentication. Port 0 takes a free port. When a service
works, a line NAME listening on HOST:PORT is printed to standard output; the log goes to standard error.

Environment:
  SW4RM_ROUTER_ADDR             default of --router
  SW4RM_REGISTRY_ADDR           default of --registry
  SW4RM_UP_DATA                 default of --data
  SW4RM_UP_MIN_FREE_DISK        default of --min-free-disk
  SW4RM_DELIVERY_LEASE_SECONDS  how long a delivery may stay unacknowledged before it is made again (30)
  SW4RM_LOG_LEVEL               debug, info, warn or error (info)

`

func newUp(getenv func(string) string) *cobra.Command {
	var c up.Config
	var minFree string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the services",
		Long:  upHelp + exitCodes,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if c.Lease, err = lease(getenv(envLease)); err != nil {
				return usageError{err}
			}
			if c.MinFree, err = diskSize(minFree); err != nil {
				return usageError{err}
			}
			if err := positive(cmd, "max-work", "max-waiting", "max-agents"); err != nil {
				return usageError{err}
			}
			level, err := logLevel(getenv(envLogLevel))
			if err != nil {
				return usageError{err}
			}
			c.Out = cmd.OutOrStdout()
			c.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			if getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < minProcs {
				runtime.GOMAXPROCS(minProcs)
			}
			return up.Run(cmd.Context(), c)
		},
	}
	env := func(name, otherwise string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	cmd.Flags().StringVar(&c.Router, "router", env(envRouter, "localhost:50051"), "address of the router")
	cmd.Flags().StringVar(&c.Registry, "registry", env(envRegistry, "localhost:50052"), "address of the registry")
	cmd.Flags().StringVar(&c.Data, "data", env(envData, "./sw4rm-data/_up"), "data directory; it is made if it is not there")
	cmd.Flags().StringVar(&minFree, "min-free-disk", env(envMinFree, "256MiB"),
		"room on the disk below which new work is refused with BUFFER_FULL: bytes, or with KiB, MiB, GiB; 0 is no limit")
	cmd.Flags().IntVar(&c.Limits.MaxWork, "max-work", queue.DefaultMaxWork, "messages of work that may wait at one agent or capability")
	cmd.Flags().IntVar(&c.Limits.MaxWaiting, "max-waiting", queue.DefaultMaxWaiting,
		"messages that may wait in all; each takes some 500 bytes of memory")
	cmd.Flags().IntVar(&c.Limits.MaxAgents, "max-agents", queue.DefaultMaxAgents,
		"agents that may be known, and agents that may be registered; the router forgets one that is gone for 30 days")
	return cmd
}

// diskSize reads a number of bytes; what up.Config has for no limit is -1.
func diskSize(s string) (int64, error) {
	number, unit := s, int64(1)
	for _, u := range []struct {
		name string
		unit int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			number, unit = rest, u.unit
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("the size %q of --min-free-disk or %s is none. Fix: write bytes, or a number with KiB, MiB or GiB, such as 256MiB", s, envMinFree)
	}
	if n == 0 {
		return -1, nil
	}
	return n * unit, nil
}

// positive refuses flags of cmd that are below 1.
func positive(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if n, err := cmd.Flags().GetInt(name); err != nil {
			return err
		} else if n < 1 {
			return fmt.Errorf("--%s is %d. Fix: set it to 1 or more", name, n)
		}
	}
	return nil
}

// lease reads the lease; 0 is the router's own default.
func lease(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseFloat(s, 64)
	if err != nil || !(seconds >= 0.1 && seconds <= 24*60*60) {
		return 0, fmt.Errorf("%s is %q. Fix: set it to a number of seconds from 0.1 to 86400", envLease, s)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func logLevel(s string) (slog.Level, error) {
	var level slog.Level
	if s == "" {
		return slog.LevelInfo, nil
	}
	if err := level.UnmarshalText([]byte(s)); err != nil {
		return 0, fmt.Errorf("%s is %q. Fix: set it to debug, info, warn or error", envLogLevel, s)
	}
	return level, nil
}

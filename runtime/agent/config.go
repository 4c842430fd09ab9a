package agent

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// Defaults of Config.
const (
	DefaultRouterAddr      = "localhost:50051"
	DefaultRegistryAddr    = "localhost:50052"
	DefaultMaxHandlers     = 64
	DefaultMaxInbound      = 256
	DefaultMaxInboundBytes = 16 << 20
	DefaultMinFreeDisk     = 64 << 20
	DefaultDrainTimeout    = 30 * time.Second
	DefaultHeartbeat       = 30 * time.Second
)

// Config configures an Agent. The zero value of every field is its default.
type Config struct {
	// ID is the agent's id: letters, digits and . _ : -, at most 128. Default: $AGENT_ID; without either New fails.
	ID string
	// Name and Description are what the registry shows. Default of Name: $AGENT_NAME, else ID.
	Name, Description string
	// DataDir is where sw4rm.New keeps the activity buffer. Default: $SW4RM_DATA_DIR/ID, else ./sw4rm-data/ID.
	DataDir string
	// RouterAddr and RegistryAddr are host:port; a leading http:// is ignored, and https:// refused, since there is no
	// TLS yet. Defaults: $SW4RM_ROUTER_ADDR and
	// $SW4RM_REGISTRY_ADDR, else DefaultRouterAddr and DefaultRegistryAddr.
	RouterAddr, RegistryAddr string
	// Logger gets the agent's log. Default: slog.Default().
	Logger *slog.Logger
	// MaxHandlers is how many handlers run at once. Default: DefaultMaxHandlers.
	MaxHandlers int
	// MaxInbound and MaxInboundBytes bound the received messages that wait or run. Defaults: DefaultMaxInbound,
	// DefaultMaxInboundBytes.
	MaxInbound      int
	MaxInboundBytes int64
	// MaxOut bounds the operations that are open in the activity buffer, MaxIn the received messages that are, and those
	// whose answers the router has still to take. Beyond them sends, or messages that arrive, are refused with BUFFER_FULL.
	// Default: 10,000 each.
	MaxOut, MaxIn int
	// MaxDataBytes bounds the data that handlers store with exchange.TxFrom, keys and values together, in bytes. A handler
	// that needs more fails with BUFFER_FULL. Default: activity.DefaultMaxDataBytes, 64 MiB.
	MaxDataBytes int64
	// MaxDedupBytes bounds what is kept for DedupWindow and InKeep, and with it the frames of open streams, in bytes. At the
	// bound messages that arrive, sends with a key and frames are refused with BUFFER_FULL; neither window gets shorter.
	// Results that nobody handled have the same bound; beyond it the oldest are dropped, which the log says. Default:
	// activity.DefaultMaxDedupBytes, 1 GiB.
	MaxDedupBytes int64
	// DedupWindow is how long the outcome of an operation with a key is returned to those that send it again, from its end.
	// Less than the default is less than the protocol asks for (SW4RM spec 11.2). Default: activity.DefaultDedupWindow, 1 h.
	DedupWindow time.Duration
	// InKeep is how long finished received messages are remembered, with their replies, so that repeated ones are answered
	// and not run again. It is no shorter than DedupWindow, and should be as long as senders may repeat a message. Default:
	// activity.DefaultInKeep, 25 h, which is an hour more than the default deadline; DedupWindow when that is longer.
	InKeep time.Duration
	// KeepBodies and KeepAge bound how many other finished operations stay for inspection, and how many payloads of finished
	// received messages, and for how long; what is beyond either is removed. Results that nobody handled stay for KeepAge
	// whatever their number. Defaults: activity.DefaultKeepBodies, 10,000, and activity.DefaultKeepAge, 24 h.
	KeepBodies int
	KeepAge    time.Duration
	// MinFreeDisk is how many bytes must be free on the disk of DataDir for new work: below it sends and messages that
	// arrive are refused with BUFFER_FULL, note min_free_disk, while replies, outcomes and acknowledgements are still
	// stored. Default: DefaultMinFreeDisk; 1 is as good as none.
	MinFreeDisk int64
	// MaxEnvelopeBytes bounds an encoded envelope. Default: envelope.DefaultMaxBytes.
	MaxEnvelopeBytes int
	// DrainTimeout is how long Close waits for running handlers. Default: DefaultDrainTimeout.
	DrainTimeout time.Duration
	// Heartbeat is the time between heartbeats to the registry. Default: DefaultHeartbeat.
	Heartbeat time.Duration
	// Interceptors wrap what is sent and handled, the first outermost.
	Interceptors []exchange.Interceptor
	// DialOptions are added to those of the connections to router and registry, after the defaults.
	DialOptions []grpc.DialOption
}

// Complete returns c with every default filled in, or an error that names the first setting that is wrong.
func (c Config) Complete() (Config, error) {
	c.ID = first(c.ID, os.Getenv("AGENT_ID"))
	if c.ID == "" {
		return c, fmt.Errorf("agent: the configuration has no id. Fix: set Config.ID or AGENT_ID")
	}
	if err := address.CheckName("agent id", c.ID); err != nil {
		return c, fmt.Errorf("agent: %w", err)
	}
	if c.ID == address.RouterID {
		return c, fmt.Errorf("agent: the id %q is the router's own. Fix: choose another id", address.RouterID)
	}
	c.Name = first(c.Name, os.Getenv("AGENT_NAME"), c.ID)
	if c.DataDir == "" {
		c.DataDir = filepath.Join(first(os.Getenv("SW4RM_DATA_DIR"), "sw4rm-data"), directoryName(c.ID))
	}
	var err error
	if c.RouterAddr, err = target("RouterAddr", c.RouterAddr, "SW4RM_ROUTER_ADDR", DefaultRouterAddr); err != nil {
		return c, err
	}
	if c.RegistryAddr, err = target("RegistryAddr", c.RegistryAddr, "SW4RM_REGISTRY_ADDR", DefaultRegistryAddr); err != nil {
		return c, err
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = c.Logger.With("agent", c.ID)
	for _, n := range []struct {
		name string
		v    *int64
		def  int64
	}{
		{"MaxInboundBytes", &c.MaxInboundBytes, DefaultMaxInboundBytes},
		{"MaxDataBytes", &c.MaxDataBytes, activity.DefaultMaxDataBytes},
		{"MaxDedupBytes", &c.MaxDedupBytes, activity.DefaultMaxDedupBytes},
		{"DedupWindow", (*int64)(&c.DedupWindow), int64(activity.DefaultDedupWindow)},
		{"InKeep", (*int64)(&c.InKeep), int64(max(activity.DefaultInKeep, c.DedupWindow))},
		{"KeepAge", (*int64)(&c.KeepAge), int64(activity.DefaultKeepAge)},
		{"MinFreeDisk", &c.MinFreeDisk, DefaultMinFreeDisk},
		{"DrainTimeout", (*int64)(&c.DrainTimeout), int64(DefaultDrainTimeout)},
		{"Heartbeat", (*int64)(&c.Heartbeat), int64(DefaultHeartbeat)},
	} {
		if err := fill(n.name, n.v, n.def); err != nil {
			return c, err
		}
	}
	for _, n := range []struct {
		name string
		v    *int
		def  int
	}{
		{"MaxHandlers", &c.MaxHandlers, DefaultMaxHandlers},
		{"MaxInbound", &c.MaxInbound, DefaultMaxInbound},
		{"MaxEnvelopeBytes", &c.MaxEnvelopeBytes, envelope.DefaultMaxBytes},
		{"MaxOut", &c.MaxOut, activity.DefaultMaxOut},
		{"MaxIn", &c.MaxIn, activity.DefaultMaxIn},
		{"KeepBodies", &c.KeepBodies, activity.DefaultKeepBodies},
	} {
		if err := fill(n.name, n.v, n.def); err != nil {
			return c, err
		}
	}
	if c.InKeep < c.DedupWindow {
		return c, fmt.Errorf("agent: Config.InKeep %v is shorter than Config.DedupWindow %v, within which repeated messages must be known. "+
			"Fix: make InKeep at least as long", c.InKeep, c.DedupWindow)
	}
	return c, nil
}

func fill[T int | int64](name string, v *T, def T) error {
	if *v < 0 {
		return fmt.Errorf("agent: Config.%s is negative. Fix: use a positive value, or 0 for the default", name)
	}
	if *v == 0 {
		*v = def
	}
	return nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// target returns the first address that is given, without the http:// that other SDKs write before host:port.
func target(name, configured, variable, def string) (string, error) {
	given := first(configured, os.Getenv(variable), def)
	bad := func(problem, fix string) (string, error) {
		return "", fmt.Errorf("agent: the address %q %s. Fix: %s, in Config.%s or %s", given, problem, fix, name, variable)
	}
	if strings.HasPrefix(given, "https://") {
		return bad("asks for TLS, which this version does not have", "write HOST:PORT")
	}
	addr := strings.TrimSuffix(strings.TrimPrefix(given, "http://"), "/")
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return bad("is not of the form HOST:PORT", "write for example "+def)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return bad(fmt.Sprintf("has the port %q", port), "use a number from 1 to 65535")
	}
	return addr, nil
}

// directoryName makes an agent id a file name on every system; ids have no other awkward character.
func directoryName(id string) string { return strings.ReplaceAll(id, ":", "%3A") }

package torture_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/cli"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/catalog"
	"github.com/sw4rm/sw4rm-go/golden/exchanges"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

// envRole makes the test's program an agent, and "up" as its first argument the services.
const envRole = "SW4RM_TORTURE_TEST_AGENT"

func TestMain(m *testing.M) {
	switch role := os.Getenv(envRole); {
	case len(os.Args) > 1 && os.Args[1] == "up":
		os.Exit(cli.Main(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
	case role != "":
		if err := serve(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// worker handles every shape of exchange.
type worker struct {
	exchanges.UnimplementedWorkerHandler
	effects *os.File
	role    string

	mu   sync.Mutex
	runs int
}

// do has the side effect.
func (w *worker) do(ctx context.Context) error {
	info, _ := exchange.InfoFrom(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs++
	if w.role == "dies" && w.runs > 20 {
		os.Exit(5)
	}
	data, err := os.ReadFile(w.effects.Name())
	if err != nil || bytes.Contains(data, []byte(info.Token+" ")) {
		return err
	}
	_, err = fmt.Fprintf(w.effects, "%s is done\n", info.Token)
	return err
}

func (w *worker) Tell(ctx context.Context, _ *exchanges.Request) error   { return w.do(ctx) }
func (w *worker) Notify(ctx context.Context, _ *exchanges.Request) error { return w.do(ctx) }
func (w *worker) Stop(ctx context.Context, _ *exchanges.Request) error   { return w.do(ctx) }

func (w *worker) Ask(ctx context.Context, _ *exchanges.Request) (*exchanges.Reply, error) {
	return &exchanges.Reply{}, w.do(ctx)
}

// Approve leaves the answer to a human, who never comes.
func (w *worker) Approve(context.Context, *exchanges.Request) (*exchanges.Reply, error) {
	return nil, exchange.ErrDeferred
}

func (w *worker) Watch(ctx context.Context, _ *exchanges.Request, out *exchange.Frames[*exchanges.Reply]) error {
	return w.frames(ctx, out)
}

func (w *worker) Follow(ctx context.Context, _ *exchanges.Request, out *exchange.Frames[*exchanges.Reply]) error {
	return w.frames(ctx, out)
}

func (w *worker) frames(ctx context.Context, out *exchange.Frames[*exchanges.Reply]) error {
	for out.Recorded() < 5 {
		if err := out.Send(&exchanges.Reply{}); err != nil {
			return err
		}
	}
	return w.do(ctx)
}

// serve is the agent.
func serve(role string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	f, err := os.OpenFile(os.Getenv("EFFECTS"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	cfg := agent.Config{ID: "worker-1"}
	if role == "elsewhere" {
		cfg.DataDir = os.Getenv("EFFECTS") + ".data"
	}
	a, err := sw4rm.New(cfg)
	if err != nil {
		return err
	}
	exchanges.HandleWorker(a, &worker{effects: f, role: role})
	exchanges.HandleHeartbeat(a, func(context.Context, *exchanges.Heartbeat) error { return nil })
	return a.Run(ctx)
}

// config is that of a short run of an agent in some role.
func config(t *testing.T, role string) (torture.Config, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	effects := filepath.Join(t.TempDir(), "effects")
	log := new(bytes.Buffer)
	return torture.Config{
		Command: []string{self}, Services: self, Schema: catalog.Source{Paths: []string{"../../../../golden/exchanges"}},
		Seed: 11, Operations: 80, Faults: 6, Lease: torture.DefaultLease, Data: filepath.Join(t.TempDir(), "data"), Effects: effects,
		StartTimeout: torture.DefaultStartTimeout, AnswerTimeout: 3 * time.Second,
		Environ: append(os.Environ(), envRole+"="+role, "EFFECTS="+effects), Log: log,
	}, log
}

func promises(r *torture.Report) map[string]torture.Promise {
	all := map[string]torture.Promise{}
	for _, p := range r.Promises {
		all[p.ID] = p
	}
	return all
}

// TestShapes tortures an agent with every shape of exchange: one of them is never answered, and messages without a service
// that it does not handle are no mistake.
func TestShapes(t *testing.T) {
	cfg, log := config(t, "worker")
	report, err := torture.Run(t.Context(), cfg)
	require.NoError(t, err, log)
	var text bytes.Buffer
	require.NoError(t, report.WriteText(&text))
	require.True(t, report.Held(), "%s%s", log, &text)
	for _, id := range []string{"P2", "P3", "P4", "P5", "P7", "P8", "P11", "H1"} {
		require.Equal(t, torture.Held, promises(report)[id].Result, "%s: %s%s", id, log, &text)
	}
	require.Contains(t, log.String(), "golden.exchanges.Worker/Approve is left out: the agent has not answered it within 3s")
	require.Contains(t, log.String(), "golden.exchanges.Retired never ended well, without any fault: REJECTED VALIDATION_ERROR")
	require.Contains(t, log.String(), "golden.exchanges.Worker/Bind is left out: the agent does not handle it")
	require.NotContains(t, log.String(), "golden.exchanges.Heartbeat is left out")
	require.Greater(t, report.Fulfilled, 40)
	require.Len(t, report.Faults, 6)
}

// TestDataElsewhere tortures an agent whose data cannot be taken back: it is killed then, and what is not seen is not said.
func TestDataElsewhere(t *testing.T) {
	cfg, log := config(t, "elsewhere")
	cfg.Only, cfg.Operations, cfg.Faults, cfg.Effects = []string{"Ask"}, 30, 3, ""
	report, err := torture.Run(t.Context(), cfg)
	require.NoError(t, err, log)
	require.True(t, report.Held(), "%v", report.Promises)
	for _, id := range []string{"P5", "P11", "H1", "H2"} {
		require.Equal(t, torture.NotExercised, promises(report)[id].Result, id)
	}
	require.Contains(t, log.String(), "the agent keeps its data elsewhere")
}

// TestWithoutFaults says nothing of what only faults can show, though the effects are seen.
func TestWithoutFaults(t *testing.T) {
	cfg, log := config(t, "worker")
	cfg.Only, cfg.Operations, cfg.Faults = []string{"Ask"}, 20, 0
	report, err := torture.Run(t.Context(), cfg)
	require.NoError(t, err, log)
	require.True(t, report.Held(), "%v", report.Promises)
	for _, id := range []string{"P2", "P3", "P8", "P11", "H1", "H2"} {
		require.Equal(t, torture.NotExercised, promises(report)[id].Result, id)
	}
	require.Equal(t, "no handler is known to have run twice for the same operation", promises(report)["H1"].Seen)
	require.Positive(t, report.Calm)
	require.Less(t, report.Calm, report.Operations)
}

// TestAgentThatDies tortures an agent that ends by itself in the middle.
func TestAgentThatDies(t *testing.T) {
	cfg, log := config(t, "dies")
	cfg.Only, cfg.Faults = []string{"golden.exchanges.Worker/Ask"}, 0
	_, err := torture.Run(t.Context(), cfg)
	var died *torture.AgentError
	require.ErrorAs(t, err, &died, log)
	require.ErrorContains(t, err, "ended by itself (exit status 5)")
}

// TestInterrupted ends a run from outside.
func TestInterrupted(t *testing.T) {
	cfg, log := config(t, "worker")
	cfg.Only, cfg.Operations = []string{"Worker"}, 100_000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg.Log = writer(func(line string) {
		if bytes.Contains([]byte(line), []byte("after ")) {
			cancel()
		}
	})
	_, err := torture.Run(ctx, cfg)
	require.ErrorIs(t, err, context.Canceled, log)
}

// TestDuration ends sending early.
func TestDuration(t *testing.T) {
	cfg, log := config(t, "worker")
	cfg.Only, cfg.Operations, cfg.Faults, cfg.Duration = []string{"Ask", "Tell"}, 1_000_000, 0, 500*time.Millisecond
	report, err := torture.Run(t.Context(), cfg)
	require.NoError(t, err, log)
	require.True(t, report.Held())
	require.Equal(t, torture.NotExercised, promises(report)["P2"].Result)
	require.Len(t, report.Notes, 1)
	require.Contains(t, report.Notes[0], "stopped after 500ms")
}

type writer func(line string)

func (w writer) Write(b []byte) (int, error) { w(string(b)); return len(b), nil }

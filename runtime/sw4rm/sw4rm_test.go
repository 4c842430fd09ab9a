package sw4rm_test

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

// lines is a log that hands on each line.
type lines struct {
	mu   sync.Mutex
	rest []byte
	out  chan string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		select {
		case l.out <- string(line):
		default:
		}
		l.rest = rest
	}
}

func TestTheEnvironmentGivesIDAndFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	t.Setenv("AGENT_ID", "team:reviewer")
	t.Setenv("SW4RM_DATA_DIR", dir)
	t.Setenv("SW4RM_ROUTER_ADDR", "127.0.0.1:1") // nobody listens there
	t.Setenv("SW4RM_REGISTRY_ADDR", "127.0.0.1:1")
	log := &lines{out: make(chan string, 100)}
	a, err := sw4rm.New(agent.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	info, err := os.Stat(filepath.Join(dir, "team%3Areviewer"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	select {
	case line := <-log.out:
		require.Equal(t, 1, strings.Count(line, "agent=team:reviewer"), line)
	case <-time.After(time.Minute):
		t.Fatal("nothing is said about the router and registry that are not there")
	}

	_, err = sw4rm.New(agent.Config{Logger: slog.New(slog.DiscardHandler)})
	var used *store.InUseError
	require.ErrorAs(t, err, &used)
	require.ErrorContains(t, err, "Fix: ")
	require.NoError(t, a.Close())

	again, err := sw4rm.New(agent.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err, "Close gives the folder free")
	require.NoError(t, again.Close())
}

func TestTheDiskKeepsItsReserve(t *testing.T) {
	tell := exchange.NewOneWay[wrapperspb.StringValue]("test.v1.Work/Tell")
	for reserve, want := range map[int64]error{1: nil, math.MaxInt64: &ack.Error{Stage: ack.Rejected, Code: ack.BufferFull}} {
		a, err := sw4rm.New(agent.Config{ID: "a", DataDir: t.TempDir(), MinFreeDisk: reserve, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		_, err = tell.Send(t.Context(), exchange.NewClient(a, address.Agent("b")), wrapperspb.String("x"))
		if require.ErrorIs(t, err, want); want != nil {
			require.ErrorContains(t, err, "min_free_disk")
		}
		require.NoError(t, a.Close())
	}
}

func TestNewSaysWhatToDo(t *testing.T) {
	t.Setenv("AGENT_ID", "")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, cfg := range map[string]agent.Config{
		"no id":          {},
		"a bad id":       {ID: "../other"},
		"the router's":   {ID: "sw4rm-router"},
		"a long id":      {ID: strings.Repeat("x", 129)},
		"a file":         {ID: "a", DataDir: file},
		"below a file":   {ID: "a", DataDir: filepath.Join(file, "a")},
		"a bad limit":    {ID: "a", MaxHandlers: -1, DataDir: t.TempDir()},
		"a bad duration": {ID: "a", Heartbeat: -1, DataDir: t.TempDir()},
	} {
		_, err := sw4rm.New(cfg)
		require.ErrorContains(t, err, "Fix: ", name)
	}
}

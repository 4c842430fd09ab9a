package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/cli"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

type text = wrapperspb.StringValue

func shout() *exchange.Call[*text, *text] { return exchange.NewCall[text, text]("test.v1.Words/Shout") }

// world is a folder with the data of an installation and of its agents.
type world struct {
	t    *testing.T
	root string
	*installation
}

// populated starts the services and agents, sends through them, and stops them: client-1 has replies, a failure that nobody
// handled, and an open operation; the router has a message that waits, and a dead letter.
func populated(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir()}
	w.installation = up(t, nil, anyPorts(w.dir("_up"))...)
	server := w.agent("server-1")
	shout().Handle(server, func(ctx context.Context, req *text) (*text, error) {
		if req.GetValue() == "bad" {
			return nil, ack.Rejectf(ack.ValidationError, "it is bad\nin two lines")
		}
		if err := exchange.TxFrom(ctx).Set("last", []byte(req.GetValue()+"\x1b")); err != nil {
			return nil, err
		}
		return wrapperspb.String(strings.ToUpper(req.GetValue())), nil
	})
	client := w.agent("client-1")
	for _, a := range []*agent.Agent{server, client} {
		require.NoError(t, a.Start(t.Context()))
	}
	to := exchange.NewClient(client, address.Agent("server-1"))
	for _, word := range []string{"one", "two", "three"} {
		res, err := shout().Call(t.Context(), to, wrapperspb.String(word))
		require.NoError(t, err)
		require.Equal(t, strings.ToUpper(word), res.GetValue())
	}
	failed, err := shout().Send(t.Context(), to, wrapperspb.String("bad"))
	require.NoError(t, err)
	require.Error(t, failed.Wait(t.Context(), ack.Fulfilled))
	away, err := shout().Send(t.Context(), exchange.NewClient(client, address.Agent("nobody")), wrapperspb.String("later"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !away.Status().Attempts[0].AcceptedAt.IsZero() }, 10*time.Second, time.Millisecond)
	w.deadLetter()
	require.NoError(t, client.Close())
	require.NoError(t, server.Close())
	return w
}

func (w *world) dir(name string) string { return filepath.Join(w.root, "sw4rm-data", name) }

func (w *world) agent(id string) *agent.Agent {
	w.t.Helper()
	a, err := sw4rm.New(agent.Config{
		ID: id, DataDir: w.dir(id), RouterAddr: w.router, RegistryAddr: w.registry, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(w.t, err)
	return a
}

// deadLetter makes a foreign peer refuse a message for good.
func (w *world) deadLetter() {
	w.t.Helper()
	router := routerpb.NewRouterServiceClient(dial(w.t, w.router))
	ctx := metadata.AppendToOutgoingContext(w.t.Context(), "sw4rm-to", "agent:foreign")
	_, err := router.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: message("refused-1")})
	require.NoError(w.t, err)
	w.refuse()
}

// refuse takes the message for a foreign peer, and refuses it.
func (w *world) refuse() {
	w.t.Helper()
	router := routerpb.NewRouterServiceClient(dial(w.t, w.router))
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	stream, err := router.StreamIncoming(ctx, &routerpb.StreamRequest{AgentId: "foreign"})
	require.NoError(w.t, err)
	item, err := stream.Recv()
	require.NoError(w.t, err)
	res, err := router.AckDelivery(ctx, &routerpb.DeliveryAckRequest{
		AgentId: "foreign", Seq: item.GetSeq(), MessageId: "refused-1", Outcome: routerpb.DeliveryAckOutcome_DELIVERY_ACK_OUTCOME_PERMANENT_FAILURE,
	})
	require.NoError(w.t, err)
	require.True(w.t, res.GetRecorded())
}

func (w *world) stopServices() { require.Equal(w.t, 0, w.stop(syscall.SIGTERM), w.stderr) }

// inside runs the command in this process, which is faster.
func inside(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = cli.Run(t.Context(), args, func(string) string { return "" }, &out, &errs)
	return code, out.String(), errs.String()
}

// ok runs the command and returns what it prints.
func (w *world) ok(args ...string) string {
	w.t.Helper()
	code, out, errs := inside(w.t, args...)
	require.Equal(w.t, 0, code, "%s\n%s", errs, out)
	return out
}

// fails runs the command, which must end with a code and one line of error, which is returned.
func (w *world) fails(code int, args ...string) string {
	w.t.Helper()
	got, _, errs := inside(w.t, args...)
	require.Equal(w.t, code, got, errs)
	require.Equal(w.t, 1, strings.Count(errs, "\n"), errs)
	require.Contains(w.t, errs, "Fix: ")
	return strings.TrimSpace(errs)
}

// columns gives a table without the widths of its columns.
func columns(table string) []string {
	lines := strings.Split(strings.TrimSpace(table), "\n")
	for i, l := range lines {
		lines[i] = strings.Join(regexp.MustCompile(` {2,}`).Split(strings.TrimSpace(l), -1), "|")
	}
	return lines
}

var anyTime = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)

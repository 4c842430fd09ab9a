package e2e

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// TestNoRouter sends while there is no router. The agent says so and how to help it, keeps the message, and sends it when
// there is one.
func TestNoRouter(t *testing.T) {
	s := newServices(t, t.TempDir(), time.Second)
	remedy := "router " + s.router + " is not reachable; the message is stored and will be sent when it is. Start one with: sw4rm up"
	handling(t, s, "ours")
	log := make(messages, 1000)
	a := ours(t, s, agent.Config{ID: "sender", Logger: slog.New(log)})
	to := exchange.NewClient(a, address.Agent("ours"))
	ctx := brief(t)

	begin := time.Now()
	require.NoError(t, a.Start(ctx))
	stored, err := do.Send(ctx, to, wrapperspb.String("good, stored"))
	require.NoError(t, err)
	log.await(t, remedy)
	require.Less(t, time.Since(begin), 30*time.Second, "it is said a second after the start, which is held on a fake clock; a busy machine may be slow")
	require.ErrorIs(t, stored.Status().Err, agent.ErrUnreachable)
	require.EqualError(t, stored.Status().Err, remedy)

	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = do.Call(short, to, wrapperspb.String("good, called"))
	var unfinished *exchange.Unfinished
	require.ErrorAs(t, err, &unfinished)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, agent.ErrUnreachable)

	s.start()
	res, err := stored.Response(ctx)
	require.NoError(t, err)
	require.Equal(t, "did good, stored", res.GetValue())
	called, err := do.Resume(ctx, a, unfinished.Ref())
	require.NoError(t, err)
	res, err = called.Response(ctx)
	require.NoError(t, err)
	require.Equal(t, "did good, called", res.GetValue())
	require.Zero(t, log.count(remedy), "it is said once")

	s.Kill()
	stored, err = do.Send(ctx, to, wrapperspb.String("good, again"))
	require.NoError(t, err)
	log.await(t, remedy)
	s.start()
	_, err = stored.Response(ctx)
	require.NoError(t, err)
}

// messages is a log that a test reads.
type messages chan string

func (m messages) Enabled(context.Context, slog.Level) bool { return true }
func (m messages) WithAttrs([]slog.Attr) slog.Handler       { return m }
func (m messages) WithGroup(string) slog.Handler            { return m }

func (m messages) Handle(_ context.Context, r slog.Record) error {
	select {
	case m <- r.Message:
		return nil
	default:
		return errors.New("nobody reads the log")
	}
}

// await reads up to the message.
func (m messages) await(t *testing.T, message string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case got := <-m:
			if got == message {
				return
			}
		case <-deadline:
			t.Fatalf("the log has no %q", message)
		}
	}
}

// count counts the message in what is there.
func (m messages) count(message string) int {
	n := 0
	for {
		select {
		case got := <-m:
			if got == message {
				n++
			}
		default:
			return n
		}
	}
}

// TestUpTwice starts the services again while they run.
func TestUpTwice(t *testing.T) {
	s := startServices(t, time.Second)
	tests := []struct {
		name             string
		router, registry string
		data             string
		code             int
		says             string
	}{
		{"on the same router address", s.router, freeAddr(t), t.TempDir(), 3, s.router + " is in use. Fix: "},
		{"on the same registry address", freeAddr(t), s.registry, t.TempDir(), 3, s.registry + " is in use. Fix: "},
		{"on everything", s.router, s.registry, s.data, 3, s.router + " is in use. Fix: "},
		{"on the same data", freeAddr(t), freeAddr(t), s.data, 4, "is in use by another process. Fix: "},
	}
	for n, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(command(t), "up", "--router", test.router, "--registry", test.registry, "--data", test.data)
			second := launch(t, "second."+string(rune('a'+n)), t.TempDir(), cmd, nil)
			select {
			case <-second.Done():
			case <-brief(t).Done():
				t.Fatal("it runs")
			}
			require.Equal(t, test.code, second.ExitCode(), second.Tail())
			last := second.Tail()
			require.Contains(t, last, test.says)
			require.Equal(t, 1, strings.Count(last, "\n"), "one line: %s", last)
		})
	}

	t.Run("the first works on", func(t *testing.T) {
		handling(t, s, "ours")
		a := ours(t, s, agent.Config{ID: "sender"})
		require.NoError(t, a.Start(t.Context()))
		_, err := do.Call(brief(t), exchange.NewClient(a, address.Agent("ours")), wrapperspb.String("good"))
		require.NoError(t, err)
	})
}

// TestUpOnBadData starts the services on data that they cannot use.
func TestUpOnBadData(t *testing.T) {
	foreign := t.TempDir()
	writeFile(t, foreign, "notes.txt", "mine")
	damaged := t.TempDir()
	writeFile(t, damaged, "sw4rm.format", "garbage")
	newer := t.TempDir()
	writeFile(t, newer, "sw4rm.format", newerFormat())
	for _, test := range []struct {
		name, data string
		code       int
		says       string
	}{
		{"of a newer version", newer, 4, "Fix: use the version that wrote it, or a newer one"},
		{"of somebody else", foreign, 4, "belongs to something else. Fix: "},
		{"that is damaged", damaged, 5, "is damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(command(t), "up", "--router", freeAddr(t), "--registry", freeAddr(t), "--data", test.data)
			p := launch(t, "up", t.TempDir(), cmd, nil)
			require.Equal(t, test.code, p.ExitCode(), p.Tail())
			require.Contains(t, p.Tail(), test.says)
		})
	}
}

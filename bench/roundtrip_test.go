package bench_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

var echo = exchange.NewCall[wrapperspb.BytesValue, wrapperspb.BytesValue]("bench.v1.Echo/Echo")

// BenchmarkRoundTrip measures a call from one agent to another and back with 512 bytes each way: every message durable in
// the sender's buffer, in the router and in the receiver's buffer, and its outcome on the way back likewise. The router
// is a process of its own, the agents share one.
func BenchmarkRoundTrip(b *testing.B) {
	for _, inFlight := range []int{1, 64} {
		b.Run(fmt.Sprintf("in-flight=%d", inFlight), func(b *testing.B) {
			router := startRouter(b)
			server := openAgent(b, "server", router)
			echo.Handle(server, func(_ context.Context, m *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) { return m, nil })
			client := openAgent(b, "client", router)
			for _, a := range []*agent.Agent{server, client} {
				if err := a.Start(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			c := exchange.NewClient(client, address.Agent("server"))
			payload := wrapperspb.Bytes(make([]byte, 512))
			if _, err := echo.Call(b.Context(), c, payload); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			var s samples
			s.round(b, inFlight, b.N, func(ctx context.Context, _ []byte) error {
				_, err := echo.Call(ctx, c, payload)
				return err
			})
			s.report(b, "", "call/s")
		})
	}
}

func openAgent(b *testing.B, id, router string) *agent.Agent {
	b.Helper()
	a, err := sw4rm.New(agent.Config{
		ID: id, DataDir: workingDir(b), RouterAddr: router, RegistryAddr: "localhost:1", Logger: slog.New(slog.DiscardHandler),
		MaxOut: 1_000_000,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := a.Close(); err != nil {
			b.Error(err)
		}
	})
	return a
}

// startRouter builds the command once and starts its services on free ports. It returns the router's address.
func startRouter(b *testing.B) string {
	b.Helper()
	binary, err := filepath.Abs(filepath.Join(".tmp", "sw4rm"))
	if err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-C", "..", "-o", binary, "./cmd/sw4rm").CombinedOutput(); err != nil {
		b.Fatalf("build sw4rm: %v\n%s", err, out)
	}
	cmd := exec.Command(binary, "up", "--router", "localhost:0", "--registry", "localhost:0", "--data", workingDir(b))
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if b.Failed() {
			b.Log(log.String())
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if addr, ok := strings.CutPrefix(lines.Text(), "router listening on "); ok {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return addr
		}
	}
	b.Fatalf("sw4rm up did not start: %v\n%s", lines.Err(), log.String())
	return ""
}
